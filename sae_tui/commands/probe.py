"""The verb probe: an SAE's features on a set of texts in categories, in tables, a heat map and bars."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

from core.analysis import given, probed
from core.analysis.probed import Category, Probed
from core.errors import UsageError
from core.session import Session
from sae_tui.commands.output import as_json, finished, table
from sae_tui.commands.texts import NAME_WIDTH, STRONG, names, pages, print_pages, require_top
from sae_tui.text import figure, safe, shortened, token
from sae_tui.widgets.scales import bar

SHADES = " ░▒▓█"
COLD, HOT = (64, 84, 128), (255, 186, 73)
"""Colours of the weakest and the strongest cell; the shade says the same without them."""
BAR = 30
"""Cells of the longest bar."""
LEVELS = " ▁▂▃▄▅▆▇█"
WIDE = 4
"""Characters of a cell at most, where there is room."""
LABEL = 18
"""Cells of what stands before a row of the heat map."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("probe", help="features on 70 texts in 7 categories: frequent, selective, specialists")
    verb.add_argument("names", nargs="+", metavar="NAME", help="the session; several are compared in one table")
    verb.add_argument(
        "--texts", type=Path, metavar="FILE",
        help="other texts: a .jsonl with `text`, `category` and `source` in each row, or a .txt with one text a line",
    )  # fmt: skip
    verb.add_argument("--strong", metavar="S", help=STRONG)
    verb.add_argument(
        "--pool", default="max", help="how a text's tokens become one vector: max (default), last or mean"
    )
    verb.add_argument("--top", type=int, default=20, metavar="N", help="features in each list (20)")
    verb.set_defaults(run=probe)


def probe(args: argparse.Namespace) -> int:
    """`sae-tui probe`."""
    require_top(args)
    if len(set(args.names)) < len(args.names):
        raise UsageError("a session is named twice", hint="name each once")
    sessions = [Session.open(args.sessions, name) for name in args.names]
    texts = given.from_file(args.texts) if args.texts else given.standard()
    from core import flow

    load = flow.loaded_once()
    found = [_asked(args, session, texts, load) for session in sessions]
    rules = [args.strong or session.config().analysis.strong for session in sessions]
    files = [str(probed.path_of(s, texts, args.pool, rule)) for s, rule in zip(sessions, rules, strict=True)]
    if args.json:
        urls = [pages(session, sorted(_mentioned(one))) for session, one in zip(sessions, found, strict=True)]
        answers = [{**a.to_json(), "urls": u, "file": f} for a, u, f in zip(found, urls, files, strict=True)]
        comparison = [_compared(session, one) for session, one in zip(sessions, found, strict=True)]
        as_json(answers[0] if len(answers) == 1 else {"comparison": comparison, "probes": answers})
    elif len(found) == 1:
        _show(sessions[0], found[0])
        print(f"\nkept as {safe(files[0])}, and each text's features beside it as .parquet")
    else:
        _compare(sessions, found)
    return 0


def _asked(args: argparse.Namespace, session: Session, texts: Sequence[given.Given], load: Any) -> Probed:
    from core import flow
    from core.analysis import asking

    name = args.texts.name if args.texts else given.STANDARD
    return finished(
        flow.ask(
            session,
            lambda model, sae: asking.probe(
                model, sae, session, texts, name=name, rule=args.strong, pool=args.pool, top=args.top
            ),
            load,
        )
    )


def _compared(session: Session, found: Probed) -> dict[str, Any]:
    """One row of the comparison."""
    measured = session.evaluation()
    return {
        "name": session.name,
        "active": found.active,
        "specialists": found.specialists,
        "specialised": found.specialised,
        "by_category": {category.name: category.specialists for category in found.categories},
        "entropy": found.entropy,
        "fvu": measured.get("fvu"),
        "l0": measured.get("l0"),
        "rule": found.rule,
    }


def _compare(sessions: Sequence[Session], found: Sequence[Probed]) -> None:
    rows = [_compared(session, one) for session, one in zip(sessions, found, strict=True)]
    categories = list(rows[0]["by_category"])
    print(f"{len(found[0].texts)} texts ({safe(found[0].name)}): specialists by category\n")
    lines: dict[str, Callable[[dict[str, Any]], Any]] = {
        "features that fire": lambda row: row["active"],
        "specialists": lambda row: row["specialists"],
        "categories with one": lambda row: f"{row['specialised']} of {len(categories)}",
        **{f"  {name}": lambda row, name=name: row["by_category"][name] for name in categories},
        "entropy of category": lambda row: row["entropy"],
        "FVU": lambda row: row["fvu"],
        "L0": lambda row: row["l0"],
    }
    table(("", *(row["name"] for row in rows)), ((name, *map(of, rows)) for name, of in lines.items()), left=("",))
    print("\nspecialist: strong on more texts of a category than outside it. Strong is")
    for row in rows:
        print(f"  {row['name']}: {row['rule']}")
    print(f"\n`sae-tui probe {rows[0]['name']}` shows one in full")


def _show(session: Session, found: Probed) -> None:
    called = names(session, _mentioned(found))
    print(
        f"{session.name} on {len(found.texts)} texts ({safe(found.name)}), {found.pool} over the tokens of each: "
        f"{found.active:,} of {found.d_sae:,} features fire, {figure(found.l0)} on a token"
    )
    print(f"strong is {found.rule}")
    if found.strongest is None:
        return
    _heading(f"the {max(map(len, found.top))} strongest features of each text")
    room = _console().width
    table(
        ("text", "from", "features"),
        (
            (
                i, shortened(_from(text), room // 3),
                shortened("  ".join(f"{f} {called.get(f, '')} {figure(v)}" for f, v in top), room - room // 3 - 8),
            )
            for i, (text, top) in enumerate(zip(found.texts, found.top, strict=True), 1)
        ),
        left=("from", "features"),
    )  # fmt: skip
    peak = found.strongest
    _heading("strongest")
    print(
        f"feature {peak.feature} {called.get(peak.feature, '')}: {figure(peak.value)} on {token(peak.token)} of text "
        f"{peak.text + 1}{_where(found, peak.text)}"
    )
    _heading("most frequent: the most texts on which it fires")
    table(
        ("feature", "stands for", "texts", "%", "max"),
        ((f.feature, called.get(f.feature, ""), f.n, f"{f.share:.0%}", figure(f.max)) for f in found.frequent),
        left=("stands for",),
    )
    _heading("most selective: the fewest texts on which it is strong, and at least one")
    table(
        ("feature", "stands for", "strong on", "max", "above", "strongest on"),
        (
            (
                f.feature, called.get(f.feature, ""), f.strong, figure(f.max), figure(f.threshold),
                shortened(f"text {f.text + 1}{_where(found, f.text)}", max(8, room - 36 - NAME_WIDTH)),
            )
            for f in found.selective
        ),
        left=("stands for", "strongest on"),
    )  # fmt: skip
    if found.categories:
        _categories(found, called)
    else:
        print("\nno text has a category: a .jsonl with `category` in each row asks for specialists too")
    _heading(f"heat map: the {len(found.heat.features)} most frequent features on each text")
    _heat(found, called)
    if found.categories:
        _heading("mean activation by category, over the features that fire on a text")
        _bars(found.categories)
    print_pages(session, [peak.feature, *(best.feature for category in found.categories for best in category.best[:1])])


def _mentioned(found: Probed) -> set[int]:
    """Every feature that is shown."""
    rows = [*found.frequent, *found.selective]
    rows += [one for category in found.categories for one in (*category.best, *category.common)]
    shown = {row.feature for row in rows} | {f for top in found.top for f, _ in top} | set(found.heat.features)
    return shown | ({found.strongest.feature} if found.strongest else set())


def _where(found: Probed, text: int) -> str:
    where = _from(found.texts[text])
    return f" ({where})" if where else ""


def _from(text: given.Given) -> str:
    return ": ".join(safe(part) for part in (text.category, text.source) if part)


def _categories(found: Probed, called: dict[int, str]) -> None:
    if found.specialists is None:
        print("\nthe texts are of one category: there is nothing to be a specialist against")
    elif not found.specialists:
        print("\nspecialists: none; no feature is strong on more texts of one category than outside it")
    else:
        _heading(
            f"specialists: {found.specialists:,} features, in {found.specialised} of {len(found.categories)} categories"
        )
        print("score = texts of the category on which it is strong − other texts on which it is\n")
        table(
            ("category", "n", "feature", "stands for", "score", "inside", "outside", "max", "above"),
            (
                (
                    category.name if not rank else "", f"{category.specialists:,}" if not rank else "", f.feature,
                    called.get(f.feature, ""), f"{f.score:+d}", f"{f.inside}/{category.texts}",
                    f"{f.outside}/{len(found.texts) - category.texts}", figure(f.max), figure(f.threshold),
                )
                for category in found.categories
                for rank, f in enumerate(category.best)
            ),
            left=("category", "stands for"),
        )  # fmt: skip
        print(f"\nentropy of category, median over the features that fire: {figure(found.entropy)} nats")
    _heading("common features of each category: the share of its texts on which each fires")
    room = _console().width
    for category in found.categories:
        listed = "  ".join(f"{f.feature} {called.get(f.feature, '')} {f.share:.0%}" for f in category.common)
        name = shortened(safe(category.name), room // 4)
        print(f"{name:<{room // 4}}  {shortened(listed, room - room // 4 - 2)}")


def _heat(found: Probed, called: dict[int, str]) -> None:
    """A row for each feature, a cell for each text, or for some texts their largest where the terminal is narrow."""
    heat = found.heat
    console = _console()
    groups = _groups(found)
    room = console.width - LABEL - len(groups) - len(found.categories) - 2
    each, wide = max(1, -(-len(heat.texts) // max(1, room))), min(WIDE, max(1, room // len(heat.texts)))
    head = Text(" " * LABEL)
    for name, places in groups:
        width = wide * -(-len(places) // each)
        head.append("│" + shortened(name, width).ljust(width), style="bold")
    console.print(head, no_wrap=True, crop=False)
    top = max((value for row in heat.values for value in row), default=0.0)
    for i, feature in enumerate(heat.features):
        line = Text(shortened(f"{feature:>6} {called.get(feature, '')}", LABEL - 1).ljust(LABEL))
        for _, places in groups:
            line.append("│")
            for first in range(0, len(places), each):
                shade, style = _cell(max(heat.values[i][p] for p in places[first : first + each]), top)
                line.append(wide * shade, style)
        line.append("│ " + _levels(heat.means[i]))
        console.print(line, no_wrap=True, crop=False)
    several = f"; a cell is {each} texts, the largest" if each > 1 else ""
    means = "; at the right its mean in each category, of its own largest" if found.categories else ""
    console.print(Text(f"0 {SHADES} {figure(top)}{several}{means}"), soft_wrap=True)


def _groups(found: Probed) -> list[tuple[str, range]]:
    """Categories and the places in `heat.texts` that are theirs; those of no category last."""
    groups, start = [], 0
    for category in found.categories:
        groups.append((safe(category.name), range(start, start + category.texts)))
        start += category.texts
    return groups + ([("", range(start, len(found.texts)))] if start < len(found.texts) else [])


def _cell(value: float, top: float) -> tuple[str, Style]:
    """A shade of five, coloured as finely as the terminal can."""
    if value <= 0:
        return " ", Style()
    share = value / top
    colour = ",".join(str(round(cold + (hot - cold) * share)) for cold, hot in zip(COLD, HOT, strict=True))
    return SHADES[min(4, 1 + int(4 * share))], Style(color=f"rgb({colour})")


def _levels(values: Sequence[float]) -> str:
    most = max(values, default=0.0)
    return "".join(LEVELS[-(-int(800 * value / most) // 100)] if most else " " for value in values)


def _bars(categories: Sequence[Category]) -> None:
    most = max(category.mean for category in categories)
    width = min(24, max(len(category.name) for category in categories))
    for category in categories:
        name = shortened(safe(category.name), width).ljust(width)
        drawn = bar(category.mean / most if most else 0.0, BAR)
        print(f"{name}  {drawn} {figure(category.mean):>6}   {category.active:,.0f} features fire on a text")


def _heading(words: str) -> None:
    _console().print(Text(f"\n{words}", style="bold"), soft_wrap=True)


def _console() -> Console:
    """A pipe has no width, and gets no colour."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)
