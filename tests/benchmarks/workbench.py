"""The workbench measured from outside, through a terminal: how fast it starts and answers, how little it sends.

    python -m tests.benchmarks.workbench [sessions folder] [--only start,keys,…] [--quick]

The sessions are copied first; without a folder three small ones are made. Nothing else should run on the machine: a
figure for the step rate of a job is worth no more than the quiet around it. The text that is steered is a stand-in's,
20 tokens a second; screens, protocol and process are a user's.
"""

import argparse
import contextlib
import functools
import json
import math
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from core import config
from core.session import Session, listing
from core.status import Status
from core.storage import replace_file
from tests import stand_in
from tests.terminal import Terminal

REPOSITORY = Path(__file__).parents[2]
SIZE = (120, 36)
LIVE = "bench-live"
DENSITIES_S = 2.0
"""How often a training says how often features fire."""
MILLION = "bench-million"
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
SCREENS = {
    "runs": ("1", "╭─ runs ", ("j", "k")),
    "train": ("2", " loss ", ("l", "h")),
    "features": ("3", "row 1 of ", ("j", "k")),
    "steer": ("4", "╭─ prompt ", ("x", "backspace")),
    "sql": ("5", "╭─ query ", ("j", "k")),
}
"""Of each screen its digit, what stands there when it is there, and two keys that are pressed in turn."""


class Bench:
    """A folder of sessions, and what was measured so far."""

    def __init__(self, root: Path, scratch: Path, *, quick: bool) -> None:
        self.root, self.scratch, self.quick = root, scratch, quick
        self.session = next(s.name for s in listing(root) if s.database_path.is_file())

    @contextlib.contextmanager
    def opened(self, root: Path | None = None, **options: object) -> Iterator[Terminal]:
        """A terminal with the workbench on the Runs screen, the analysed session at hand."""
        state = tempfile.mkdtemp(dir=self.scratch)
        texts = [" one", " small", " step", "\n", " for", " the", " model"]
        env = {
            "XDG_STATE_HOME": state, "SAE_TUI_SETTINGS": str(self.scratch / "none.toml"),
            "PYTHONPATH": str(stand_in.install(self.scratch / "stand-in", texts=texts, tokens_per_s=20)),
            # As it is for a person: compiled once, not at every start.
            "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.scratch / "compiled"),
        }  # fmt: skip
        command = [sys.executable, "-m", "sae_tui", "--sessions", str(root or self.root)]
        with Terminal(command, size=SIZE, env=env, cwd=REPOSITORY, **options) as terminal:  # pyright: ignore
            yield terminal

    @contextlib.contextmanager
    def at(self, screen: str, session: str | None = None) -> Iterator[Terminal]:
        """The workbench on a screen, at rest."""
        with self.opened() as terminal:
            terminal.wait_for("1 Runs", 10)
            terminal.settle(0.5)
            choose(terminal, session or self.session)
            go(terminal, screen)
            assert terminal.poll() is None, f"it ended on {screen}:\n{terminal.text}"
            yield terminal

    def figure(self, what: str, value: float, unit: str, bar: float | None = None, note: str = "") -> None:
        """Print one line: the figure, and the bar that it should not pass."""
        verdict = "" if bar is None else "ok  " if value <= bar else "OVER"
        shown = f"{value:,.3f}" if unit == "s" else f"{value:,.1f}"
        limit = "" if bar is None else f"≤ {bar:g}"
        print(f"{what:<46} {shown:>11} {unit:<5} {limit:>9}  {verdict} {note}", flush=True)


def choose(terminal: Terminal, session: str) -> None:
    """Make a session the one at hand, by the palette."""
    if session in terminal.screen.lines[0]:
        return
    terminal.press("escape", ":")
    terminal.settle(0.3)
    terminal.type(f"session {session}")
    terminal.settle(1.0, 10)
    terminal.press("enter")
    terminal.wait_for(lambda text: session in text.splitlines()[0], 10)
    terminal.settle(0.3)


def go(terminal: Terminal, screen: str) -> None:
    """To a screen, and do there what its measurements need."""
    digit, shown, _ = SCREENS[screen]
    terminal.press("escape", digit)
    terminal.wait_for(shown, 15)
    terminal.settle(0.8, 15)
    if screen == "sql":
        terminal.wait_for("− features", 15)
        ask(terminal, "FROM features")
        terminal.wait_for(" ms", 15)
        terminal.press("escape")
    terminal.settle(0.8, 15)


def ask(terminal: Terminal, sql: str) -> None:
    """Run a query on the SQL screen."""
    if " i edit" in terminal.screen.lines[-1]:
        terminal.press("i")
        terminal.settle(0.3)
    terminal.press("end", "ctrl+u")
    terminal.type(sql)
    terminal.wait_for(sql, 15)
    terminal.press("ctrl+j")


def start(bench: Bench) -> None:
    """First byte, the first frame with the sessions in it, and the first of the workbench itself, which hears keys."""
    firsts, frames, whole, used = [], [], [], []
    with bench.opened() as terminal:  # compiles
        terminal.wait_for("1 Runs", 20)
        terminal.settle(1)
    for _ in range(3 if bench.quick else 9):
        with bench.opened() as terminal:
            terminal.read(10)
            firsts.append(terminal.received[0][0] - terminal.began)
            frame = terminal.wait_for(lambda text: any(bench.session in line for line in text.splitlines()[1:]), 10)
            frames.append(frame - terminal.began)
            whole.append(terminal.wait_for("? help", 10) - terminal.began)
            used.append(cpu_seconds(terminal.pid))
    bench.figure("start: first byte, median", statistics.median(firsts), "s", 0.25)
    bench.figure("start: sessions on the screen, median", statistics.median(frames), "s", 0.5)
    note = f"of its processor time {statistics.median(used):.2f} s"
    bench.figure("start: all of it, keys are heard, median", statistics.median(whole), "s", 0.5, note)


def latencies(terminal: Terminal, screen: str, n: int) -> list[float]:
    """Seconds from key to first byte, of `n` keys; a key that nothing answers counts for nothing."""
    found = []
    for i in range(n):
        with contextlib.suppress(TimeoutError):
            found.append(terminal.latency(SCREENS[screen][2][i % 2], 0.5))
    return found


def keys(bench: Bench, *, busy: bool = False) -> None:
    """Key to first byte on each screen; with `busy`, while two processes multiply matrices."""
    n = 40 if bench.quick else 100
    with busy_processes(2 if busy else 0):
        for screen in SCREENS:
            with bench.at(screen) as terminal:
                found = sorted(latencies(terminal, screen, n))
                what = f"key to byte on {screen}{', job on both cores' if busy else ''}"
                if not found:
                    print(f"{what:<46} no key was answered", flush=True)
                    continue
                p95, p99 = found[int(0.95 * (len(found) - 1))], found[int(0.99 * (len(found) - 1))]
                note = f"p50 {found[len(found) // 2] * 1000:.0f}, p99 {p99 * 1000:.0f}, most {found[-1] * 1000:.0f} ms"
                bench.figure(f"{what}, p95", p95 * 1000, "ms", 50, note)


def idle(bench: Bench) -> None:
    """Bytes a second where nothing happens."""
    seconds = 3 if bench.quick else 5
    for screen in SCREENS:
        with bench.at(screen) as terminal:
            terminal.drain(1.5)
            bench.figure(f"idle on {screen}", len(terminal.drain(seconds)) / seconds, "B/s", 0)


def train(bench: Bench) -> None:
    """Bytes a second of the curves of a job that reports once, and ten times, a second."""
    seconds = 10 if bench.quick else 30
    for hertz in (1, 10):
        with job(bench, hertz), bench.at("train", LIVE) as terminal:
            terminal.drain(3)
            sent = terminal.drain(seconds)
            bench.figure(f"Train live, {hertz} reports a second", len(sent) / seconds, "B/s", 3_000)


def moves(bench: Bench) -> None:
    """Bytes of a step of the cursor."""
    n = 20 if bench.quick else 80
    for screen in ("runs", "features", "sql"):
        with bench.at(screen) as terminal:
            sizes = []
            for i in range(n):
                terminal.press("j" if screen != "runs" else "jk"[i % 2])
                sizes.append(len(terminal.read(0.5)) + len(terminal.settle(0.06)))
            note = f"median {statistics.median(sizes):,.0f}, most {max(sizes):,}"
            bench.figure(f"a row move on {screen}, mean", statistics.mean(sizes), "B", 1_300, note)


def steering(bench: Bench) -> None:
    """Bytes a second while baseline and steered text stream."""
    with bench.at("steer") as terminal:
        terminal.type("Once upon a time")
        terminal.press("enter")
        terminal.wait_for("mean KL", 15)
        sent = terminal.drain(2.0)
        bench.figure("a steering stream of 20 tokens a second", len(sent) / 2.0, "B/s", 15_000)


def leaving(bench: Bench) -> None:
    """Seconds from ^Q to the prompt, at rest and while a query runs."""
    for what in ("at rest", "while a query runs"):
        with bench.at("sql") as terminal:
            if what != "at rest":
                ask(terminal, ENDLESS)
                terminal.wait_for("esc stops it", 15)
                terminal.drain(0.5)
            began = terminal.press("ctrl+q")
            code = terminal.wait(10)
            bench.figure(f"quit {what}", time.perf_counter() - began, "s", 1, "" if code == 0 else f"exit code {code}")


def stalled(bench: Bench) -> None:
    """A job that computes, without a workbench, with one in a terminal that does not read, and with one killed.

    What it loses is taken from the share of a processor it has: the steps it makes in a second vary by more than the
    bar on a virtual machine, by itself.
    """
    seconds, rounds = (4, 2) if bench.quick else (10, 4)
    found: dict[str, list[tuple[float, float]]] = {"alone": [], "stalled": [], "killed": []}
    used = 0.0
    with job(bench, 10, work=True) as session:
        for _ in range(rounds):
            found["alone"].append(pace(session, seconds))
            with bench.at("train", LIVE) as terminal:
                terminal.drain(2)
                used -= cpu_seconds(terminal.pid)
                found["stalled"].append(pace(session, seconds))  # nothing is read meanwhile
                used += cpu_seconds(terminal.pid)
                terminal.signal(signal.SIGKILL)
                found["killed"].append(pace(session, seconds))
    share = {what: statistics.mean(s for _, s in paces) for what, paces in found.items()}
    note = "steps/s: " + ", ".join(
        f"{what} {statistics.median(r for r, _ in paces):.1f}" for what, paces in found.items()
    )
    for what, words in (("stalled", "a stalled terminal"), ("killed", "a workbench that was killed")):
        bench.figure(f"{words} takes of the job", 100 * (1 - share[what] / share["alone"]), "%", 2, note)
    bench.figure("processor that the stalled workbench takes", 100 * used / seconds / rounds, "%", 5)


def million(bench: Bench) -> None:
    """A million features: open, sort, filter, jump."""
    root = bench.scratch / "million"
    _million_features(root, bench)
    with bench.opened(root) as terminal:
        terminal.wait_for("1 Runs", 10)
        terminal.settle(0.5)
        before = psutil.Process(terminal.pid).memory_info().rss
        began = terminal.press("3")
        bench.figure(
            "a million features: open, DuckDB too", terminal.wait_for("row 1 of 1,000,000", 20) - began, "s", 0.3
        )
        terminal.settle(1, 10)
        terminal.press("1")
        terminal.settle(1, 10)
        with bench.opened(root) as rested:  # as one who reads the list of runs first
            rested.wait_for("1 Runs", 10)
            rested.drain(3)
            began = rested.press("3")
            took = rested.wait_for("row 1 of 1,000,000", 20) - began
            bench.figure("a million features: open, 3 s after the start", took, "s", 0.3)
        began = terminal.press("3")
        bench.figure("a million features: come back", terminal.wait_for("row 1 of 1,000,000", 20) - began, "s", 0.3)
        terminal.settle(1, 10)
        jump = []
        for key in ("G", "g") * 5:
            jump.append(terminal.latency(key))
            terminal.settle(0.3)
        bench.figure("a million features: jump to an end, worst", max(jump) * 1000, "ms", 50)
        top = terminal.screen.lines[2:12]
        began = terminal.press("l")
        terminal.settle(0.3)
        began = terminal.press("s")
        took = terminal.wait_for(lambda text: text.splitlines()[2:12] != top, 20) - began
        terminal.settle(1, 10)
        bench.figure("a million features: sort, first byte", took, "s", 0.3)
        terminal.press("/")
        terminal.settle(0.3)
        terminal.type("density > 0.5")
        terminal.settle(0.5)
        terminal.press("backspace")
        terminal.settle(1, 10)
        before_filter = terminal.text
        began = terminal.type("6")
        took = terminal.wait_for(lambda text: text != before_filter, 20)
        terminal.settle(1, 10)
        bench.figure("a million features: filter, last byte", terminal.received[-1][0] - began, "s", 0.3)
        bench.figure("", (took - began) * 1000, "ms", None, "its first byte")
        grown = psutil.Process(terminal.pid).memory_info().rss - before
        bench.figure("a million features: memory", grown / 2**20, "MiB", 100)


MEASURES: dict[str, Callable[[Bench], None]] = {
    "start": start, "keys": keys, "busy": functools.partial(keys, busy=True), "idle": idle, "train": train,
    "moves": moves, "steering": steering, "leaving": leaving, "stalled": stalled, "million": million,
}  # fmt: skip


# What is measured beside.


@contextlib.contextmanager
def busy_processes(n: int) -> Iterator[None]:
    """Processes that multiply matrices, one on each core."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_multiply, daemon=True) for _ in range(n)]
    for process in processes:
        process.start()
    time.sleep(3.0 if n else 0)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _multiply() -> None:
    try:
        import torch
    except ImportError:
        while True:
            sum(i * i for i in range(10_000))
    torch.set_num_threads(1)
    matrix = torch.randn(512, 512)
    while True:
        matrix @ matrix  # pyright: ignore[reportUnusedExpression]


@contextlib.contextmanager
def job(bench: Bench, hertz: float, *, work: bool = False) -> Iterator[Session]:
    """A training job that only reports, so many times a second; with `work` it also computes all the while."""
    session = Session(bench.root / LIVE)
    session.metrics_path.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_report, args=(session.path, hertz, work), daemon=True)
    process.start()
    until = time.monotonic() + 30
    while session.observed().state != "running" and time.monotonic() < until:
        time.sleep(0.1)
    try:
        yield session
    finally:
        process.kill()
        process.join()


def _report(path: Path, hertz: float, work: bool) -> None:
    session, step, beat, told = Session(path), 0, 0.0, 0.0
    for step in range(1, 2_001):  # there is a past to be drawn
        session.append_metrics(_line(step))
    following = time.monotonic()
    while True:
        if time.monotonic() - beat >= 1.0:
            beat = time.monotonic()
            status = Status.of_process("train", "running", os.getpid())
            session.write_status(_with(status, phase="training", step=step, steps=20_000, done=step, total=20_000))
        if work:
            for _ in range(20):
                sum(i * i for i in range(10_000))
            step += 1
        else:
            step += 1
            time.sleep(max(0.0, following - time.monotonic()))
        if time.monotonic() >= following:
            following += 1 / hertz
            session.append_metrics(_line(step))
            if time.monotonic() - told >= DENSITIES_S:
                told = time.monotonic()
                counts = [round(3_000 * math.exp(-(((bin_ - 16 + step % 7 / 20) / 3) ** 2))) for bin_ in range(25)]
                found = {"step": step, "low": -5, "high": 0, "counts": counts, "rarer": step % 50}
                replace_file(session.densities_path, json.dumps(found))
        if work:
            (path / "steps").write_text(str(step))


def _line(step: int) -> dict[str, float]:
    """A step of a training whose penalty follows a target."""
    from tests.sae_tui.conftest import step_line

    noise = math.sin(step * 12.9898)
    return {**step_line(step, 20_000), "coefficient": 3 - 40 / step + 0.01 * noise, "dense": 300 + round(30 * noise)}


def _with(status: Status, **changes: object) -> Status:
    import dataclasses

    return dataclasses.replace(status, **changes)  # pyright: ignore


def pace(session: Session, seconds: float) -> tuple[float, float]:
    """Steps a second of the job that works, and the share of a processor it has."""

    def steps() -> int:
        while not (text := (session.path / "steps").read_text()):
            pass
        return int(text)

    while not (session.path / "steps").exists():
        time.sleep(0.1)
    pid = session.status().pid
    assert pid is not None
    first, used, began = steps(), cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    return (steps() - first) / took, (cpu_seconds(pid) - used) / took


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _million_features(root: Path, bench: Bench) -> None:
    """A session with a database of a million features, few of which have more than their statistics."""
    import duckdb

    from core.analysis import build

    session = Session(root / MILLION)
    shutil.copytree(bench.root / bench.session, session.path, ignore=shutil.ignore_patterns("*.parquet", "checkpoints"))
    session.database_path.chmod(0o644)
    with duckdb.connect(str(session.database_path)) as connection:
        n = connection.execute("SELECT count(*) FROM features").fetchone()
        assert n is not None
        replaced = "r.i::INTEGER AS feature, random() AS density, random() * 40 AS max, (random() * 1e5)::BIGINT AS n"
        connection.execute("CREATE TABLE more AS SELECT row_number() OVER () - 1 AS place, * FROM features")
        connection.execute(
            f"CREATE OR REPLACE TABLE features AS SELECT f.* EXCLUDE (place) REPLACE ({replaced}) "
            f"FROM range(1000000) r(i) JOIN more f ON f.place = r.i % {n[0]} ORDER BY feature"
        )
        connection.execute(
            "CREATE OR REPLACE TABLE by_density AS SELECT feature FROM features ORDER BY density DESC, feature"
        )
        connection.execute("DROP TABLE glances")
        connection.execute((Path(build.__file__).parent / "sql/65_glances.sql").read_text())
        connection.execute("DROP TABLE more")
        connection.execute("CHECKPOINT")


def _small_sessions(root: Path) -> None:
    from tests.sae_tui import conftest

    conftest._alpha(root)
    conftest._session(root, "beta", steps=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path, nargs="?")
    parser.add_argument("--only", default=",".join(MEASURES), help="some of " + ",".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sessions"
        if args.sessions:
            shutil.copytree(args.sessions, root)
        else:
            _small_sessions(root)
        Session.create(root, LIVE, config.parse({}))
        bench = Bench(root, Path(folder), quick=args.quick)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=REPOSITORY)
        print(f"{SIZE[0]}x{SIZE[1]}, {os.cpu_count()} cores, {commit.stdout.strip()}, load {os.getloadavg()[0]:.1f}")
        for name in args.only.split(","):
            try:
                MEASURES[name](bench)
            except (TimeoutError, AssertionError, IndexError) as error:
                print(f"{name}: {str(error).splitlines()[0] if str(error) else error!r}", flush=True)
                if os.environ.get("BENCH_SHOW"):
                    print(error)


if __name__ == "__main__":
    main()
