"""Verbs that ask an SAE about given texts: concept, attribute; and a feature on texts, for `feature`."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from core.analysis.described import described
from core.analysis.given import Given, gathered
from core.analysis.store import Store
from core.errors import SaeTuiError, UsageError
from core.labels import read as read_labels
from core.records import Attribution, ConceptFound, ConceptSide, TextReading
from core.sae.provenance import neuronpedia_page
from core.session import Session
from core.storage import read_json
from sae_tui.commands.output import as_json, finished, session_of, table
from sae_tui.text import figure, lit, safe, shortened, token
from sae_tui.widgets.scales import bar, bins, profile

RANKS = ("activation", "direct", "gradient", "ablation")
STRONG = "what is strong: 5 (raw units) or 0.5x (times the feature's own p99; default: the session's analysis.strong)"
NAME_WIDTH = 20
"""Cells for what a feature is called."""
BAR = 40
"""Cells of a bar that is full."""
BINS = 8
"""Parts that numbers of active features are counted in, at most."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser("concept", help="find the features that stand for what some texts have in common")
    verb.add_argument("name", help="the session")
    add_texts(verb)
    verb.add_argument("--contrast", action="append", default=[], type=Path, metavar="FILE", help="texts without it")
    verb.add_argument("--strong", metavar="S", help=STRONG)
    verb.add_argument("--top", type=int, default=5, metavar="N", help="how many features (5)")
    verb.set_defaults(run=concept)

    verb = verbs.add_parser("attribute", help="which features on which tokens a prediction rests on")
    verb.add_argument("name", help="the session")
    verb.add_argument("--prompt", required=True, metavar="TEXT", help="the text behind which the prediction is")
    verb.add_argument("--target", metavar="TOKEN", help="the token predicted (default: the model's likeliest)")
    verb.add_argument("--position", type=int, metavar="N", help="behind the prompt's token N, BOS being 0 (the last)")
    verb.add_argument("--rank", choices=RANKS, default="gradient", help="what features are ranked by (gradient)")
    verb.add_argument("--top", type=int, default=20, metavar="N", help="how many (20)")
    verb.set_defaults(run=attribute)


def add_texts(verb: argparse.ArgumentParser) -> None:
    """The options --texts and --text, which may be repeated."""
    verb.add_argument(
        "--texts", action="append", default=[], type=Path, metavar="FILE",
        help="a .jsonl with `text` (and `category`, `source`) in each row, or a .txt with one text a line",
    )  # fmt: skip
    verb.add_argument("--text", action="append", default=[], metavar="TEXT", help="one text; may be repeated")


def names(session: Session, features: Iterable[int]) -> dict[int, str]:
    """What features are called, in a few cells: a label, or else the top token; empty where neither is known."""
    labels = read_labels(session)
    if session.database_path.is_file():
        with Store.open([session]) as store:
            found = described(store, labels, features)
    else:
        found = described(None, labels, features)
    called = {f: f'"{safe(one.label)}"' if one.label else token(one.top_token or "") for f, one in found.items()}
    return {f: shortened(name, NAME_WIDTH) for f, name in called.items()}


def pages(session: Session, features: Iterable[int]) -> dict[int, str]:
    """Their pages on Neuronpedia; empty where the SAE's `cfg.json` does not name it there, or there are no weights."""
    try:
        config = read_json(session.weights_dir() / "cfg.json")
    except SaeTuiError:  # what is known of features is told without them
        return {}
    return {f: page for f in features if (page := neuronpedia_page(config, f))}


def print_pages(session: Session, features: Iterable[int]) -> None:
    """The same on the terminal, one a line, behind an empty one."""
    for i, page in enumerate(pages(session, features).values()):
        print(f"{'':<13}{page}" if i else f"\nNeuronpedia  {page}")


def require_top(args: argparse.Namespace) -> None:
    """Raise UsageError for a list of no length."""
    if args.top < 1:
        raise UsageError(f"--top {args.top} lists nothing", hint="give 1 or more")


def concept(args: argparse.Namespace) -> int:
    """`sae-tui concept`."""
    require_top(args)
    session = session_of(args)
    texts, contrast = gathered(args.texts, args.text), gathered(args.contrast, ())
    if not texts:
        raise UsageError("concept takes --texts FILE or --text TEXT", hint="some texts that have the concept in common")
    from core import flow
    from core.analysis import asking

    found = finished(
        flow.ask(
            session,
            lambda model, sae: asking.concept(model, sae, session, texts, contrast, rule=args.strong, top=args.top),
        )
    )
    if args.json:
        linked = pages(session, (row.feature for row in found.rows))
        rows = [{**asdict(row), "url": linked.get(row.feature)} for row in found.rows]
        as_json({"name": session.name, **asdict(found), "rows": rows})
        return 0
    against = f" against {found.contrast:,}" if found.contrast else ""
    print(f"{session.name}: what {found.texts:,} {_texts(found.texts)} have in common{against}")
    print(f"strong is {found.rule}")
    print("composite = % of the texts on which it is strong × mean activation over all of them")
    if found.contrast:
        print("score     = composite on the texts − composite on the contrast texts")
    print()
    if not found.rows:
        print("no feature is strong on them" + (" more than on the contrast texts" if found.contrast else ""))
        return 0
    _concept_table(found, names(session, (row.feature for row in found.rows)))
    print_pages(session, (row.feature for row in found.rows))
    return 0


def _concept_table(found: ConceptFound, called: dict[int, str]) -> None:
    columns = ["feature", "stands for", "score", "strong", "active", "mean", "above"]
    columns += ["contrast: composite", "strong", "active", "mean"] if found.contrast else []
    table(
        columns,
        (
            (
                row.feature, called.get(row.feature, ""), f"{row.score:,.0f}", *_side(row.inside),
                figure(row.threshold), *((f"{row.outside.composite:,.0f}", *_side(row.outside)) if row.outside else ()),
            )
            for row in found.rows
        ),
        left=("stands for",),
    )  # fmt: skip


def _side(side: ConceptSide) -> tuple[str, str, str]:
    return f"{side.strong_share:.0%}", f"{side.active_share:.0%}", figure(side.mean)


def attribute(args: argparse.Namespace) -> int:
    """`sae-tui attribute`."""
    require_top(args)
    session = session_of(args)
    from core import flow
    from core.analysis import attribution

    found = finished(
        flow.ask(
            session,
            lambda model, sae: attribution.attribute(
                model, sae, args.prompt, session.config().tokens, target=args.target, position=args.position,
                rank=args.rank, top=args.top,
            ),
        )
    )  # fmt: skip
    if args.json:
        as_json({"name": session.name, "prompt": args.prompt, "rank": args.rank, **asdict(found)})
        return 0
    for line in _told(found):
        print(line)
    called = names(session, (row.feature for row in found.rows))
    print()
    table(
        ("at", "token", "feature", "stands for", "activation", "direct", "gradient", "ablation"),
        (
            (
                row.position, token(row.token), row.feature, called.get(row.feature, ""), figure(row.activation),
                _signed(row.direct), _signed(row.gradient), _signed(row.ablation),
            )
            for row in found.rows
        ),
        left=("token", "stands for"),
    )  # fmt: skip
    return 0


def _told(found: Attribution) -> Iterator[str]:
    likely = "  ".join(f"{token(text)} {p:.1%}" for text, p in found.likeliest)
    yield f"prompt     {''.join(safe(t.text) for t in found.tokens)}"
    yield (
        f"target     {token(found.target)}  p {found.probability:.3g}, "
        f"its logit {found.score:.4g} above the mean of the vocabulary"
    )
    yield f"likeliest  {likely}"
    yield "by token   " + "  ".join(f"{token(t.text)} {_signed(t.value)}" for t in found.tokens if t.value)
    agreement = "too few to say how well it predicts that"
    if found.pearson is not None and found.spearman is not None:
        agreement = f"it predicts that with Pearson {found.pearson:.3f}, Spearman {found.spearman:.3f}"
    yield (
        f"{found.pairs:,} features on tokens are active; gradient × activation is known of all, ablation of the "
        f"{found.ablated:,} where that is largest: {agreement}"
    )
    yield (
        "direct: through final norm and unembedding alone, which only the last token's features reach; ablation: what "
        "the logit loses without the feature on that token"
    )


def _signed(value: float | None) -> str:
    """An effect on a logit; nothing where it was not measured."""
    return "-" if value is None else f"{value:+.3f}" if value else "0"


def feature_on_texts(args: argparse.Namespace, session: Session) -> int:
    """`sae-tui feature NAME ID --texts FILE`: the texts, ranked by how strongly the feature fires on them."""
    require_top(args)
    texts = gathered(args.texts, args.text)
    found = feature_readings(session, texts, args.id)
    ranked = sorted(found, key=lambda reading: -reading.max)[: args.top]
    if args.json:
        as_json({
            "feature": args.id, "url": pages(session, [args.id]).get(args.id), "read": len(found),
            "maxima": [reading.max for reading in found], "texts": [asdict(reading) for reading in ranked],
        })  # fmt: skip
        return 0
    fired = sum(reading.max > 0 for reading in found)
    bars = found[0] if len(found) == 1 else None
    called = names(session, [args.id, *(one.feature for one in (bars.features if bars else ()))])
    print(f"feature {args.id}  {called.get(args.id, '')}  fires on {fired:,} of {len(found):,} {_texts(len(found))}")
    for line in (*reading_lines(ranked), *(_bars(bars, called) if bars else ())):
        print(line)
    print_pages(session, [args.id])
    return 0


def feature_readings(session: Session, texts: Sequence[Given], feature: int) -> tuple[TextReading, ...]:
    """One feature on texts; progress on stderr."""
    from core import flow
    from core.analysis import asking

    return finished(flow.ask(session, lambda model, sae: asking.feature(model, sae, session, texts, feature)))


def reading_lines(readings: Iterable[TextReading]) -> Iterator[str]:
    """Texts on a terminal: each with its tokens lit, and how dense its activations and how sparse its code is."""
    for reading in readings:
        place = ", ".join(safe(part) for part in (reading.category, reading.source) if part)
        start = reading.tokens[0].token_idx if reading.tokens else 0
        at = start if reading.at is None else reading.at
        text = lit(reading.tokens, at=at, width=96) if reading.at is not None else _unlit(reading)
        yield ""
        yield f"{figure(reading.max):>8}  {text}"
        dense = "nothing of it counts"
        if reading.x_nonzero is not None and reading.z_nonzero is not None:
            dense = f"not 0: {reading.x_nonzero:.1%} of x, {reading.z_nonzero:.2%} of z"
        cut = f"; cut by {reading.cut:,} tokens" if reading.cut else ""
        yield f"{'':>10}{place}{' · ' if place else ''}{dense}{cut}"


def _bars(reading: TextReading, called: Mapping[int, str]) -> Iterator[str]:
    """How dense its activations are, how sparse their code is, on how many tokens how many features fire, and which."""
    if reading.x_nonzero is None or reading.z_nonzero is None:
        return
    yield ""
    for name, share in (("x", reading.x_nonzero), ("z", reading.z_nonzero)):
        yield f"{name:>11}  {bar(share, BAR)}  {share:.2%} not 0"
    counts = reading.active
    yield (
        f"{'active':>11}  min {min(counts)}, median {median(counts):g}, max {max(counts)} features on each of "
        f"{len(counts):,} tokens"
    )
    parts = bins(counts, BINS)
    most = max(n for _, n in parts)
    for name, n in parts:
        yield f"{name:>11}  {bar(n / most, BAR)}  {_tokens(n)}"
    if reading.x_ranked and reading.z_ranked:
        yield ""
        for name, sizes in (("x", reading.x_ranked), ("z", reading.z_ranked)):
            yield f"{'|' + name + '|':>11}  {profile(sizes):<{BAR}}  by size, largest first, mean over the tokens"
    if reading.features:
        shown, all_ = len(reading.features), reading.features_active
        which = f", the {shown:,} strongest" if shown < all_ else ""
        yield f"\n{'features':>11}  {all_:,} are active on it{which}: max over the tokens, and on how many"
        for one in reading.features:
            drawn = bar(one.max / reading.features[0].max, BAR)
            told = f"{figure(one.max):>7} on {_tokens(one.tokens)}  {called.get(one.feature, '')}"
            yield f"{one.feature:>11}  {drawn}  {told}".rstrip()


def _unlit(reading: TextReading) -> str:
    """A text on which the feature is silent: nothing to bracket."""
    return shortened("".join(safe(t.text) for t in reading.tokens), 96)


def _tokens(n: int) -> str:
    return f"{n:,} {'token' if n == 1 else 'tokens'}"


def _texts(n: int) -> str:
    return "text" if n == 1 else "texts"
