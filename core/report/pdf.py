"""A report on paper: the page's figures, tables and features, condensed, as a PDF.

Text is set in one monospaced font, in lines; what it has no glyph for is a box. A line is one text, and what is lit in
it lies behind as rectangles.
"""

import textwrap
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from core.records import Example, Progress
from core.report.facts import Report, Told, contexts, headline
from core.report.figures import PAPER, Drawing, style
from core.shown import figure, safe, token

WIDTH, HEIGHT, MARGIN = 595.0, 842.0, 42.0
"""A4, and what is left free around; in points."""
SIZE, LEADING = 7.0, 10.0
"""Of text, and from line to line, in points."""
ADVANCE = 0.602
"""Width of a character, of its size."""
COLUMNS = int((WIDTH - 2 * MARGIN) / (ADVANCE * SIZE))
FONTS = ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")
QUIET, LIT = "#616a73", "#f08c14"
TOP, LOWER = 5, 1
"""Contexts of a feature: of the strongest, and of each band below."""


def write(report: Report, drawings: Sequence[Drawing], path: Path) -> Generator[Progress, None, None]:
    """Write it to `path`."""
    settings = {**style(PAPER), "font.family": ["DejaVu Sans"], "pdf.fonttype": 42, "text.parse_math": False}
    title = printable(f"{report.summary['session']}: an SAE on {report.summary['sae']['model']}")
    with mpl.rc_context(settings), PdfPages(path, metadata={"Title": title, "Creator": "sae-tui"}) as pages:
        sheet = _Sheet(pages)
        _head(sheet, report)
        sheet.end()
        yield Progress(phase="drawing figures")
        for page in _figures(drawings):
            pages.savefig(page)
        _tables(sheet, report)
        sheet.heading(f"{len(report.told)} features")
        sheet.line("Those that are " + report.summary["best"]["rule"] + ".", colour=QUIET)
        for i, one in enumerate(report.told):
            yield Progress(phase="writing pages", done=i, total=len(report.told), unit="features")
            _feature(sheet, one)
        sheet.end()


def printable(text: str) -> str:
    """`text`, safe, of characters the font has: others are a box each."""
    known = _known()
    return "".join(c if ord(c) in known else "□" for c in unicodedata.normalize("NFC", safe(text)))


@cache
def _known() -> frozenset[int]:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    maps = [set(FT2Font(str(folder / name)).get_charmap()) for name in FONTS]
    # marks are set over what is before them, where a line counts on one place for each character
    return frozenset(c for c in set.intersection(*maps) if not unicodedata.category(chr(c)).startswith("M"))


class _Sheet:
    """Pages that are filled from the top."""

    def __init__(self, pages: PdfPages) -> None:
        self._pages = pages
        self._page: Figure | None = None
        self._y = 0.0
        self._number = 0

    def room(self, points: float) -> float:
        """The top of so much free height, on a new page where this one has less; it is taken."""
        if self._page is None or self._y - points < MARGIN:
            self.end()
            self._page, self._y = Figure(figsize=(WIDTH / 72, HEIGHT / 72)), HEIGHT - MARGIN
            self._number += 1
            self._put(str(self._number), WIDTH - MARGIN, MARGIN / 2, colour=QUIET, ha="right")
        self._y -= points
        return self._y + points

    def end(self) -> None:
        """Write the page that was begun."""
        if self._page is not None:
            self._pages.savefig(self._page)
            self._page = None

    def line(self, text: str, *, colour: str = PAPER[0], bold: bool = False, size: float = SIZE, at: int = 0) -> None:
        """Text in one line or, where it is long, in several; indented by `at` characters."""
        room = int(COLUMNS * SIZE / size) - at
        shown = printable(text)
        while shown:
            cut = shown.rfind(" ", room // 2, room + 1) if len(shown) > room else -1
            part, shown = (shown[:cut], shown[cut + 1 :]) if cut > 0 else (shown[:room], shown[room:])
            top = self.room(LEADING * size / SIZE)
            self._put(part, MARGIN + at * ADVANCE * size, top - size, colour=colour, bold=bold, size=size)

    def heading(self, text: str) -> None:
        """A line that keeps some height below it for what it is about."""
        self.room(60)
        self._y += 60
        self.gap()
        self.line(text, bold=True, size=10)

    def gap(self) -> None:
        """Half a line."""
        self._y -= LEADING / 2

    def lit(self, before: str, runs: Sequence[tuple[str, float]], after: str) -> None:
        """One line: runs of text, each shaded by its share, 0 to 1, between others."""
        top = self.room(LEADING)
        self._put(before + "".join(run for run, _ in runs) + after, MARGIN, top - SIZE)
        place = len(before)
        for run, share in runs:
            if share > 0 and self._page is not None:
                x, y = (MARGIN + place * ADVANCE * SIZE) / WIDTH, (top - SIZE - 2) / HEIGHT
                size = (len(run) * ADVANCE * SIZE / WIDTH, 9 / HEIGHT)
                self._page.add_artist(
                    Rectangle((x, y), *size, facecolor=LIT, alpha=0.1 + 0.7 * share, linewidth=0, zorder=-1)
                )
            place += len(run)

    def _put(
        self, text: str, x: float, y: float, *, colour: str = PAPER[0], bold: bool = False, size: float = SIZE,
        ha: str = "left",
    ) -> None:  # fmt: skip
        if self._page is not None and text:
            self._page.text(
                x / WIDTH, y / HEIGHT, text, fontfamily="DejaVu Sans Mono", fontsize=size, color=colour, ha=ha,
                fontweight="bold" if bold else "normal", parse_math=False,
            )  # fmt: skip


def _figures(drawings: Sequence[Drawing]) -> Iterator[Figure]:
    """Pages with the drawings one below another."""
    width, room = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    heights = [one.size[1] / one.size[0] * width + 40 for one in drawings]
    first = 0
    while first < len(drawings):
        last = first + 1
        while last < len(drawings) and sum(heights[first : last + 1]) <= room:
            last += 1
        page = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
        engine = page.get_layout_engine()
        assert isinstance(engine, ConstrainedLayoutEngine)
        engine.set(rect=(MARGIN / WIDTH, MARGIN / HEIGHT, width / WIDTH, room / HEIGHT))
        left = max(1.0, room - sum(heights[first:last]))
        ratios = [*heights[first:last], left]
        parts = page.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)
        for part, drawing in zip(parts[:, 0], drawings[first:last], strict=False):
            part.suptitle(drawing.title, x=0.01, ha="left", fontsize=10, fontweight="bold")
            part.supxlabel(textwrap.fill(drawing.caption, 130), x=0.01, ha="left", fontsize=7, color=QUIET)
            drawing.draw(part)
        yield page
        first = last


def _head(sheet: _Sheet, report: Report) -> None:
    summary = report.summary
    sae, training, analysis = summary["sae"], summary["training"], summary["analysis"]
    sheet.line(summary["session"], bold=True, size=16)
    sheet.gap()
    sheet.line(
        f"A sparse autoencoder, {sae['architecture']}, {sae['d_sae']:,} features on {sae['d_in']:,} dimensions, on the "
        f"activations of {sae['model']} at {sae['hook']}."
    )
    if training["activations"]:
        sheet.line(
            f"Trained on {training['activations']:,} of {training['budget']:,} activations of {training['corpus']}, "
            f"{training['steps']:,} steps, {figure(training['elapsed_s'])} s.", colour=QUIET,
        )  # fmt: skip
    sheet.line(
        f"Its features were measured on {analysis['tokens_counted']:,} counted tokens in {analysis['documents']:,} "
        f"documents of {analysis['corpus']} ({analysis['split']} split), {analysis['analysed_at']}. "
        f"sae-tui {summary['versions']['sae_tui']}; report of {summary['made_at']}.", colour=QUIET,
    )  # fmt: skip
    sheet.heading("What came of it, on the test split")
    found = headline(report)
    _columns(sheet, ("metric", "", "on tokens"), found, (34, 14, 12))
    if not found:
        sheet.line(f"It was not evaluated: sae-tui evaluate {summary['session']}")
    sheet.heading("Features")
    kinds = summary["features"]
    rows = [(name, f"{n:,}", f"{figure(100 * n / kinds['all'])}%") for name, n in kinds.items()]
    _columns(sheet, ("kind", "", "share"), rows, (34, 14, 12))


def _tables(sheet: _Sheet, report: Report) -> None:
    summary = report.summary
    sheet.heading("Clusters of decoder directions")
    rows = [(f"#{c['cluster']}", f"{c['n']:,}", "  ".join(map(token, c["tokens"]))) for c in summary["clusters"]]
    _columns(sheet, ("cluster", "features", "fires on"), rows, (10, 10, -90))
    if summary["categories"]:
        sheet.heading("Specialists")
        rows = [
            (c["category"], f"{c['specialists']:,}", str(c["best"]), str(c["score"])) for c in summary["categories"]
        ]
        _columns(sheet, ("category", "specialists", "best", "its score"), rows, (34, 14, 12, 12))
    for probe in report.probes:
        sheet.heading(f"Probe {probe.name}")
        sheet.line(
            f"{len(probe.texts)} texts, each its tokens' {probe.pool}; strong is {probe.rule}. {probe.active:,} of "
            f"{probe.d_sae:,} features fire on one.", colour=QUIET,
        )  # fmt: skip
        rows = [
            (c.name, str(c.texts), f"{c.specialists:,}", "  ".join(f"{s.feature} ({s.score})" for s in c.best[:6]))
            for c in probe.categories
        ]
        if rows:
            _columns(sheet, ("category", "texts", "specialists", "the best of these"), rows, (34, 8, 14, -60))


def _columns(sheet: _Sheet, names: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> None:
    """Rows under a header: the first column and those of negative width to the left, others to the right."""
    for i, row in enumerate([names, *rows]):
        cells = []
        for j, (value, width) in enumerate(zip(row, widths, strict=True)):
            cut = printable(value)[: abs(width)]
            cells.append(cut.ljust(abs(width)) if j == 0 or width < 0 else cut.rjust(width))
        sheet.line("  ".join(cells).rstrip(), colour=PAPER[0] if i else QUIET)


def _feature(sheet: _Sheet, one: Told) -> None:
    card, row = one.card, one.card.row
    star = " ★" if row["starred"] else ""
    name = row["label"] or (token(row["top_token"]) if row["top_token"] is not None else "never fired")
    sheet.heading(f"{card.feature}{star} {name}")
    if one.label and one.label.note:
        sheet.line(one.label.note, colour=QUIET)
    if one.url:
        sheet.line(one.url, colour=QUIET)
    if row["dead"]:
        sheet.line("It fired nowhere in the analysed text.")
        return
    special = ""
    if row["specialist_score"] is not None and row["specialist_score"] > 0:
        special = f"   specialist of {row['specialist_category']}, score {row['specialist_score']}"
    sheet.line(
        f"density {figure(100 * row['density'])}% ({row['n']:,} tokens)   mean {figure(row['mean'])}   "
        f"max {figure(row['max'])}   p99 {figure(row['p99'])}{special}"
    )
    sheet.line("fires on    " + "  ".join(f"{token(x['text'])} {x['n']:,} (×{figure(x['lift'])})" for x in card.tokens))
    for sign, title in ((1, "promotes"), (-1, "suppresses")):
        effects = [f"{token(x['text'])} {x['value']:+.2f}" for x in card.logits if x["sign"] == sign]
        if effects:
            sheet.line(f"{title:<12}" + "  ".join(effects[:8]))
    for rows, title, by in ((card.neighbours, "neighbours", "cosine"), (card.coactivations, "fires with", "jaccard")):
        if rows:
            sheet.line(f"{title:<12}" + "  ".join(f"{x['other']} ({x[by]:.2f})" for x in rows[:8]))
    for example in contexts(card, TOP, LOWER):
        _context(sheet, example, row["max"])


def _context(sheet: _Sheet, example: Example, most: float) -> None:
    """One line around the place the example is about."""
    before, after = f"{figure(example.value):>8}  ", f"  {printable(example.source)}"[:26]
    runs = [(printable(t.text), max(0.0, t.value / most)) for t in example.tokens]
    places = [i for i, t in enumerate(example.tokens) if t.token_idx == example.token_idx]
    first = last = places[0] if places else 0
    room = COLUMNS - len(before) - len(after)
    taken = len(runs[first][0][:room]) if runs else 0
    while True:
        ahead = first > 0 and taken + len(runs[first - 1][0]) <= room
        behind = last + 1 < len(runs) and taken + len(runs[last + 1][0]) <= room
        if ahead and (not behind or len(runs) - last > first):
            first -= 1
            taken += len(runs[first][0])
        elif behind:
            last += 1
            taken += len(runs[last][0])
        else:
            break
    sheet.lit(before, [(text[:room], share) for text, share in runs[first : last + 1]], after)
