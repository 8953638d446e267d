"""`sae-tui compare`: SAEs beside each other, their features matched, and what an SAE has to beat."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int

from core.analysis import compare
from core.analysis.described import Described, described
from core.analysis.store import Store
from core.errors import UsageError
from core.labels import read as read_labels
from core.session import Session
from sae_tui.commands.output import as_json, finished, table
from sae_tui.text import safe, token
from sae_tui.widgets.alike import BASELINES, MEASURED

FIGURES = {
    "fvu": "FVU", "l0": "L0", "d_sae": "features", "alive": "alive", "dense_share": "dense %",
    "duplicate_share": "duplicates %", "token_entropy": "token entropy", "category_entropy": "category entropy",
    "token_stability": "token stability", "label_score": "label score", "specialists": "specialists",
}  # fmt: skip
"""Rows of the table, and their names there."""
BINS = 80
"""Of the histogram of best scores."""
SCORES = {"direction": "cosine", "firing": "correlation", "documents": "correlation"}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("compare", help="several SAEs beside each other, their features matched")
    verb.add_argument("names", nargs="+", metavar="NAME", help="sessions that were analysed; with --follow, in order. "
                      "`sae-tui import NAME@STEP --as NEW --then-all` makes one of a checkpoint")  # fmt: skip
    verb.add_argument(
        "--by", choices=tuple(compare.ALIKE),
        help="match features by decoder cosine, by where they fire (the default between different models or hooks), or "
        "by how strong they get in each document",
    )  # fmt: skip
    verb.add_argument("--follow", type=int, metavar="ID", help="follow a feature of the first through the others")
    verb.add_argument("--baselines", action="store_true", help="raw neurons, PCA and random directions at the same L0")
    verb.add_argument("--limit", type=int, default=10, metavar="N", help="features in each list (10)")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui compare`."""
    sessions = [Session.open(args.sessions, name) for name in args.names]
    if args.follow is not None and len(sessions) < 2:
        raise UsageError("--follow needs two sessions at least", hint="name the layers one after the other")
    summaries = [compare.summary(session) for session in sessions]
    matches = list(_matched(args, sessions))
    way = _steps(sessions, args.follow, compare.followed(args.follow, matches)) if args.follow is not None else []
    beaten = {session.name: _baselines(session) for session in sessions} if args.baselines else {}
    if args.json:
        as_json({
            "sessions": [asdict(s) for s in summaries],
            "matches": _plain(matches, sessions, args.limit),
            **({"followed": way} if way else {}),
            **({"baselines": {name: [asdict(b) for b in found] for name, found in beaten.items()}} if beaten else {}),
        })  # fmt: skip
        return 0
    _print_summaries(summaries)
    for m, (one, other) in zip(matches, pairwise(sessions), strict=True):
        _print_matches(m)
        if not way:
            _print_pairs(m, one, other, args.limit)
    if way:
        _print_way(sessions, way)
    for name, found in beaten.items():
        print(f"\n{name}: what it has to beat at {found[0].l0:.1f} active features, on what it was not fitted on")
        columns = {field: said for field, said in MEASURED.items() if getattr(found[0], field) is not None}
        rows = ((BASELINES[b.name], *(getattr(b, field) for field in columns)) for b in found)
        table(("", *columns.values()), rows, left=("",))
    return 0


def _matched(args: argparse.Namespace, sessions: Sequence[Session]) -> Iterator[compare.Matches]:
    """Each session with the one after it."""
    for one, other in pairwise(sessions):
        places = [(s.config().model.name, s.config().model.hook) for s in (one, other)]
        match args.by or ("direction" if places[0] == places[1] else "firing"):
            case "direction":
                yield compare.by_direction(one, other)
            case "documents":
                yield finished(compare.by_documents(one, other))
            case _:
                yield finished(compare.by_firing(one, other))


def _baselines(session: Session) -> list[Any]:
    """Reads activations of the test split."""
    from core import flow

    return finished(flow.baselines(session))


def _print_summaries(summaries: Sequence[compare.Summary]) -> None:
    columns = [s.name for s in summaries]
    texts = ("architecture", "model", "hook")
    rows: list[list[Any]] = [[name, *(s.about[name] for s in summaries)] for name in texts]
    for name, said in FIGURES.items():
        values = [{**s.about, **s.figures}[name] for s in summaries]
        rows.append([said, *(100 * v if said.endswith("%") and v is not None else v for v in values)])
    categories = sorted({c for s in summaries for c in s.specialists})
    rows += [[f"  of {category}", *(s.specialists.get(category, 0) for s in summaries)] for category in categories]
    table(("", *columns), rows, left=("",))


def _print_matches(m: compare.Matches) -> None:
    on = f" on {m.tokens:,} tokens" if m.tokens else f" on {m.documents:,} documents" if m.documents else ""
    print(f"\n{m.one} to {m.other}, by {SCORES[m.by]}{on}")
    if m.warning:
        print(f"  {m.warning}")
    found, back = _counts(m)
    print(
        f"  {found:,} of {len(m.best):,} features of {m.one} have their like in {m.other} ({SCORES[m.by]} of "
        f"{compare.ALIKE[m.by]:g} or more), {back:,} of {len(m.back):,} the other way round; "
        f"{int(m.mutual.sum()):,} are each other's best"
    )
    scores = m.score[~np.isnan(m.score)]
    if len(scores):
        marks = ", ".join(f"{q} % {np.percentile(scores, q):.2f}" for q in (10, 50, 90))
        print(f"  best {SCORES[m.by]} over features: {marks}\n")


def _print_pairs(m: compare.Matches, one: Session, other: Session, limit: int) -> None:
    pairs = _best_pairs(m, limit)
    names = _described(one, [f for f, _ in pairs]), _described(other, [int(m.best[f]) for f, _ in pairs])
    rows = ((f, _called(names[0].get(f)), int(m.best[f]), _called(names[1].get(int(m.best[f]))), s) for f, s in pairs)
    table((m.one, "", m.other, " ", SCORES[m.by]), rows, left=("", " "))
    for session, alone in ((one, m.unmatched()), (other, m.unmatched_back())):
        if strongest := _strongest(session, alone, limit):
            words = "  ".join(f"{d.feature} {_called(d)}" for d in strongest)
            print(f"\nonly in {session.name} ({len(alone):,}), the strongest: {words}")


def _print_way(sessions: Sequence[Session], way: Sequence[dict[str, Any]]) -> None:
    print(f"\nfeature {way[0]['feature']} from one to the next")
    for step in way:
        arrow = "" if step["score"] is None else f"{'━' * round(10 * max(0.0, step['score'])):<10} {step['score']:.2f}"
        print(f"  {arrow:<16} {step['session']}  {step['feature']}  {step['called']}")
    if len(way) < len(sessions):
        print(f"  {sessions[len(way)].name} has nothing that fires with it")


def _steps(sessions: Sequence[Session], feature: int, way: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
    places: list[tuple[int, float | None]] = [(feature, None), *way]
    return [
        {"session": session.name, "feature": f, "score": score, "called": _called(_described(session, [f]).get(f))}
        for session, (f, score) in zip(sessions, places, strict=False)
    ]


def _plain(
    matches: Sequence[compare.Matches], sessions: Sequence[Session], limit: int
) -> list[dict[str, Any]]:  # fmt: skip
    """Each with its best pairs and the strongest of what is on one side only, each with its way through all."""
    found: list[dict[str, Any]] = []
    turned = [m.turned() for m in matches]
    for i, (m, (one, other)) in enumerate(zip(matches, pairwise(sessions), strict=True)):
        like, back = _counts(m)
        sides = {"only": (one, m.unmatched(), i), "only_back": (other, m.unmatched_back(), i + 1)}
        found.append({
            "one": m.one, "other": m.other, "by": m.by, "tokens": m.tokens, "documents": m.documents,
            "warning": m.warning, "alike": compare.ALIKE[m.by],
            "features": len(m.best), "features_back": len(m.back),
            "matched": like, "matched_back": back, "mutual": int(m.mutual.sum()), "scores": _scores(m),
            "pairs": [
                {"feature": f, "other": int(m.best[f]), "score": s, "way": _way(matches, turned, i, f)}
                for f, s in _best_pairs(m, limit)
            ],
            **{
                name: [{"feature": d.feature, "way": _way(matches, turned, at, d.feature)}
                       for d in _strongest(session, alone, limit)]
                for name, (session, alone, at) in sides.items()
            },
            "unmatched": m.unmatched().tolist(), "unmatched_back": m.unmatched_back().tolist(),
        })  # fmt: skip
    steps = [
        step for one in found for name in ("pairs", "only", "only_back") for row in one[name] for step in row["way"]
    ]
    names = [_described(s, {step["feature"] for step in steps if step["place"] == i}) for i, s in enumerate(sessions)]
    for step in steps:
        place = step.pop("place")
        step |= {"session": sessions[place].name, "called": _called(names[place].get(step["feature"]))}
    return found


def _scores(m: compare.Matches) -> dict[str, Any]:
    """How many best scores lie in each of as many equal parts of the range from `low` to `high`, of either side."""
    known = [scores[~np.isnan(scores)] for scores in (m.score, m.back_score)]
    low = min(0.0, *(float(scores.min()) for scores in known if len(scores)))
    counts, back = (np.histogram(np.minimum(scores, 1.0), bins=BINS, range=(low, 1.0))[0].tolist() for scores in known)
    return {"low": low, "high": 1.0, "counts": counts, "counts_back": back}


def _way(
    matches: Sequence[compare.Matches], turned: Sequence[compare.Matches], start: int, feature: int
) -> list[dict[str, Any]]:
    """The feature of the SAE at place `start` in those before and after it; each score is that with the one before."""
    back = compare.followed(feature, turned[:start][::-1])[::-1]
    ahead = compare.followed(feature, matches[start:])
    features = [*(f for f, _ in back), feature, *(f for f, _ in ahead)]
    scores = [None, *(s for _, s in back), *(s for _, s in ahead)]
    return [
        {"place": place, "feature": f, "score": score}
        for place, (f, score) in enumerate(zip(features, scores, strict=True), start - len(back))
    ]


def _strongest(session: Session, features: Int[np.ndarray, " n"], limit: int) -> list[Described]:
    return sorted(_described(session, features.tolist()).values(), key=lambda d: -(d.max or 0))[:limit]


def _counts(m: compare.Matches) -> tuple[int, int]:
    return len(m.best) - len(m.unmatched()), len(m.back) - len(m.unmatched_back())


def _best_pairs(m: compare.Matches, limit: int) -> list[tuple[int, float]]:
    """Features whose best match is also theirs, the most alike first."""
    order = np.argsort(-np.nan_to_num(np.where(m.mutual, m.score, np.nan), nan=-9.0), kind="stable")
    return [(int(f), float(m.score[f])) for f in order[:limit] if m.mutual[f]]


def _described(session: Session, features: Iterable[int]) -> dict[int, Described]:
    with Store.open([session]) as store:
        return described(store, read_labels(session), features)


def _called(one: Described | None) -> str:
    if one is None:
        return ""
    return f'"{safe(one.label)}"' if one.label else token(one.top_token) if one.top_token is not None else "-"
