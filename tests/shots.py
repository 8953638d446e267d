"""`make shots`: every screen of the real demo session at both sizes, as SVG and PNG, to be looked at.

`python -m tests.shots FOLDER [SESSIONS] [SESSION]`. Drives the workbench as a person would. PNGs need `rsvg-convert`
(Debian: librsvg2-bin); without it there are SVGs alone.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"  # before Textual is imported, which reads it once

from textual.pilot import Pilot

from core.session import Session
from sae_tui.app import Workbench
from sae_tui.settings import Settings
from sae_tui.state import State

CLEAR = "density < 0.01 AND n > 30 AND top_token SIMILAR TO ' ?[a-z]{4,}'"
"""Features of one word, as far as a condition can tell."""
SIZES = ((160, 45), (80, 24))
Drive = Callable[[Pilot[int]], Awaitable[None]]


def keys(*pressed: str, wait: float = 1.0) -> Drive:
    """Press keys one after another, and wait for what they set off."""

    async def drive(pilot: Pilot[int]) -> None:
        for key in pressed:
            await pilot.press(key)
            await pilot.pause(0.05)
        await pilot.pause(wait)

    return drive


async def steered(pilot: Pilot[int]) -> None:
    """A feature from the browser made an intervention, and text under it."""
    app = pilot.app
    assert isinstance(app, Workbench) and app.session is not None
    session = app.session
    from core.analysis.store import Store

    with Store.open([session]) as store:
        [row] = store.features(sort="max", where=CLEAR, limit=1)
    app.to_steer.append(f"/add {row['feature']} 1max")
    app.open_session(session, "steer")
    await pilot.pause(1.0)
    await pilot.press("p")
    await pilot.press(*"Today I want to talk about the", "enter")
    for _ in range(240):
        await pilot.pause(0.5)
        if not app.screen.desk.running:  # pyright: ignore[reportAttributeAccessIssue]
            break
    await pilot.pause(4.0)  # what fires on the texts comes after them


SHOTS: dict[str, tuple[str, Drive]] = {
    "1-runs": ("runs", keys()),
    "1-configure": ("runs", keys("n")),
    "1-log": ("runs", keys("v")),
    "2-train": ("train", keys(wait=1.5)),
    "2-train-zoomed": ("train", keys("enter", wait=1.5)),
    "3-features": ("features", keys("down", "down", wait=1.5)),
    "3-features-filtered": ("features", keys("slash", *"density < 0.01 and n > 30", "enter", wait=1.5)),
    "3-feature": ("features", keys("down", "enter", wait=1.5)),
    "4-steer-empty": ("steer", keys()),
    "4-steer": ("steer", steered),
    "5-sql": ("sql", keys(*"SELECT feature, top_token, max FROM features ORDER BY max DESC", "ctrl+j", wait=1.5)),
    "6-help": ("features", keys("escape", "question_mark")),
    "6-palette": ("runs", keys("colon", *"new", wait=1.5)),
}  # fmt: skip


async def shoot(folder: Path, root: Path, name: str, only: str = "") -> None:
    """Draw each screen at each size."""
    for width, height in SIZES:
        for shot, (mode, drive) in SHOTS.items():
            if only and only not in shot:
                continue
            (folder / "state.json").unlink(missing_ok=True)
            app = Workbench(
                root, Settings(), State(root, folder / "state.json"), session=Session(root / name), mode=mode
            )
            async with app.run_test(size=(width, height)) as pilot:
                await pilot.pause(0.5)
                await drive(pilot)
                path = folder / f"{shot}-{width}x{height}.svg"
                # rsvg-convert would drop the spaces at the beginning of each text.
                picture = app.export_screenshot().replace("<text ", '<text xml:space="preserve" ')
                path.write_text(picture, encoding="utf-8")
            if shutil.which("rsvg-convert"):
                subprocess.run(["rsvg-convert", "-o", str(path.with_suffix(".png")), str(path)], check=True)
            print(path)


def main() -> None:
    """Where to, of which sessions."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "shots")
    root = Path(sys.argv[2] if len(sys.argv) > 2 else "sessions")
    name = sys.argv[3] if len(sys.argv) > 3 else "demo"
    if not (root / name / "features.duckdb").is_file():
        sys.exit(f"there is no analysed session {name!r} in {root}: `make demo HEADLESS=1` makes it")
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(shoot(folder.resolve(), root.resolve(), name, sys.argv[4] if len(sys.argv) > 4 else ""))


if __name__ == "__main__":
    main()
