"""A report's figures, drawn once for the page, as SVG whose colours follow the reader's, and once for print.

Only numbers and words of ours are drawn here: nothing from a corpus, a model or a person.
"""

import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from core.report.facts import Report

Ground = Figure | SubFigure
PAPER = ("#1c2024", "#1f6fd0", "#d5d9de")
"""The colours of text, of what is measured and of grids, on paper."""
PAGE = {"#010203": "currentColor", "#040506": "var(--line)", "#070809": "var(--faint)"}
"""The same on a page: what stands for each while it is drawn, and the page's own name of it."""
CURVES = (
    ("loss", "loss", 1), ("fvu", "FVU", 1), ("l0", "L0", 1), ("dead_share", "dead features, %", 100),
    ("coefficient", "λ", 1),
)  # fmt: skip
"""Columns of `metrics.jsonl`, what they are called here, and in which unit."""
CELLS = 2**17
"""Cells of the map of strengths at most."""
POINTS = 2_000
"""Of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One figure."""

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    """Inches."""
    draw: Callable[[Ground], None]


def drawings(report: Report) -> Iterator[Drawing]:
    """Those that the session has data for, in the order one reads them."""
    summary, columns = report.summary, report.columns
    shown = [curve for curve in CURVES if report.curves.has(curve[0])]
    if len(report.curves) > 1 and shown:
        yield Drawing(
            name="curves", title="Training", size=(9, 2.2 if len(shown) < 5 else 4.4),
            caption="Each logged step, of its batch, in the units the SAE is trained in.",
            draw=lambda ground: _curves(ground, report, shown),
        )  # fmt: skip
    never = summary["densities"]["never"]
    yield Drawing(
        name="densities", title="How often features fire", size=(9, 2.4),
        caption=f"Density is the share of counted tokens on which a feature is active; {never:,} never were.",
        draw=lambda ground: _densities(ground, summary["densities"]),
    )  # fmt: skip
    per, _ = strengths(columns["max"])
    cell = "Each cell is a feature" if per == 1 else f"Each cell is the strongest of {per} features"
    yield Drawing(
        name="strengths", title="How strong features get", size=(9, 3.4),
        caption=f"Largest activation of every feature. {cell}, by number, row by row; empty where it never fired. The "
        "sorted curve takes the place of bars in three dimensions: it shows the same numbers, none hidden by another.",
        draw=lambda ground: _strengths(ground, columns["max"]),
    )  # fmt: skip
    if not np.isnan(columns["x"]).all():
        kind = str(summary["analysis"].get("map", "")).upper()
        yield Drawing(
            name="map", title="Map of decoder directions", size=(9, 5.4),
            caption=f"{kind if kind in ('PCA', 'UMAP') else 'A map'} of unit decoder directions, the largest "
            "clusters in colours and numbered.",
            draw=lambda ground: _map(ground, columns, summary["clusters"]),
        )  # fmt: skip
    if len(summary["emergence"]) > 1:
        yield Drawing(
            name="emergence", title="How features emerged", size=(9, 2.2),
            caption="Measured now and then on the same activations. A feature is born at the first of these snapshots "
            "on which it is active, and has died at the first from which on it is not any more.",
            draw=lambda ground: _emergence(ground, summary["emergence"]),
        )  # fmt: skip


def svg(drawing: Drawing) -> str:
    """An `<svg>` element to put into a page: no ids that another figure has, colours by the page's CSS variables."""
    with mpl.rc_context({**style(tuple(PAGE)), "svg.fonttype": "none", "svg.hashsalt": drawing.name}):
        figure = Figure(figsize=drawing.size, layout="constrained")
        drawing.draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, dpi=144)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)
    for colour, css in PAGE.items():
        text = text.replace(colour, css)
    return text


def style(colours: tuple[str, ...]) -> dict[Any, Any]:
    """Settings of matplotlib to draw with: the colours as in PAPER."""
    ink, line, faint = colours
    return {
        "font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left", "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": ink, "axes.labelcolor": ink, "axes.linewidth": 0.6,
        "text.color": ink, "xtick.color": ink, "ytick.color": ink, "xtick.labelsize": 8, "ytick.labelsize": 8,
        "axes.grid": True, "grid.color": faint, "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.2,
        "axes.prop_cycle": cycler(color=[line]), "axes.facecolor": "none",
    }  # fmt: skip


def strengths(values: np.ndarray) -> tuple[int, np.ndarray]:
    """How many features a cell stands for, and the cells, `[rows, columns]`: twice as wide as high, nan where empty."""
    per = -(-len(values) // CELLS)
    cells = np.full(-(-len(values) // per) * per, np.nan)
    cells[: len(values)] = values
    cells = np.where(np.isnan(cells), -np.inf, cells).reshape(-1, per).max(axis=1)
    wide = math.ceil(math.sqrt(2 * len(cells)))
    grid = np.full(-(-len(cells) // wide) * wide, np.nan)
    grid[: len(cells)] = np.where(np.isinf(cells), np.nan, cells)
    return per, grid.reshape(-1, wide)


def _curves(ground: Ground, report: Report, shown: list[tuple[str, str, int]]) -> None:
    wide = len(shown) if len(shown) < 5 else 3
    axes = list(ground.subplots(-(-len(shown) // wide), wide, squeeze=False).flat)
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    for ax, (name, title, unit) in zip(axes, shown, strict=False):
        xs, ys = (np.array(values) for values in report.curves.series("activations", name))
        every = -(-len(xs) // POINTS)
        ax.plot(xs[::every], unit * ys[::every])
        ax.set_title(title)
        finite = ys[np.isfinite(ys)]
        if len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min():
            _logarithmic(ax)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel("activations")


def _densities(ground: Ground, found: dict[str, Any]) -> None:
    ax = ground.subplots()
    edges = found["low"] + found["width"] * np.arange(len(found["counts"]))
    ax.bar(edges, found["counts"], width=0.9 * found["width"], align="edge", color="C0")
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:g}"))
    ax.set_xlabel("density, logarithmic")
    ax.set_ylabel("features")


def _strengths(ground: Ground, values: np.ndarray) -> None:
    left, right = ground.subplots(1, 2, width_ratios=(3, 2))
    _, grid = strengths(values)
    image = left.imshow(grid, cmap="viridis", aspect="auto", interpolation="nearest", vmin=0)
    left.set_axis_off()
    ground.colorbar(image, ax=left, label="max", pad=0.01).outline.set_visible(False)
    ordered = np.sort(values[~np.isnan(values)])[::-1]
    places = np.unique(np.linspace(0, max(0, len(ordered) - 1), POINTS).astype(int))
    right.plot(places + 1, ordered[places] if len(ordered) else [])
    right.set_title("sorted")
    right.set_xlabel("features")
    right.set_ylabel("max")
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    right.set_ylim(bottom=0)


def _map(ground: Ground, columns: dict[str, np.ndarray], clusters: list[dict[str, Any]]) -> None:
    ax = ground.subplots()
    size = float(np.clip(20_000 / max(1, len(columns["x"])), 0.4, 12))
    place = {row["cluster"]: i for i, row in enumerate(clusters)}
    colours = [cluster_colour(place.get(one)) for one in columns["cluster"]]
    ax.scatter(columns["x"], columns["y"], c=colours, s=size, linewidths=0, rasterized=True)
    for row in clusters:
        ax.annotate(
            f"#{row['cluster']}", (row["x"], row["y"]), ha="center", va="center", fontsize=8, fontweight="bold",
        )  # fmt: skip
    ax.set_axis_off()


def cluster_colour(place: int | None) -> str:
    """Of the cluster at a place among the largest; a grey for all others."""
    return "#9a9fa6" if place is None else to_hex(mpl.colormaps["tab20"](place % 20))


def _emergence(ground: Ground, rows: list[dict[str, Any]]) -> None:
    left, right = ground.subplots(1, 2)
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["active"] for row in rows], marker="o", markersize=3)
    left.set_title("active features")
    left.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    places = np.arange(len(rows))
    right.bar(places, [row["born"] for row in rows], color="C0", label="born")
    right.bar(places, [-row["died"] for row in rows], color="C0", alpha=0.45, label="died")
    right.set_xticks(places[:: -(-len(rows) // 8)], [f"{step:,}" for step in steps[:: -(-len(rows) // 8)]])
    right.set_title("born, and died (below)")
    right.set_yscale("symlog")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(abs(value))))
    for ax in (left, right):
        ax.set_xlabel("step")


def _logarithmic(ax: Axes) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
