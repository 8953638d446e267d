"""Pictures of the screens at both sizes. After a change that is meant: `pytest … --snapshot-update`, and look."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from core.analysis.console import Console
from core.session import Session
from core.steering.transcript import Transcript
from sae_tui.screens.asked import Asks
from sae_tui.screens.steer_image import SteerImagePage
from tests.sae_tui.asked import FakeVerbs, compared, studied, studied_of_images
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.fake_engine import FakeEngine
from tests.sae_tui.fake_images import FakeImageEngine, with_sae
from tests.sae_tui.test_probe_page import keep
from tests.sae_tui.waiting import still as comes_to_rest

SIZES = ((160, 45), (80, 24))
NOW = 1_770_000_000.0
SCREENS: dict[str, tuple[str, list[str]]] = {
    "runs": ("runs", []),
    "compare": ("runs", ["d", "j"]),
    "alike": ("runs", ["m"]),
    "alike-features": ("runs", ["m", "shift+tab", "f"]),
    "study": ("runs", ["u"]),
    "study-runs": ("runs", ["u", "w"]),
    "probe": ("runs", ["p", "l", "l", "j"]),
    "configure": ("runs", ["n"]),
    "train": ("train", []),
    "features": ("features", ["down"]),
    "feature": ("features", ["down", "enter"]),
    "feature-behind": ("features", ["down", "enter", *["tab"] * 8]),
    "map": ("features", [*"/feature > 7", "enter", "m", "right_square_bracket"]),
    "peaks": ("features", [*"/feature > 7", "enter", "H", "h"]),
    "steer": ("steer", [*"To be or", "enter"]),
    "steer-branch": ("steer", ["escape", *"/set 7 4", "enter", "p", *"To be or", "enter", "g", *"lllllll", "f", "s"]),
    "attribution": ("steer", [*"To be or", "enter", "g", "l", "l", "s", "s"]),
    "sql": ("sql", [*"SELECT feature, top_token, max FROM features ORDER BY max DESC", "ctrl+j"]),
}

OF_IMAGES: dict[str, tuple[str, list[str]]] = {
    "features": ("digits", ["down", "down"]),
    "feature": ("digits", [*"/feature = 5", "enter", "enter", "l"]),
    "feature-map": ("maps", [*"/feature = 5", "enter", "enter", "minus", "l"]),
}
"""The session of images that is at hand, and keys on its Features screen."""


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs from run to run and from machine to machine stands still."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(Session, "size_bytes", lambda self: 12_345_678)
    answer = Console._answer  # in another process, whose clock goes on
    monkeypatch.setattr(Console, "_answer", lambda self, request: replace(answer(self, request), elapsed_s=0.0))
    import sae_tui.screens.steer as steer

    memory = SimpleNamespace(available=16 * 10**9, total=32 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 10**9))
    monkeypatch.setattr(Transcript, "save", lambda self, session, **_: session.steering_dir / "20260202T023000Z.json")
    monkeypatch.setattr(steer.SteerPage, "make_engine", staticmethod(lambda session: FakeEngine()))


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_looks_as_it_did(
    screen: str, size: tuple[int, int], sessions_root, workbench: Callable, snap_compare: Callable,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    mode, pressed = SCREENS[screen]

    async def drive(pilot) -> None:
        await comes_to_rest(pilot)
        for key in pressed:
            await pilot.press(key)
        await comes_to_rest(pilot)

    if screen in ("compare", "study-runs"):
        _sweep(sessions_root)
    if screen == "train":
        _densities(sessions_root)
    if screen == "probe":
        keep(sessions_root)
    marked = ("alpha", "beta", "gamma") if screen.startswith("alike") else ()
    for name in marked[1:]:
        Session(sessions_root / name).database_path.write_bytes(b"")
    answers = {"compare": compared(marked, HOSTILE), **studied()} if marked or screen == "study" else {}
    monkeypatch.setattr(Asks, "make_verb", staticmethod(FakeVerbs(answers)))
    app = workbench(sessions_root, mode=mode, session="alpha")
    app.marked = {*marked}
    assert snap_compare(app, terminal_size=size, run_before=drive)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("screen", OF_IMAGES)
def test_a_screen_of_images_looks_as_it_did(
    screen: str, size: tuple[int, int], images_root, workbench: Callable, snap_compare: Callable
):
    session, pressed = OF_IMAGES[screen]

    async def drive(pilot) -> None:
        await comes_to_rest(pilot)
        for key in pressed:
            await pilot.press(key)
            await comes_to_rest(pilot) if key in ("enter", "minus") else None
        await comes_to_rest(pilot)

    app = workbench(images_root, mode="features", session=session)
    assert snap_compare(app, terminal_size=size, run_before=drive)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_the_studies_of_images_look_as_they_did(
    size: tuple[int, int], images_root, workbench: Callable, snap_compare: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Asks, "make_verb", staticmethod(FakeVerbs(studied_of_images())))

    async def drive(pilot) -> None:
        await comes_to_rest(pilot)
        await pilot.press("u")
        await comes_to_rest(pilot)
        await pilot.press("shift+tab")
        await comes_to_rest(pilot)

    assert snap_compare(
        workbench(images_root, mode="runs", session="digits"), terminal_size=size, run_before=drive
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_steer_on_an_image_looks_as_it_did(
    size: tuple[int, int], images_root, workbench: Callable, snap_compare: Callable, monkeypatch: pytest.MonkeyPatch
):
    with_sae(images_root / "digits")
    monkeypatch.setattr(SteerImagePage, "make_engine", staticmethod(lambda session: FakeImageEngine()))

    async def drive(pilot) -> None:
        await comes_to_rest(pilot)
        for key in ("0", "down", "plus", "m"):
            await pilot.press(key)
        await comes_to_rest(pilot)

    assert snap_compare(workbench(images_root, mode="steer", session="digits"), terminal_size=size, run_before=drive)


def _sweep(root: Path) -> None:
    """Runs that were measured, beside the three there are."""
    for place, (k, fvu, score) in enumerate(((8, 0.42, 0.81), (16, 0.31, 0.9), (64, 0.24, 0.93), (128, 0.09, 0.99))):
        member = Session(shutil.copytree(root / "gamma", root / f"sweep-k{k}"))
        text = member.config_path.read_text()
        member.config_path.write_text(text.replace("k = 32", f"k = {k}"))
        found = {"fvu": fvu, "l0": k, "sparsity": 1 - k / 4608, "dead_share": place / 100, "ce_loss_score": score}
        member.evaluation_path.write_text(json.dumps({**found, "tokens": {}}))


def _densities(root: Path) -> None:
    """What a training leaves besides its curves, and what moving the thresholds did."""
    counts = [0] * 9 + [3, 20, 90, 240, 610, 900, 870, 700, 410, 220, 90, 30, 12, 4, 0, 1]
    densities = {"step": 99, "low": -5, "high": 0, "counts": counts, "rarer": 7}
    Session(root / "alpha").densities_path.write_text(json.dumps(densities))
    moved = {"target_l0": 32.0, "coefficient": None, "moved_by": -0.2374, "activations": 8192, "l0_before": 27.87,
             "l0": 32.0, "fvu_before": 0.4609, "fvu": 0.4477}  # fmt: skip
    Session(root / "alpha").calibration_path.write_text(json.dumps(moved))
