"""Pictures of the seven screens at both sizes. After a change that is meant: `pytest … --snapshot-update`, and look."""

import shutil
import time
from collections.abc import Callable
from types import SimpleNamespace

import psutil
import pytest

from core.session import Session
from core.steering.transcript import Transcript
from tests.sae_tui.fake_engine import FakeEngine
from tests.sae_tui.waiting import still as comes_to_rest

SIZES = ((160, 45), (80, 24))
NOW = 1_770_000_000.0
SCREENS: dict[str, tuple[str, list[str]]] = {
    "runs": ("runs", []),
    "configure": ("runs", ["n"]),
    "train": ("train", []),
    "features": ("features", ["down"]),
    "feature": ("features", ["down", "enter"]),
    "steer": ("steer", [*"To be or", "enter"]),
    "sql": ("sql", [*"SELECT feature, top_token, max FROM features ORDER BY max DESC", "ctrl+j"]),
}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs from run to run and from machine to machine stands still."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(Session, "size_bytes", lambda self: 12_345_678)
    import sae_tui.screens.steer as steer

    memory = SimpleNamespace(available=16 * 10**9, total=32 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 10**9))
    monkeypatch.setattr(Transcript, "save", lambda self, session: session.steering_dir / "20260202T023000Z.json")
    monkeypatch.setattr(steer.SteerPage, "make_engine", staticmethod(lambda session: FakeEngine()))


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_looks_as_it_did(
    screen: str, size: tuple[int, int], sessions_root, workbench: Callable, snap_compare: Callable
):
    mode, pressed = SCREENS[screen]

    async def drive(pilot) -> None:
        await comes_to_rest(pilot)
        for key in pressed:
            await pilot.press(key)
        await comes_to_rest(pilot)

    app = workbench(sessions_root, mode=mode, session="alpha")
    assert snap_compare(app, terminal_size=size, run_before=drive)
