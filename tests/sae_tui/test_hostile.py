"""Text that is not ours reaches no terminal as anything but text: asserted on the bytes, over every screen."""

import base64
import json
import random
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from core.labels import Label, append
from core.session import Session
from tests import stand_in
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.test_probe_page import keep
from tests.terminal import Terminal, parts

REPOSITORY = Path(__file__).parents[2]
WORSE = (
    *HOSTILE, "\x1b]0;title\x07", "\x1bP+q544e\x1b\\", "\x1b[?1049l\x1b[6n", "\x9d52;c;aGk=\x9c", "\ud800\udfff",
    "\udc80", "\x1b", "[[a]]", "[link=https://x]y[/link]", "\\[b]", "$HOME %s {0}", "\u2028\u2029\u0085",
    "\ue000\U000f0000", "a\u0301" * 200, "[bold]\x1b[31m" + "x" * 10_000, "\U0001f468\u200d\U0001f469", "\t" * 50,
    "\x0b\x0c\x1c",
)  # fmt: skip
"""More of what a text may try, and texts that are too long, too deep or no text at all."""
CSI = re.compile(
    r"[\d;]*m|\d+;\d+H|\?(1049|1000|1003|1015|1006|1016|25|1004|2004|2048|2026|7)[hl]|>\d+u|<u|\?(2026|2048)\$p"
)
"""What Textual itself sends: styles, places, modes and two questions about modes."""
OSC = re.compile(r"22;[a-z-]+|52;c;[A-Za-z0-9+/=]*")
"""The shape of the pointer; and the clipboard, where one pressed `y`."""
PATIENCE_S = 120.0
"""For a process that imports much on a machine that others use."""
SPLASH = "\x1b[?1049h\x1b[H\x1b[2J"
"""What is sent before Textual is there."""
BIDI_AND_ZERO_WIDTH = {*"\u061c\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"}


def assert_harmless(terminal: Terminal, *, copies: int = 0) -> None:
    """Nothing but allowed sequences and characters that only show, and no traceback."""
    terminal.settle()
    sent = terminal.sent.decode()
    copied = 0
    for part in parts(sent.removeprefix(SPLASH)):
        if part.kind == "csi":
            assert CSI.fullmatch(part.text), part
        elif part.kind == "osc":
            assert OSC.fullmatch(part.text), part
            copied += part.text.startswith("52;")
        else:
            assert part.kind == "text", part
            odd = {c for c in part.text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")} - {
                "\r",
                "\n",
            }
            assert not odd and not BIDI_AND_ZERO_WIDTH & set(part.text), (odd, part.text[:200], terminal.last_words)
    assert copied <= copies
    assert "Traceback" not in sent


def lines(values: list[object]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.fixture
def hostile_root(sessions_root: Path) -> Path:
    """The three sessions, and what is not ours in them as bad as it can be."""
    alpha, gamma = Session(sessions_root / "alpha"), Session(sessions_root / "gamma")
    for feature, text in enumerate(WORSE):
        append(alpha, Label(feature=feature % 12, label=text, note=text, tags=(text,), source=text, starred=True))
    with alpha.log_path.open("ab") as file:
        file.write("\n".join(WORSE).encode("utf-8", "surrogatepass") + b"\n\xff\xfe\x80\n")
    alpha.evaluation_path.write_text(
        json.dumps({"fvu": WORSE[4], "l0": None, "tokens": {t: t for t in WORSE}, WORSE[3]: 1})
    )
    with alpha.metrics_path.open("a") as file:
        file.write(lines([{"step": t, "loss": t, "fvu": float("nan"), t: t} for t in WORSE]))
        file.write(lines([{"step": 101, "steps": 100, "loss": float("inf")}, [], 3, None]))
    status = json.loads(gamma.status_path.read_text())
    gamma.status_path.write_text(json.dumps({**status, "error": "\n".join(WORSE), "phase": WORSE[3], "host": WORSE[4]}))
    text = gamma.config_path.read_text()
    name = f"name = {json.dumps(HOSTILE[3] + HOSTILE[2])}"
    gamma.config_path.write_text(re.sub(r'^name = ".*"$', lambda _: name, text, flags=re.MULTILINE))
    for name in ("delta", "torn"):
        shutil.copytree(gamma.path, sessions_root / name)
    Session(sessions_root / "torn").config_path.write_text("model = [\x1b[31m [/x]\n")
    (sessions_root / "delta" / "config.toml").write_text(
        f"[model]\n{json.dumps(HOSTILE[4])} = {json.dumps(HOSTILE[1])}\n"
    )
    transcripts = alpha.steering_dir
    for number, text in enumerate(WORSE[:4]):
        (transcripts / f"{number}.json").write_text(json.dumps({"prompt": text, "at": text, "reports": text}))
    return sessions_root


@pytest.fixture
def opened(tmp_path: Path):
    """`opened(root, size)`: a terminal with the workbench, which remembers hostile things of the last time."""
    terminals: list[Terminal] = []

    def run(root: Path, size: tuple[int, int] = (120, 36)) -> Terminal:
        names = (
            "text", "prompt", "filter", "where", "sort", "facet", "feature", "cursor", "chart", "axis", "session",
            "mode", "marked", "items", "interventions", "view", "pane", "words", "history", "smoothing", "log",
            "kind", "names",
        )  # fmt: skip
        memory = {name: random.Random(name).choice([*WORSE, [WORSE[3]], {"a": WORSE[4]}, -1, None]) for name in names}
        sections = ("app", "runs", "configure", "train", "features", "feature", "map", "steer", "sql")
        folder = tmp_path / "state" / "sae-tui"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps({str(root.resolve()): dict.fromkeys(sections, memory)}))
        (folder / "sql_saved.jsonl").write_text(lines([{"name": t, "sql": t} for t in WORSE]))
        (folder / "sql_history.jsonl").write_text(lines([{"sql": t, "session": t, "at": 1.0} for t in WORSE]))
        env = {
            "XDG_STATE_HOME": str(tmp_path / "state"), "SAE_TUI_SETTINGS": str(tmp_path / "none.toml"),
            "PYTHONPATH": str(stand_in.install(tmp_path / "stand-in", texts=list(WORSE), tokens_per_s=50)),
            "EDITOR": "true", "SAE_TUI_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "sae_tui", "--sessions", str(root)]
        terminals.append(Terminal(command, size=size, env=env, cwd=REPOSITORY))
        terminals[-1].wait_for("1 Runs")
        return terminals[-1]

    yield run
    for terminal in terminals:
        terminal.close()


def walk(terminal: Terminal, *keys: str) -> None:
    """Press keys, each when the screen has come to rest after the last."""
    for key in keys:
        terminal.press(key)
        terminal.settle(0.15 if key == "escape" else 0.04, 5)
        assert terminal.poll() is None, f"{key!r} ended it:\n{terminal.last_words}"


def go(terminal: Terminal, key: str, to: str | Callable[[str], bool]) -> None:
    """Press a key that leads elsewhere and wait until that is there: what is typed ahead is for another page."""
    terminal.press(key)
    terminal.wait_for(to, PATIENCE_S)
    terminal.settle(0.15, 2)


def paste(terminal: Terminal, text: str) -> None:
    """What a terminal sends for a paste."""
    terminal.type(f"\x1b[200~{text}\x1b[201~")
    terminal.settle(0.06, 5)


PASTED = "".join(t for t in WORSE if "\x1b" not in t).encode("utf-8", "replace").decode()[:3_000]


@pytest.mark.parametrize("size", [(160, 45), (80, 24)], ids=["wide", "narrow"])
def test_hostile_text_on_every_screen_reaches_the_terminal_as_text_alone(hostile_root, opened, size):
    terminal = opened(hostile_root, size)
    walk(terminal, "escape", "1", "j", "j", "j", "j", "k", "space")
    go(terminal, "d", "over L0")
    walk(terminal, "j", "w", "d", "escape")
    go(terminal, "escape", "─ runs 5 ")
    go(terminal, "v", "─ log · ")
    walk(terminal, "G")
    go(terminal, "escape", "─ runs 5 ")
    walk(terminal, "z", "escape")
    go(terminal, "n", "─ a new run ")
    walk(terminal, "tab", "escape", "escape", "y", "Y", "/")
    paste(terminal, PASTED)
    walk(terminal, "escape", "?", "escape", "g")
    go(terminal, "2", "step 3 of")
    walk(terminal, "L", "w", "m", "o", "enter", "left", "escape")
    go(terminal, "v", "─ log · ")
    go(terminal, "escape", "step 3 of")
    walk(terminal, "]", "y", ":", *"alpha")
    go(terminal, "enter", "step 101 of")
    go(terminal, "3", "row 1 of 1")
    go(terminal, "escape", "row 1 of 12")
    walk(terminal, "j", "j", "l", "l", "y", "s", "escape")
    go(terminal, "enter", "─ contexts ")
    walk(terminal, "#", "i", *["tab"] * 9, "j", "enter", "escape", "e", "escape", "n", "escape")
    walk(terminal, *["tab"] * 8, "j", "enter", "T", "escape", "y", "]", "]", "]")
    assert "Feature " in terminal.text
    go(terminal, "q", "─ features 12 of 12 ")
    go(terminal, "F", "─ which features ")
    walk(terminal, "end")
    go(terminal, "enter", lambda text: "─ which features " not in text)
    walk(terminal, "T", "x", "escape", "v", "v", "#")
    go(terminal, "m", "PCA of 12")
    walk(terminal, "]", "]", "+", "h", "k", "t", "y")
    go(terminal, "enter", "─ features ")
    walk(terminal, "escape", "escape", "/")
    paste(terminal, PASTED)
    walk(terminal, "escape")
    go(terminal, "4", "─ prompt ")
    paste(terminal, PASTED)
    walk(terminal, "escape", "tab", "tab", "escape")
    go(terminal, "5", "─ query ")
    walk(terminal, "escape", "i", "ctrl+a", "down", "down")
    paste(terminal, PASTED)
    walk(terminal, "ctrl+j", "ctrl+r", "down", "down", "escape", "escape", "t", "j", "l", "y", "escape")
    walk(terminal, "x", "j", "D", "escape", "enter", "escape")
    assert_harmless(terminal, copies=10)
    terminal.press("ctrl+q")
    assert terminal.wait(15) == 0
    assert_harmless(terminal, copies=10)


def test_hostile_text_on_the_screens_that_ask_verbs_and_engines(hostile_root, opened):
    keep(hostile_root)
    shutil.copytree(hostile_root / "alpha", hostile_root / "omega")
    for name in ("gamma", "delta", "torn"):
        shutil.rmtree(hostile_root / name)
    terminal = opened(hostile_root, (160, 45))
    walk(terminal, "escape", ":", *"session alpha", "enter", "1")
    walk(terminal, "p")
    terminal.wait_for("most frequent", PATIENCE_S)
    walk(terminal, "l", "j", ".", "y", "tab", "v", "j", "v", "v", "y", "v", "tab", "f")
    paste(terminal, PASTED)
    walk(terminal, "escape", "escape", "u")
    terminal.wait_for("ρ", PATIENCE_S)
    walk(terminal, "tab", "tab", "tab", "tab", "z", "escape", "escape")
    walk(terminal, "escape", "escape", "g", "space", "space", "m")
    terminal.wait_for("cannot be read", PATIENCE_S)
    walk(terminal, "b")
    terminal.wait_for("each other's best", PATIENCE_S)
    walk(terminal, "tab", "tab", "j", "f", "j", "v", "y", "v", "escape", "escape", "enter", "escape")
    assert_harmless(terminal, copies=10)


def test_hostile_text_that_an_engine_is_asked_about_and_what_it_answers(hostile_root, opened):
    terminal = opened(hostile_root, (160, 45))
    walk(terminal, "escape", ":", *"session alpha", "enter")
    terminal.wait_for(lambda text: "alpha" in text.splitlines()[0], PATIENCE_S)
    walk(terminal, "3", "escape")
    terminal.wait_for("row 1 of", PATIENCE_S)
    walk(terminal, "c")
    terminal.wait_for("^J search", PATIENCE_S)
    paste(terminal, PASTED)
    walk(terminal, "tab")
    paste(terminal, PASTED)
    walk(terminal, "ctrl+j")
    terminal.wait_for("2 features of", PATIENCE_S)
    walk(terminal, "j", "*", "y", "enter")
    terminal.wait_for("logits", PATIENCE_S)
    walk(terminal, "t")
    paste(terminal, PASTED[:500].replace("\n", " "))
    walk(terminal, "enter", "tab", "]")
    terminal.settle(0.5, 10)
    walk(terminal, "escape", "escape", "escape", "4")
    terminal.wait_for("╭─ prompt ", PATIENCE_S)
    walk(terminal, "escape", "p")
    paste(terminal, "".join(HOSTILE[:3]))
    walk(terminal, "enter")
    terminal.wait_for("[[a]]", PATIENCE_S)
    terminal.settle(1.0, 30)
    walk(terminal, "tab", "l", "l", "s", "s", "s", "s", "j", "y", "escape")
    walk(terminal, "escape", "/", *"add 3 1max", "enter", "E")
    terminal.wait_for("^S measure", PATIENCE_S)
    walk(terminal, "ctrl+s")
    terminal.wait_for("of use", PATIENCE_S)
    walk(terminal, "m", "tab", "tab", "j", "y", "escape", "escape")
    assert_harmless(terminal, copies=6)


def test_hostile_values_columns_and_errors_of_sql_and_what_is_copied_of_them(sessions_root, opened):
    terminal = opened(sessions_root)
    walk(terminal, "escape", "5")
    terminal.wait_for("− features")
    asked = [
        "SELECT " + ", ".join(f"chr({c}) AS \"c{c}{chr(c) * (c > 127)}[/x]\"" for c in (27, 155, 0x202E, 0x200B)),
        "SELECT text AS \"[bold]\", [text] AS \"[@click=app.quit]\" FROM tokens LIMIT 300",
        "SELECT * FROM documents",
        "SELECT label, note, tags, source FROM labels",
        "SELECT repeat('[/x]' || chr(27) || ']52;c;aGk=', 1000) AS long",
        "SELECT * FROM \"[/x][@click=app.quit]\"",
        "SELECT error('[/x]' || chr(27) || '[2J')",
    ]  # fmt: skip
    walk(terminal, "escape", "i")
    for sql in asked:
        walk(terminal, "end", "ctrl+u")
        paste(terminal, sql)
        walk(terminal, "ctrl+j")
        terminal.wait_for(lambda text: "esc stops it" not in text)
        walk(terminal, "escape", "space", "escape", "l", "y", "escape", "i")
    assert_harmless(terminal, copies=len(asked))
    copied = [p.text[5:] for p in parts(terminal.sent.decode()) if p.kind == "osc" and p.text.startswith("52;c;")]
    assert copied and all(base64.b64decode(text, validate=True) for text in copied)


def test_hostile_tokens_that_stream_and_what_fires_on_them(sessions_root, opened):
    terminal = opened(sessions_root)
    walk(terminal, "escape", "4")
    terminal.wait_for("╭─ prompt ", 60)
    walk(terminal, "escape", "p")
    paste(terminal, "".join(HOSTILE[:3]))
    walk(terminal, "enter")
    terminal.wait_for("[[a]]", 60)
    terminal.settle(0.5, 5)
    walk(
        terminal,
        "tab",
        "l",
        "l",
        "j",
        "l",
        "c",
        "c",
        "b",
        "b",
        "y",
        "tab",
        "j",
        "a",
        "+",
        "space",
        "tab",
        "escape",
        "u",
        "r",
    )
    terminal.drain(0.5)
    walk(terminal, "escape", "/", *"/add 3 ", "tab", "escape", "w", "z", "escape")
    assert_harmless(terminal, copies=1)


def test_storms_of_resizes_are_weathered(hostile_root, opened):
    terminal = opened(hostile_root, (100, 30))
    storm = random.Random(0)
    for mode in "12345":
        terminal.press("escape")
        terminal.settle(0.16)
        terminal.press(mode)
        for _ in range(6):
            terminal.resize(storm.randint(70, 240), storm.randint(18, 70))
            terminal.drain(0.1)
        assert terminal.poll() is None, terminal.last_words
    terminal.resize(60, 15)
    terminal.wait_for("needs 70x18, have 60x15", 15)
    terminal.resize(120, 36)
    terminal.wait_for("1 Runs  2 Train", 15)
    terminal.press("escape")
    terminal.settle()
    terminal.press("1")
    began = time.perf_counter()
    assert terminal.read(1.0) and time.perf_counter() - began < 1
    assert_harmless(terminal)
