"""Tokens over lines: wrapping, the cursor, what is repainted, hostile text."""

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.geometry import Region

from sae_tui.text import safe
from sae_tui.widgets.token_text import Piece, TokenText
from sae_tui.widgets.wrapping import wrapped

from .conftest import HOSTILE


def pieces(text: str, **looks) -> list[Piece]:
    """A piece for each word, its leading space with it, as tokenizers have it."""
    words = text.split(" ")
    return [Piece(word if i == 0 else f" {word}", **looks) for i, word in enumerate(words)]


def lines(found) -> list[str]:
    return ["".join(run.text for run in row) for row in found]


class Bench(App):
    def __init__(self, shown=()):
        super().__init__()
        self.text = TokenText(shown)
        self.moves = []

    def compose(self):
        yield self.text

    def on_token_text_moved(self, event):
        self.moves.append(event.index)


def test_lines_break_before_words_and_after_newlines():
    assert lines(wrapped(pieces("the cat sat on\n a mat"), 9)) == ["the cat ", "sat on↵", " a mat"]
    assert lines(wrapped([Piece("def"), Piece(" f():"), Piece("\n\n    "), Piece("return")], 12)) == [
        "def f():↵", "↵", "    return",
    ]  # fmt: skip


def test_a_word_of_several_tokens_stays_together_and_a_long_one_is_cut():
    assert lines(wrapped([Piece("a"), Piece(" aug"), Piece("ment"), Piece("ed")], 10)) == ["a ", "augmented"]
    assert lines(wrapped([Piece("x" * 7), Piece("y" * 7)], 5)) == ["xxxxx", "xxyyy", "yyyy"]
    assert lines(wrapped([Piece("日本語")], 3)) == ["日", "本", "語"]
    assert lines(wrapped([Piece("日")], 1)) == ["日"]


def test_where_colours_are_few_strong_tokens_stand_in_brackets_on_one_line_and_weak_ones_do_not():
    lit = [Piece("born"), Piece(" 1998", 0.9), Piece(" in", 0.1), Piece("\n", 0.5), Piece("  ", 1.0), Piece("x")]
    assert lines(wrapped(lit, 40, brackets_from=0.25)) == ["born [1998] in[↵]", "[␣␣]x"]
    assert lines(wrapped(lit, 40)) == ["born 1998 in↵", "  x"]
    spaces = [run for row in wrapped(lit, 40, brackets_from=0.25) for run in row if run.text == " "]
    assert [run.look[0] for run in spaces] == [0.0, 0.0]


@pytest.mark.parametrize("width", [1, 2, 3, 7, 30])
def test_hostile_text_is_laid_out_safely_at_any_width(width):
    shown = [Piece(text, strength, changed=True) for text in HOSTILE for strength in (0.0, 1.0)]
    rows = list(wrapped(shown, width, brackets_from=0.25))
    assert all(cell_len(line) <= max(2, width) for line in lines(rows))
    assert all(safe(line) == line for line in lines(rows))
    unlit = "".join(lines(wrapped([Piece(text) for text in HOSTILE], width)))
    assert unlit == safe("".join(HOSTILE))


@pytest.mark.asyncio
async def test_keys_walk_the_tokens_and_say_where():
    bench = Bench(pieces("the cat sat on the mat while dogs ran over hills"))
    async with bench.run_test(size=(16, 5)) as pilot:
        assert lines(bench.text._rows)[0] == "the cat sat on "
        await pilot.press("l", "l", "j", "h", "k", "G", "g", "pagedown", "pageup")
        await pilot.pause()
        assert bench.moves == [0, 1, 5, 4, 0, 10, 0, 10, 0]
        await pilot.press("down", "up")
        assert bench.moves[-2:] == [4, 0]
        await pilot.click(TokenText, offset=(5, 0))
        assert bench.text.cursor == 1
        bench.text.show(pieces("the"))
        await pilot.pause()
        assert bench.text.cursor == 0 and bench.moves[-1] == 0
        bench.text.show([])
        await pilot.press("l", "j")
        assert bench.text.cursor is None and bench.moves[-1] is None


@pytest.mark.asyncio
async def test_only_what_changed_is_repainted(monkeypatch):
    bench = Bench(pieces("one two three four five"))
    async with bench.run_test(size=(12, 5)) as pilot:
        await pilot.pause()
        asked: list[Region] = []
        refresh = bench.text.refresh

        def watched(*regions, **options):
            asked.extend(regions)
            return refresh(*regions, **options)

        monkeypatch.setattr(bench.text, "refresh", watched)
        bench.text.show(pieces("one two three four five"))
        assert asked == []
        bench.text.show(pieces("one two three four five six"))
        assert asked == [Region(4, 2, 4, 1)]
        asked.clear()
        shown = pieces("one two three four five six")
        shown[3] = Piece(" four", changed=True)
        bench.text.show(shown)
        assert asked == [Region(5, 1, 6, 1)]


@pytest.mark.asyncio
async def test_it_follows_the_end_while_text_comes_and_the_cursor_stays_in_view():
    bench = Bench(pieces("a b"))
    async with bench.run_test(size=(9, 4)) as pilot:
        bench.text.show(pieces("word " * 20), follow=True)
        await pilot.pause()
        assert bench.text.scroll_offset.y == bench.text.max_scroll_y > 0
        await pilot.press("g")
        assert bench.text.scroll_offset.y == 0
        await pilot.resize_terminal(30, 4)
        await pilot.pause()
        assert max(map(len, lines(bench.text._rows))) > 9


@pytest.mark.asyncio
@pytest.mark.parametrize("words", [1, 3, 5])
@pytest.mark.parametrize("follow", [True, False])
async def test_a_shorter_text_after_one_that_was_scrolled_is_seen(words, follow):
    bench = Bench(pieces("a b"))
    async with bench.run_test(size=(9, 4)) as pilot:
        for long in (7, 20):
            bench.text.show(pieces("word " * long), follow=True)
            await pilot.pause()
            assert bench.text.scroll_offset.y > 0
            bench.text.show(pieces("word " * words), follow=follow)
            await pilot.pause()
            seen = len(bench.text._rows) - bench.text.scroll_offset.y
            assert seen >= min(len(bench.text._rows), 3)


@pytest.mark.asyncio
@pytest.mark.parametrize(("theme", "no_color"), [("textual-dark", True), ("ansi-dark", False)])
async def test_a_state_reads_without_colour(theme, no_color, monkeypatch):
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    bench = Bench([Piece("<s>", dim=True), Piece(" so", changed=True), Piece(" lit", 1.0), Piece(" here")])
    async with bench.run_test(size=(40, 3)) as pilot:
        bench.theme = theme
        bench.text.cursor = 3
        await pilot.pause()
        styles = {segment.text.strip(): segment.style for segment in bench.text.render_line(0)}
        assert styles["<s>"].italic and styles["so"].bold and styles["so"].underline
        assert styles["here"].reverse and not styles["[lit]"].reverse
