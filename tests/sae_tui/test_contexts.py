"""The list of contexts: one column for what it is about, readable without colour, rows and no more repainted."""

import unicodedata

import pytest
from rich.cells import cell_len
from textual.app import App

from core.records import ContextToken, Example
from sae_tui.widgets.context_line import PREFIX, decimal
from sae_tui.widgets.contexts import Contexts, interval

from .conftest import HOSTILE

WIDTH, HEIGHT = 60, 8


def example(value, before="", text="x", after="", *, band=0, rank=0, others=()):
    """Words before and after, a token each; those at `others`, counted from the token it is about, are half as lit."""
    words = [*before.split("|"), text, *after.split("|")]
    at = len(before.split("|"))
    tokens = tuple(
        ContextToken(
            token_idx=i, token_id=100 + i, text=word,
            value=value if i == at else value / 2 if i - at in others else 0.0,
        )
        for i, word in enumerate(words)
    )  # fmt: skip
    return Example(
        band=band, rank=rank, token_idx=at, value=value, doc=0, source="a.py", category="code", tokens=tokens
    )


class Bench(App):
    def __init__(self, shown=(), most=10.0, bands=4):
        super().__init__()
        self.list = Contexts()
        self.list.can_focus = True
        self.shown = (list(shown), most, bands)
        self.moves, self.opens = [], []

    def compose(self):
        yield self.list

    def on_mount(self):
        examples, most, bands = self.shown
        self.list.show(examples, most=most, bands=bands)

    def on_contexts_moved(self, event):
        self.moves.append(event.example)

    def on_contexts_opened(self, event):
        self.opens.append(event.example)

    def lines(self):
        return [self.list.render_line(y).text for y in range(self.list.size.height)]


def cells_before(line, mark):
    return cell_len(line[: line.index(mark)])


@pytest.mark.asyncio
async def test_the_tokens_the_rows_are_about_begin_in_one_column_whatever_is_before_them():
    shown = [
        example(10.0, "a", "one", " b"),
        example(9.5, "日本|語の| text é" + "|" + "日" * 30, "two", " c"),
        example(0.5, "|".join(HOSTILE), "three", "|".join(HOSTILE)),
    ]
    app = Bench(shown)
    async with app.run_test(size=(WIDTH, HEIGHT)):
        lines = app.lines()
        columns = {
            cells_before(line, f"[{word}]") for line, word in zip(lines[1:], ("one", "two", "three"), strict=False)
        }
        assert columns == {PREFIX + int((app.list.scrollable_content_region.width - PREFIX) * 0.55)}
        assert {cell_len(line) for line in lines} == {app.list.scrollable_content_region.width}
        assert "…" in lines[2] and "…" not in lines[1]
        odd = {c for line in lines for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")}
        assert not odd - {"\ufffd"}


@pytest.mark.asyncio
async def test_activations_read_without_colour():
    lit = example(10.0, "a| weak| half", " peak", " b| half", others=(-1, 2))
    weak = ContextToken(token_idx=1, token_id=1, text=" weak", value=1.0)
    lit = Example(**{f: getattr(lit, f) for f in lit.__slots__} | {"tokens": (lit.tokens[0], weak, *lit.tokens[2:])})
    app = Bench([lit])
    async with app.run_test(size=(WIDTH, HEIGHT)):
        strip = app.list.render_line(1)
        assert "a weak[ half][ peak] b[ half]" in strip.text
        bold = {segment.text.strip() for segment in strip if segment.style and segment.style.bold}
        assert {"weak", "[ half]", "[ peak]"} <= bold
        assert strip.text.startswith("▸    10.0 ▲ ")


@pytest.mark.asyncio
async def test_bands_have_headings_and_the_cursor_walks_over_them():
    shown = [example(10.0 - i, band=i // 2, rank=i % 2) for i in range(6)]
    app = Bench(shown)
    async with app.run_test(size=(WIDTH, 12)) as pilot:
        lines = app.lines()
        assert "top: the 2 strongest" in lines[0]
        assert "band 1: activation 7.50 to 10.0 of 10.0" in lines[3]
        assert [line[PREFIX - 2] for line in lines[4:6]] == ["1", "1"]
        await pilot.press("j", "j")
        assert app.list.cursor == 2
        await pilot.press("k")
        assert app.list.cursor == 1
        await pilot.press("G")
        assert app.list.cursor == 5
        await pilot.press("g", "up")
        assert app.list.cursor == 0
        await pilot.press("ctrl+d", "enter")
        assert app.opens == [app.list.example] == [app.moves[-1]]


@pytest.mark.asyncio
async def test_a_move_repaints_two_rows_and_a_move_out_of_view_half_a_view():
    app = Bench([example(10.0, rank=i) for i in range(40)])
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
        await pilot.pause()
        asked = []
        refresh = app.list.refresh
        app.list.refresh = lambda *regions, **options: (asked.extend(regions), refresh(*regions, **options))[1]
        await pilot.press("j")
        assert sorted((r.y, r.height) for r in asked) == [(1, 1), (2, 1)]
        for _ in range(6):
            await pilot.press("j")
        await pilot.pause()
        assert app.list.cursor == 7
        assert 0 < app.list.scroll_y < 8
        assert any(line.startswith("▸") for line in app.lines())
        await pilot.press("g")
        await pilot.pause()
        assert app.lines()[0].startswith("── top")


@pytest.mark.asyncio
async def test_ids_take_the_place_of_text_and_seek_finds_the_next():
    shown = [example(10.0, "a|b", "x", "c"), example(5.0, "a", "y", "b", rank=1), example(4.0, "a", "x", rank=2)]
    app = Bench(shown)
    async with app.run_test(size=(WIDTH, HEIGHT)):
        app.list.ids = True
        assert "100 101 [102] 103" in app.lines()[1]
        assert app.list.seek([shown[0], shown[2]]) and app.list.cursor == 2
        assert app.list.seek([shown[0], shown[2]]) and app.list.cursor == 0
        assert not app.list.seek([]) and app.list.cursor == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("width", [1, 5, 19, 20, 23])
async def test_no_width_is_too_narrow(width):
    app = Bench([example(1e-9, "日" * 5, "日" * 40, "日" * 5)], most=1e-9)
    async with app.run_test(size=(width, HEIGHT)):
        assert {cell_len(line) for line in app.lines()} <= {app.list.scrollable_content_region.width}


@pytest.mark.asyncio
async def test_none_shows_nothing_and_keys_do_nothing():
    app = Bench([])
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
        await pilot.press("j", "G", "k", "enter", "pagedown")
        assert app.list.cursor is None and app.opens == []
        assert not "".join(app.lines()).strip()


def test_bands_and_activations_in_figures():
    assert interval(0, 4, 40.0, 1) == "the strongest"
    assert interval(4, 4, 40.0, 5) == "activation 0 to 10.0 of 40.0"
    assert interval(2, 0, 40.0, 5) == "5 places"
    assert [decimal(v, 67.8) for v in (67.828, 9.5)] == ["67.8", "9.5"]
    assert decimal(0.00123, 0.00456) == "0.00123"
