"""Verbs of the feature database: analyze, evaluate, features, feature."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from core import config as configs
from core import jobs
from core.analysis import answering, card, gallery
from core.analysis.browse import MATCH, as_condition
from core.analysis.store import Store
from core.session import Session
from sae_tui import pictures
from sae_tui.commands.output import add_set, as_json, figures, session_of, table, watched
from sae_tui.commands.texts import add_texts, feature_on_texts, pages, print_pages
from sae_tui.text import band_name, facts, figure, lit, safe, shortened, token

COLUMNS = ("feature", "n", "density", "mean", "max", "p99", "token_entropy", "category_entropy", "top_token")
BAR = " ▁▂▃▄▅▆▇█"
IMAGES = 4
"""Pictures in a row."""
WIDTH, HEIGHT = 100, 30
"""Of the heat map: columns where there is no terminal, and lines at most."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser("analyze", help="run held-out text through the SAE and build the feature database")
    verb.add_argument("name", help="the session")
    verb.add_argument("--corpus", help="another corpus than the session's own")
    verb.add_argument("--tokens", type=int, metavar="N", help="how many counted tokens to analyse")
    verb.add_argument("--detach", action="store_true", help="work in a process of its own and return at once")
    add_set(verb)
    verb.set_defaults(run=analyze)

    verb = verbs.add_parser("evaluate", help="measure the SAE on the test split")
    verb.add_argument("name", help="the session")
    verb.add_argument("--model", help="another model than its own: how well does the SAE transfer?")
    verb.add_argument("--hook", help="another hook point")
    verb.add_argument("--corpus", help="another corpus")
    verb.add_argument("--detach", action="store_true", help="work in a process of its own and return at once")
    add_set(verb)
    verb.set_defaults(run=evaluate)

    verb = verbs.add_parser("features", help="list features, sorted and filtered")
    verb.add_argument("name", help="the session")
    verb.add_argument(
        "words", nargs="*", metavar="WORDS",
        help="looked for in labels, notes and top tokens, as the filter box does; or a condition as it takes one",
    )  # fmt: skip
    verb.add_argument(
        "--sort", default=MATCH, metavar="COLUMN",
        help="any column of `features` (without it words by their match, that is the best lift of a token they are "
        "in, after labels and notes that have them all; the rest by density)",
    )  # fmt: skip
    verb.add_argument("--ascending", action="store_true", help="smallest first")
    verb.add_argument("--where", default="", metavar="SQL", help='a condition, e.g. "density < 0.01 and n > 20"')
    verb.add_argument("--limit", type=int, default=20, metavar="N", help="how many (20)")
    verb.add_argument("--heat", action="store_true", help="in place of the list a heat map: the max of every feature")
    verb.set_defaults(run=features)

    verb = verbs.add_parser("feature", help="one feature: histogram, contexts, categories, logits, neighbours")
    verb.add_argument("name", help="the session")
    verb.add_argument("id", type=int, help="the feature")
    verb.add_argument("--limit", type=int, default=10, metavar="N", help="contexts in each band (10)")
    add_texts(verb)
    verb.add_argument("--top", type=int, default=10, metavar="N", help="of given texts, those it fires on most (10)")
    verb.set_defaults(run=feature)


def analyze(args: argparse.Namespace) -> int:
    """`sae-tui analyze`."""
    settings = list(args.settings)
    settings += [f"corpus.name={json.dumps(args.corpus)}"] if args.corpus else []
    settings += [f"analysis.activations={args.tokens}"] if args.tokens is not None else []
    session = session_of(args)
    code = _job(args, session, "analyze", settings)
    if code == 0 and not args.detach:
        with Store.open([session]) as store:
            meta = store.meta()
            living = store.query("SELECT count(*) FROM features WHERE NOT dead", 1).rows[0][0]
        if args.json:
            as_json({"name": session.name, "features_alive": living, "meta": meta})
        else:
            print(
                f"{session.name}: {living:,} of {int(meta['d_sae']):,} features fired on "
                f"{int(meta['tokens_counted']):,} {_unit(session)}; `sae-tui features {session.name}` lists them"
            )
    return code


def evaluate(args: argparse.Namespace) -> int:
    """`sae-tui evaluate`."""
    session = session_of(args)
    elsewhere = {"model.name": args.model, "model.hook": args.hook, "corpus.name": args.corpus}
    settings = [*args.settings, *(f"{field}={json.dumps(given)}" for field, given in elsewhere.items() if given)]
    own, measured = (configs.place(configs.changed(session.config(), given)) for given in ((), settings))
    code = _job(args, session, "evaluate", settings)
    if code == 0 and not args.detach:
        if measured != own:
            found = next(found for found in session.transfers() if found["on"] == measured)
            _transferred(args, session.evaluation(), found)
        elif args.json:
            as_json(session.evaluation())
        else:
            print(*figures(session.evaluation(), _unit(session)), sep="\n")
    return code


def _transferred(args: argparse.Namespace, own: dict[str, Any], found: dict[str, Any]) -> None:
    """The figures of a transfer beside those of the session's own evaluation."""
    if args.json:
        as_json({"own": own, "transfer": found})
        return
    told = ("source",) if "source" in found["on"] else ("model", "hook", "corpus")
    on = ", ".join(f"{name} {found['on'][name]}" for name in told)
    print(f"transfer to {safe(on)}\n")
    names = [name for name in found if name not in ("on", "tokens")]
    table(("", "own", "transfer"), ((name, own.get(name), found[name]) for name in names), left=("",))
    if not own:
        print(f"\nits own are missing: `sae-tui evaluate {args.name}`")


def _unit(session: Session) -> str:
    """What its figures stand on."""
    return "images" if session.config().model.reads_images else "tokens"


def _job(args: argparse.Namespace, session: Session, verb: jobs.Verb, settings: list[str]) -> int:
    """Run a job here, or start it detached."""
    if args.detach:
        jobs.start(session, verb, [w for s in settings for w in ("--set", s)])
        if args.json:
            as_json(session.summary())
        else:
            print(f"{session.name}: {verb} is running; `sae-tui logs -f {session.name}` follows it")
        return 0
    from core import flow

    for _ in watched(jobs.run(session, verb, getattr(flow, verb)(session, settings=settings))):
        pass
    return 130 if session.status().state == "stopped" else 0


def features(args: argparse.Namespace) -> int:
    """`sae-tui features`."""
    session = session_of(args)
    with answering.bounded(), Store.open([session]) as store:
        if args.heat:
            return _heat(args, store)
        rows = store.features(
            sort=args.sort, descending=not args.ascending, where=args.where, limit=args.limit, text=" ".join(args.words)
        )
    if args.json:
        as_json(rows)
        return 0
    there = rows[0] if rows else {}
    besides = [name for name in dict.fromkeys((args.sort, MATCH)) if name in there and name not in COLUMNS]
    columns: list[str] = [*COLUMNS[:-1], *besides, COLUMNS[-1]]
    shown = ([token(r[c]) if c == "top_token" and r[c] else r[c] for c in columns] for r in rows)
    if any(r["label"] for r in rows):
        columns.append("label")
    table(columns, shown, left=("top_token", "label"))
    return 0


def _heat(args: argparse.Namespace, store: Store) -> int:
    """The largest activation of every feature, by number, row by row; of very many the strongest of some a cell."""
    terminal = sys.stdout.isatty()
    depth = pictures.depth(terminal=terminal)
    deep = 2 if depth != "plain" else 1  # rows a line
    width = shutil.get_terminal_size((WIDTH, 0)).columns if terminal else WIDTH
    each = 1 if args.json else -(-store.d_sae // (width * deep * HEIGHT))
    values: list[float | None] = [None] * -(-store.d_sae // each)
    conditions = (args.where, as_condition(" ".join(args.words), store.browsed))
    for row in store.peaks(each, " AND ".join(f"({one}\n)" for one in conditions if one.strip())):
        values[row["place"]] = row["peak"]
    if args.json:
        as_json({"name": args.name, "max": values})
        return 0
    filled = [value or 0.0 for value in values] + [0.0] * (-len(values) % width)
    rows = [row for i in range(0, len(filled), width) for row in [filled[i : i + width]] * (3 - deep)]
    for line in pictures.lines(pictures.scaled(rows), depth, heat=depth != "plain"):
        print(line)
    [scale] = pictures.lines([[i / 9 for i in range(10)]], depth, heat=depth != "plain")
    cell = "a feature" if each == 1 else f"the strongest of {each:,} features"
    print(f"max of {store.d_sae:,} features, {width} cells a row, each {cell}: 0 {scale} {figure(max(filled))}")
    return 0


def feature(args: argparse.Namespace) -> int:
    """`sae-tui feature`."""
    if args.texts or args.text:
        return feature_on_texts(args, session_of(args))
    session = session_of(args)
    with Store.open([session]) as store:
        found = card.read(store, args.id, limit=args.limit)
        pictured = gallery.read(store, args.id, limit=args.limit) if gallery.there(store) else None
    if args.json:
        shown = {} if pictured is None else {"gallery": asdict(pictured)}
        as_json({**found.to_json(), "url": pages(session, [args.id]).get(args.id), **shown})
        return 0
    for line in lines(found, contexts=pictured is None):
        print(line)
    if pictured is not None and pictured.images:
        for line in _pictures(pictured, pictures.depth(terminal=sys.stdout.isatty())):
            print(line)
    print_pages(session, [args.id])
    return 0


def _pictures(found: gallery.Gallery, depth: pictures.Depth) -> Iterator[str]:
    """Top images, the input pattern beside them, and what the feature does to the classes."""
    shown = found.images[:IMAGES]
    heads = ["reads".ljust(gallery.SIDE)]
    for one in shown:
        wrong = "" if one.predicted in (None, one.label) else f", taken for {one.predicted}"
        heads.append(f"{one.label}{wrong}  {figure(one.value)}".ljust(gallery.SIDE))
    drawn = [pictures.lines(pictures.scaled(found.pattern), depth, heat=True)]
    drawn += [pictures.lines(one.pixels, depth) for one in shown]
    yield ""
    yield "  ".join(heads).rstrip()
    yield from pictures.beside(drawn)
    if found.effects:
        yield ""
        yield "class        " + "".join(f"{name:>8}" for name, _, _ in found.effects)
        for title, place in (("switched on", 1), ("ablated", 2)):
            values = (effect[place] for effect in found.effects)
            yield f"{title:<13}" + "".join(f"{'-' if v is None else f'{v:+.2f}':>8}" for v in values)


def lines(found: card.Card, *, contexts: bool = True) -> Iterator[str]:
    """A feature on a terminal, line by line; of an image model without `contexts`, which are pictures there."""
    row = found.row
    yield f"feature {row['feature']}{' ★' * bool(row['starred'])}{_label(row)}"
    if row["note"]:
        yield safe(row["note"])
    if row["dead"]:
        yield f"it fired on none of the {found.counted:,} analysed {found.unit}"
    else:
        yield "   ".join(f"{name} {value}" for name, value in facts(row, found.counted, found.unit)[:5])
        most = max(b["n"] for b in found.histogram)
        bars = "".join(BAR[-(-8 * b["n"] // most)] for b in found.histogram)
        yield f"activations  0 |{bars}| {figure(row['max'])}   (height: number of {found.unit})"
        yield "fires on     " + "  ".join(f"{_token(t)} {t['n']:,} (×{t['lift']:.0f})" for t in found.tokens)
        yield from _reliability(found)
        yield ""
        for e in found.examples if contexts else ():
            text = lit(e.tokens, at=e.token_idx, width=96)
            yield f"{figure(e.value):>8}  {band_name(e.band):<7} {text}  ({safe(e.source)})"
        if contexts:
            yield ""
    for sign, name in ((1, "promotes"), (-1, "suppresses")):
        effects = [f"{_token(x)} {x['value']:+.3f}" for x in found.logits if x["sign"] == sign]
        if effects:
            yield f"{name:<13}" + "  ".join(effects)
    if found.neighbours:
        near = (f"{n['other']} ({n['cosine']:.2f}){_label(n['row'])}" for n in found.neighbours)
        yield "neighbours   " + "  ".join(near) + ("   a duplicate of the first" if found.double else "")
    if found.coactivations:
        near = (f"{c['other']} ({c['jaccard']:.2f}){_label(c['row'])}" for c in found.coactivations)
        yield "fires with   " + "  ".join(near)
    if found.cluster:
        tokens = "  ".join(shortened(token(text), 20) for text in found.cluster["tokens"])
        yield f"cluster      {found.cluster['cluster']} of {found.cluster['n']:,} features: {tokens}"
    if found.emergence:
        life = "never" if row["birth"] is None else f"since step {row['birth']:,}"
        life += "" if row["death"] is None else f" until step {row['death']:,}"
        life += "" if row["stability"] is None else f", stability {row['stability']:.2f}"
        densities = "  ".join(f"{one['step']:,}: {figure(100 * one['density'])}%" for one in found.emergence)
        yield f"emergence    {life}   {densities}"


def _reliability(found: card.Card) -> Iterator[str]:
    """What it is a specialist of, and whether both halves of the text agree."""
    row = found.row
    if found.categories:
        parts = (f"{safe(c['category'])} {figure(100 * c['density'])}%" for c in found.categories[:8])
        yield "categories   " + "  ".join(parts)
    if row["specialist_score"] is not None:
        kind = "specialist of" if row["specialist_score"] > 0 else "no specialist; strong most in"
        yield f"             {kind} {safe(row['specialist_category'])}, score {row['specialist_score']:+d}"
    halves = " and ".join(f"{figure(100 * (row[name] or 0))}%" for name in ("density_a", "density_b"))
    yield f"halves       density {halves}   same {found.unit} {row['token_stability']:.2f}"


def _token(row: dict[str, Any]) -> str:
    """Short: some are a line of spaces."""
    return shortened(token(row["text"]), 20)


def _label(row: dict[str, Any]) -> str:
    return f' "{safe(row["label"])}"' if row["label"] else ""
