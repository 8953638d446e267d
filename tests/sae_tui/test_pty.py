"""The workbench in a real terminal: what it sends, how it leaves, and that it comes back as it was."""

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.terminal import Terminal, parts

REPOSITORY = Path(__file__).parents[2]
TITLE = "1 Runs  2 Train  3 Features  4 Steer  5 SQL"
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
RESTORED = ("?1049l", "?25h", "?1000l", "?1003l", "?1006l", "?2004l", "?7h", "<u")
"""Leaves the alternate screen, shows the cursor, turns off mouse, paste and keyboard protocol, wraps lines again."""


@pytest.fixture
def opened(tmp_path: Path):
    """`opened(root, …)`: a terminal with the workbench in it, its state in this test's own folder."""
    terminals: list[Terminal] = []

    def run(root: Path, *words: str, **options) -> Terminal:
        env = {
            "XDG_STATE_HOME": str(tmp_path),
            "SAE_TUI_SETTINGS": str(tmp_path / "none.toml"),
            **options.pop("env", {}),
        }
        command = [sys.executable, "-m", "sae_tui", "--sessions", str(root), *words]
        terminals.append(Terminal(command, env=env, cwd=REPOSITORY, **options))
        return terminals[-1]

    yield run
    for terminal in terminals:
        terminal.close()


def assert_restored(terminal: Terminal) -> None:
    sent = [part.text for part in parts(terminal.sent.decode("utf-8", "replace")) if part.kind == "csi"]
    for mode in RESTORED:
        assert mode in sent[sent.index("?1049h") :], mode
    for mode in ("?1049", "?25", "?1000", "?1003", "?1006", "?2004"):
        last = [text for text in sent if text in (f"{mode}h", f"{mode}l")][-1]
        assert last[-1] == ("h" if mode == "?25" else "l"), mode
    assert terminal.attributes == terminal.attributes_before


def colours(terminal: Terminal) -> int:
    """How many colours the terminal must have for what was sent: 0, 16, 256 or 2**24."""
    most = 0
    for part in parts(terminal.sent.decode()):
        numbers = (
            [int(n or 0) for n in part.text[:-1].split(";")] if part.kind == "csi" and part.text[-1] == "m" else []
        )
        while numbers:
            number = numbers.pop(0)
            if number in (38, 48):
                kind = numbers.pop(0)
                del numbers[: 1 if kind == 5 else 3]
                most = max(most, 256 if kind == 5 else 2**24)
            elif number in (*range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108)):
                most = max(most, 16)
    return most


def test_it_opens_on_an_empty_folder_and_leaves_the_terminal_as_it_was(opened, tmp_path):
    terminal = opened(tmp_path / "none")
    terminal.wait_for(TITLE)
    for key in "2345":
        terminal.press(key)
        terminal.settle()
        terminal.press("escape")
    terminal.settle()
    terminal.press("ctrl+q")
    assert terminal.wait(15) == 0
    assert_restored(terminal)
    assert "Traceback" not in terminal.sent.decode()


def test_sigterm_ends_it_orderly_and_says_so(opened, sessions_root):
    terminal = opened(sessions_root)
    terminal.wait_for(TITLE)
    terminal.settle()
    terminal.signal(signal.SIGTERM)
    assert terminal.wait(15) == 128 + signal.SIGTERM
    assert_restored(terminal)


@pytest.mark.parametrize("mode", ["", "2", "3", "5"])
def test_a_dropped_link_ends_it_on_every_screen(opened, sessions_root, mode):
    terminal = opened(sessions_root)
    terminal.wait_for(TITLE)
    terminal.type(mode)
    terminal.drain(0.3)
    terminal.hang_up()
    until = time.monotonic() + 3
    while terminal.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert terminal.poll() in (128 + signal.SIGHUP, -signal.SIGHUP)


def test_sigterm_ends_it_in_a_terminal_that_does_not_read(opened, sessions_root):
    terminal = opened(sessions_root)
    terminal.wait_for(TITLE)
    terminal.settle()
    for key in "23452345":
        terminal.type(key)
        time.sleep(0.1)  # nothing is read: the line is full, and its writer waits
    terminal.signal(signal.SIGTERM)
    until = time.monotonic() + 5
    while terminal.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert terminal.poll() == 128 + signal.SIGTERM
    terminal.settle()
    assert_restored(terminal)


def test_quitting_does_not_wait_for_a_query(opened, sessions_root):
    terminal = opened(sessions_root)
    terminal.wait_for(TITLE)
    terminal.press("5")
    terminal.wait_for("− features")
    terminal.type(ENDLESS)
    terminal.press("ctrl+j")
    terminal.wait_for("running")
    terminal.drain(0.2)
    began = terminal.press("ctrl+q")
    assert terminal.wait(15) == 0
    assert time.perf_counter() - began < 2  # it is 0.3 s where nothing else runs
    assert_restored(terminal)


@pytest.mark.parametrize(
    ("most", "term", "env"),
    [(0, "xterm-256color", {"NO_COLOR": "1"}), (16, "xterm", {}), (256, "xterm-256color", {})],
    ids=["no colours", "16 colours", "256 colours"],
)
def test_it_sends_no_colours_that_the_terminal_does_not_have(opened, sessions_root, most, term, env):
    terminal = opened(sessions_root, term=term, colorterm="", env=env)
    terminal.wait_for(TITLE)
    for key in "2345":
        terminal.press(key)
        terminal.settle()
        terminal.press("escape")
    assert TITLE in terminal.text
    assert colours(terminal) == most


def test_keys_that_a_slow_line_brings_at_once_are_taken_in_order(opened, sessions_root):
    terminal = opened(sessions_root)
    terminal.wait_for("gamma")
    terminal.type("/beta")  # not: the list's commands, and then an empty filter
    terminal.wait_for("1 of 3")
    terminal.press("escape")
    terminal.wait_for(lambda text: "1 of 3" not in text)
    terminal.type("5SELECT 41 + 1 AS answer\n")  # ^J: it is typed and run before the screen has come
    for shown in ("1 row · ", "SELECT 41 + 1 AS answer", "42"):  # in as many frames as it takes
        terminal.wait_for(shown, 10)


def test_what_trains_models_is_never_loaded(opened, sessions_root):
    terminal = opened(sessions_root)
    terminal.wait_for(TITLE)
    assert "numpy" not in mapped(terminal)  # the order of features is sorted with it, and 0.15 s to read
    terminal.type("234")
    terminal.wait_for("╭─ prompt ", 20)
    terminal.press("escape", "5")
    terminal.wait_for("− features", 20)
    loaded = mapped(terminal)
    assert "duckdb" in loaded
    for library in ("libtorch", "tokenizers", "pyarrow", "pandas", "safetensors"):
        assert library not in loaded, library


def mapped(terminal) -> str:
    """The libraries among the files that the workbench's process has in memory, a line each."""
    maps = Path(f"/proc/{terminal.pid}/maps").read_text().splitlines()
    return "\n".join(sorted({line.split(maxsplit=5)[5] for line in maps if line.endswith(".so")}))


def test_after_a_kill_it_comes_back_as_it_was(opened, sessions_root, tmp_path):
    terminal = opened(sessions_root)
    terminal.wait_for(TITLE)
    terminal.press("3")
    terminal.wait_for("row 1 of 12", 10)
    terminal.type("/feature > 3\r")
    terminal.wait_for("row 1 of 8", 10)
    terminal.type("5SELECT 42 AS kept")
    state = tmp_path / "sae-tui" / "state.json"
    until = time.monotonic() + 5
    while time.monotonic() < until and not (state.exists() and "42 AS kept" in state.read_text()):
        terminal.drain(0.05)
    terminal.signal(signal.SIGKILL)
    assert terminal.wait(3) == -signal.SIGKILL
    again = opened(sessions_root)
    again.wait_for("SELECT 42 AS kept")
    assert "alpha" in again.screen.lines[0]
    again.press("escape", "3")
    again.wait_for("row 1 of 8", 10)
    assert "feature > 3" in again.text
