"""What stands on the terminal before the workbench does."""

import subprocess
import sys

import pytest

from core.overview import Overview
from sae_tui.first_paint import first_paint
from sae_tui.state import State
from tests.terminal import Screen

SIZES = ((160, 45), (120, 36), (80, 24))


def painted(root, state, size):
    screen = Screen(*size)
    screen.feed(first_paint(Overview(root).read(sizes=False), state, size))
    return screen.lines


@pytest.mark.asyncio
async def test_the_sessions_stand_where_the_list_has_them(sessions_root, workbench, tmp_path):
    for size in SIZES:
        early = painted(sessions_root, State(sessions_root, tmp_path / "none.json"), size)
        app = workbench(sessions_root)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            lines = ["".join(s.text for s in strip) for strip in app.screen._compositor.render_strips()]
        assert sum("alpha" in line or "beta" in line or "gamma" in line for line in early) == 3
        for line, final in zip(early, lines, strict=True):
            for place, character in enumerate(line):
                assert character in (" ", final[place]), (size, line, final)


def test_nothing_is_drawn_that_would_move(sessions_root, tmp_path):
    for values in ({"app": {"mode": "steer"}}, {"runs": {"sort": ["name", True]}}, {"runs": {"filter": "al"}}):
        state = State(sessions_root, tmp_path / "state.json")
        state.keep(values)
        assert not any(painted(sessions_root, state, (120, 36)))


def test_a_terminal_of_few_lines_is_not_scrolled(sessions_root, tmp_path):
    for lines in range(1, 8):
        sent = first_paint(
            Overview(sessions_root).read(sizes=False), State(sessions_root, tmp_path / "none.json"), (20, lines)
        )
        assert all(int(part.split(";")[0]) < lines for part in sent.split("\x1b[")[1:])


def test_it_needs_no_textual():
    code = "import sae_tui.first_paint, sys; assert 'textual' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
