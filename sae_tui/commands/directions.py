"""`sae-tui map`: the map of decoder directions, and the clusters on it."""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from core.analysis.map import Cell, Window
from core.analysis.store import Store
from core.errors import QueryError
from sae_tui.commands.output import as_json, session_of, table
from sae_tui.dots import braille
from sae_tui.text import shortened, token

WIDTH, HEIGHT = 100, 30
"""Cells of a map at most."""
CLUSTERS = 20
"""Clusters that are listed and numbered on the map, the largest."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("map", help="the map of decoder directions and its clusters, with their tokens")
    verb.add_argument("name", help="the session")
    verb.add_argument("--where", default="", metavar="SQL", help='features that are lit, e.g. "specialist_score > 0"')
    verb.add_argument("--limit", type=int, default=CLUSTERS, metavar="N", help=f"clusters to list ({CLUSTERS})")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui map`."""
    session = session_of(args)
    size = shutil.get_terminal_size((WIDTH, HEIGHT))
    columns, rows = min(WIDTH, size.columns), min(HEIGHT, max(8, size.lines - 4))
    with Store.open([session]) as store:
        window, meta, clusters = store.map_window(), store.meta(), store.clusters()
        if window is None:
            raise QueryError(f"the database of session {session.name} holds no map", hint="analyse it anew")
        lit = store.in_clusters(args.where)
        cells = store.on_map(window, columns, rows, [args.where] if args.where else [])
    pairs = {row["parent"] for row in clusters}
    if args.json:
        found = [{**row, "lit": lit.get(row["cluster"], 0)} for row in clusters if row["cluster"] not in pairs]
        joined = [row for row in clusters if row["cluster"] in pairs]
        as_json({"map": meta.get("map"), "features": store.d_sae, "lit": sum(lit.values()), "clusters": found,
                 "joined": joined})  # fmt: skip
        return 0
    leaves = [row for row in clusters if row["cluster"] not in pairs]
    shown = leaves[: max(0, args.limit)]
    for line in drawn(cells, shown, window, columns, rows, filtered=bool(args.where)):
        print(line)
    of = f", {sum(lit.values()):,} lit (●; ○: fewer than half of those there)" if args.where else ""
    print(f"{meta.get('map', '').upper()} of {store.d_sae:,} decoder directions in {len(leaves)} clusters{of}\n")
    names = ("cluster", "features", *(("lit",) if args.where else ()), "fires on")
    table(
        names,
        (
            (f"#{row['cluster']}", row["n"], *((lit.get(row["cluster"], 0),) if args.where else ()), _tokens(row))
            for row in shown
        ),
        left=("fires on",),
    )
    return 0


def drawn(
    cells: Sequence[Cell],
    clusters: Sequence[dict[str, Any]],
    window: Window,
    columns: int,
    rows: int,
    *,
    filtered: bool,
) -> Iterator[str]:
    """The map's lines: features as dots, what is lit as circles, clusters as their numbers where there is room."""
    lines = [[" "] * columns for _ in range(rows)]
    for cell in cells:
        lit = filtered and cell.lit
        lines[cell.row][cell.column] = ("●" if 2 * cell.lit >= cell.n else "○") if lit else braille(cell.dots)
    taken: set[tuple[int, int]] = set()
    for row in clusters:
        name = f"#{row['cluster']}"
        column, line = window.cell(row["x"], row["y"], columns, rows)
        first = min(max(0, column - len(name) // 2), columns - len(name))
        places = {(x, line) for x in range(first - 1, first + len(name) + 1)}
        if 0 <= line < rows and first >= 0 and not places & taken:
            lines[line][first : first + len(name)] = name
            taken |= places
    return ("".join(line).rstrip() for line in lines)


def _tokens(row: dict[str, Any]) -> str:
    return "  ".join(shortened(token(text), 20) for text in row["tokens"])
