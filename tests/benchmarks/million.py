"""A million features in the workbench: how long it takes to open, sort, filter and jump, and what that costs.

    python -m tests.benchmarks.million [--keep FOLDER] [--session FOLDER]

Makes a session with a synthetic database of a million features (kept in FOLDER, where one is given), or takes another
one that was analysed; drives the Features screen over it as a person would, and prints medians beside the bars that the
design sets. Times run from the key to the rows standing in the table, or the feature in its screen, the screen's own
work included. Nothing else should run on the machine.
"""

import argparse
import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psutil

from core import config
from core.analysis import build
from core.analysis.order import MANY
from core.analysis.store import Store
from core.session import Session
from sae_tui.app import QUIET_S, TICK_S, Workbench
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.features import FeaturesPage
from sae_tui.settings import Settings
from sae_tui.state import State
from sae_tui.widgets.paged_table import PagedTable

N = 1_000_000
SCRIPTS = Path(build.__file__).parent / "sql"
ROUNDS = 5
PAUSE_S = QUIET_S + 2 * TICK_S
"""After each round nobody presses a key, and the workbench collects its garbage."""
WORDS = ("12", "345", "4567")
BARS_MS = {"open": 300.0, "sort": 300.0, "filter": 300.0, "words": 300.0, "jump": 50.0, "feature": 300.0}
"""At most, on a machine that does nothing else; BLOCKED_MS where there are not MANY features."""
BLOCKED_MS = 50.0
RSS_MB = 100.0
SQL = """
CREATE TABLE vocabulary AS
SELECT i::INTEGER AS token_id, ' ' || chr(97 + (i % 26)::INT) || chr(97 + (i // 26 % 26)::INT) || i AS text
FROM range(49152) r(i);

INSERT INTO features BY NAME
WITH raw AS (
    SELECT i::INTEGER AS feature, hash(i) / 2.0 ** 64 AS u, hash(i, 1) / 2.0 ** 64 AS v FROM range({n}) r(i)
)
SELECT
    feature,
    if(u < 0.04, 0, (1e6 * 10 ** (-6 * v))::BIGINT + 1) AS n,
    n / 1e6 AS density,
    if(u < 0.04, NULL, 3 * u) AS mean, if(u < 0.04, NULL, v) AS std, if(u < 0.04, NULL, 3 * u + 9 * v) AS max,
    if(u < 0.04, NULL, u) AS p50, if(u < 0.04, NULL, 2 * u) AS p90, if(u < 0.04, NULL, 3 * u) AS p99,
    u::FLOAT AS decoder_norm, v::FLOAT AS encoder_norm, (u - v)::FLOAT AS encoder_cosine, (u - v)::FLOAT AS bias,
    NULL::FLOAT AS threshold, u < 0.04 AS dead, density > 0.1 AS dense, u > 0.99 AS duplicate,
    if(u < 0.04, NULL, (SELECT text FROM vocabulary WHERE token_id = hash(feature, 0) % 49152)) AS top_token,
    if(u < 0.04, NULL, 5 * u) AS token_entropy,
    NULL::DOUBLE AS category_entropy, NULL::VARCHAR AS specialist_category, NULL::BIGINT AS specialist_score,
    density AS density_a, density AS density_b, u AS token_stability, 1::INTEGER AS birth, NULL::INTEGER AS death,
    u AS stability,
    (hash(feature, 2) % 1000)::INTEGER AS cluster,
    (sin(cluster) * cluster / 1000 + sqrt(-2 * ln(u + 1e-9)) * cos(6.28 * v) / 9)::FLOAT AS x,
    (cos(cluster) * cluster / 1000 + sqrt(-2 * ln(u + 1e-9)) * sin(6.28 * v) / 9)::FLOAT AS y
FROM raw
ORDER BY feature;

CREATE TABLE feature_tokens AS
SELECT
    feature, token_id, text, greatest(1, n // (rank + 2)) AS n, 1.0::DOUBLE AS mean, 10.0::DOUBLE AS lift
FROM (SELECT feature, n, rank, (hash(feature, rank) % 49152)::INTEGER AS token_id FROM features, range(8) r(rank)
      WHERE NOT dead)
JOIN vocabulary USING (token_id)
ORDER BY feature, n DESC, token_id;

CREATE TABLE histogram AS
SELECT feature, bin::INTEGER AS bin, max * bin / 20 AS lo, max * (bin + 1) / 20 AS hi, n // (bin + 1) AS n
FROM features, range(20) r(bin)
WHERE NOT dead
ORDER BY feature, bin;

CREATE TABLE documents AS SELECT 0 AS doc, '' AS category, 'synthetic' AS source, 1000 AS n_tokens;
CREATE TABLE tokens AS
SELECT i::INTEGER AS token_idx, 0 AS doc, i::INTEGER AS doc_pos, 0 AS block, i::INTEGER AS block_pos,
    token_id, text, true AS counted
FROM range(1000) r(i) JOIN vocabulary ON token_id = i
ORDER BY token_idx;
CREATE TABLE activations AS
SELECT feature, (hash(feature) % 1000)::INTEGER AS token_idx, max::FLOAT AS value FROM features WHERE NOT dead
ORDER BY feature;
CREATE TABLE examples AS SELECT feature, 0 AS band, 0 AS rank, token_idx, value FROM activations ORDER BY feature;
CREATE TABLE logits AS
SELECT feature, 1 AS sign, 0 AS rank, token_id, text, 1.0::FLOAT AS value
FROM features JOIN vocabulary ON token_id = hash(feature) % 49152
ORDER BY feature;
CREATE TABLE neighbours AS
SELECT feature, 0 AS rank, ((feature + 1) % {n})::INTEGER AS other, 0.5::FLOAT AS cosine FROM features;
CREATE TABLE coactivations AS
SELECT feature, 0 AS rank, ((feature + 2) % {n})::INTEGER AS other, 5::BIGINT AS n, 0.5::FLOAT AS jaccard,
    1.0::FLOAT AS pmi, 0.5::FLOAT AS pearson
FROM features;
CREATE TABLE by_density AS SELECT feature FROM features ORDER BY density DESC, feature;
CREATE TABLE feature_categories AS
SELECT feature, '' AS category, 1::BIGINT AS n, 0.1 AS density, 1.0 AS mean, 0::BIGINT AS strong_docs
FROM features WHERE false;
CREATE TABLE snapshots AS
SELECT step, feature, density::FLOAT AS density, mean::FLOAT AS mean, 0.1::FLOAT AS drift, 0.1::FLOAT AS drift_final,
    0.5::FLOAT AS jaccard
FROM features, (VALUES (1), (50), (100)) s(step) ORDER BY feature, step;
CREATE TABLE alignment AS
SELECT feature, 0 AS rank, 1 AS neuron, 0.5::FLOAT AS weight, 0.1::FLOAT AS share FROM features;
CREATE TABLE correlations AS
SELECT feature, 0 AS rank, 1 AS neuron, 0.5::FLOAT AS pearson, 0.5::FLOAT AS cosine FROM features;
CREATE TABLE logit_histogram AS
SELECT feature, bin::INTEGER AS bin, (bin - 4)::FLOAT AS lo, (bin - 3)::FLOAT AS hi, 9::BIGINT AS n
FROM features, range(8) r(bin) ORDER BY feature, bin;
CREATE TABLE clusters AS
SELECT cluster, 1000 AS parent, 0.0::FLOAT AS height, count(*) AS n, avg(x)::FLOAT AS x, avg(y)::FLOAT AS y,
    ['a', 'b'] AS tokens
FROM features GROUP BY cluster
UNION ALL SELECT 1000, NULL, 0.9, {n}, 0, 0, ['a']
ORDER BY cluster;
CREATE TABLE meta AS
SELECT * FROM (VALUES ('d_sae', '{n}'), ('tokens_counted', '1000000'), ('schema', '5'), ('map', 'pca')) t(key, value);
DROP TABLE vocabulary;
"""


def made(root: Path, name: str, n: int) -> Session:
    """A session of so many features, made where it is not there yet."""
    session = Session(root / name)
    if not session.database_path.is_file():
        session = Session.create(root, name, config.parse({}))
        beside = session.path / "being-made.duckdb"
        with duckdb.connect(str(beside)) as connection:
            table = connection.extract_statements((SCRIPTS / "40_features.sql").read_text())[0]
            connection.execute(table)
            connection.execute(SQL.format(n=n))
            connection.execute((SCRIPTS / "65_glances.sql").read_text())
            connection.execute("CHECKPOINT")
        beside.rename(session.database_path)
    return session


class Watch:
    """How long the event loop was blocked at a stretch: a beat that comes late, in ms."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.busy_ms = 0.0
        """The longest it worked by itself meanwhile: processor time, the same on a machine that others use too."""

    async def run(self) -> None:
        """Beat for as long as one lets it."""
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.002)
            self.longest_ms = max(self.longest_ms, 1e3 * (time.perf_counter() - began) - 2)
            self.busy_ms = max(self.busy_ms, 1e3 * (time.thread_time() - worked))


def rss_mb() -> float:
    """The memory of this process."""
    return psutil.Process().memory_info().rss / 1e6


async def until(condition: Callable[[], bool]) -> None:
    """Look every millisecond; 20 s at most."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


class Bench:
    """The Features screen over the session, timed from an action to its rows standing in the table."""

    def __init__(self, page: FeaturesPage, watch: Watch, features: int) -> None:
        self._page, self._watch = page, watch
        self.features = features
        self.took_ms: dict[str, list[float]] = {name: [] for name in BARS_MS}
        self.work_ms: dict[str, list[float]] = {name: [] for name in BARS_MS}
        """Processor time of all threads meanwhile."""
        self.blocked_ms = dict.fromkeys(BARS_MS, 0.0)
        self.busy_ms = dict.fromkeys(BARS_MS, 0.0)

    @property
    def table(self) -> PagedTable:
        """The list."""
        return self._page.query_one("#features", PagedTable)

    def shows(self, **wanted: Any) -> bool:
        """Whether the order that is shown is so, and the row at the cursor is there."""
        order = self._page._found.order if self._page._found else None
        same = order is not None and all(getattr(order, name) == value for name, value in wanted.items())
        return same and (self.table.row is not None or not self.table.count)

    async def timed(self, name: str, act: Callable[[], object], done: Callable[[], bool]) -> None:
        """Do it, wait until it is done, and a while longer for what follows: the preview, pages beside the view."""
        await asyncio.sleep(0.2)
        self._watch.longest_ms = self._watch.busy_ms = 0.0
        self._page.app.pressed_at = time.monotonic()
        began, worked = time.perf_counter(), time.process_time()
        act()
        await until(done)
        self.took_ms[name].append(1e3 * (time.perf_counter() - began))
        self.work_ms[name].append(1e3 * (time.process_time() - worked))
        await asyncio.sleep(0.4)
        self.blocked_ms[name] = max(self.blocked_ms[name], self._watch.longest_ms)
        self.busy_ms[name] = max(self.busy_ms[name], self._watch.busy_ms)

    async def round(self, number: int) -> None:
        """Everything once, never twice the same."""
        page, session = self._page, self._page.app.session
        assert session is not None
        page.app.stores.forget(session)
        await self.timed("open", lambda: page.opened(session), self.shows)
        for sort in ("max", "top_token", "mean", "density"):
            await self.timed("sort", lambda sort=sort: page._sort(sort), lambda sort=sort: self.shows(sort=sort))
        where = f"density > {0.001 * (number + 1)}"
        await self.timed("filter", lambda: page._ask(text=where), lambda: self.shows(where=where))
        await self.timed("filter", lambda: page._ask(text=""), lambda: self.shows(where=""))
        n = self.features
        for place in (n - 1, 0, n // 2, n // 3, n * (number + 1) // 100 + 5):
            await self.timed("jump", lambda place=place: self.table.move_to(place), lambda: self.table.row is not None)
            await self.timed("feature", self.table.action_open, self._opened)
            page.app.pop_screen()
            await until(lambda: page.app.screen is page)

    def _opened(self) -> bool:
        page, row = self._page.app.screen, self.table.row
        return isinstance(page, FeaturePage) and page._card is not None and page._card.feature == row["feature"]

    async def words(self) -> None:
        """Look for words in all top tokens."""
        page = self._page
        for word in WORDS:
            await self.timed("words", lambda word=word: page._ask(text=word), lambda word=word: self._ran(word))
            await self.timed("filter", lambda: page._ask(text=""), lambda: self.shows(where=""))

    def _ran(self, word: str) -> bool:
        return self._page._found is not None and f"%{word}%" in self._page._found.order.where


async def drive(session: Session, small: Session, folder: Path) -> tuple[Bench, float, float]:
    """Some rounds of everything, and by how many MB the process grew from the small session by them, and by words."""
    root = session.path.parent
    with Store.open([session]) as store:
        n = store.count()
    app = Workbench(root, Settings(), State(root, folder / "state.json"), session=small, mode="features")
    async with app.run_test(size=(160, 45)) as pilot:
        page = app.screen
        assert isinstance(page, FeaturesPage)
        watch = Watch()
        bench = Bench(page, watch, n)
        await until(bench.shows)
        await pilot.pause(1.0)
        before = rss_mb()
        app.open_session(session)
        await until(lambda: bench.table.count == n)
        watching = asyncio.create_task(watch.run())
        for number in range(ROUNDS):
            await bench.round(number)
            await asyncio.sleep(PAUSE_S)
        gc.collect()
        grown = rss_mb() - before
        await bench.words()
        watching.cancel()
        return bench, grown, rss_mb() - before


def main() -> int:
    """Run it and print a line a figure; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a folder for the synthetic sessions, which stay")
    parser.add_argument("--session", type=Path, help="the folder of a session, instead of a synthetic one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.keep or Path(scratch)
        session = Session(args.session) if args.session else made(root, "million", N)
        small = made(root, "small", 1_000)
        gc.freeze()  # as the workbench does, and it leaves whole collections to moments when nobody types
        gc.set_threshold(*gc.get_threshold()[:2], 1_000_000)
        bench, grown_mb, with_words_mb = asyncio.run(drive(session, small, Path(scratch)))
    many = bench.features > MANY
    missed = grown_mb > RSS_MB
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; work is processor time, of all threads\n")
    print(f"{'ms':<8}{'median':>9}{'p95':>9}{'worst':>9}{'bar':>7}{'work':>9}   event loop held{'work':>9}{'bar':>7}")
    for name, most in BARS_MS.items():
        bar = most if many else BLOCKED_MS
        times = sorted(bench.took_ms[name])
        took, work = statistics.median(times), statistics.median(bench.work_ms[name])
        p95 = times[round(0.95 * (len(times) - 1))]
        held, busy = bench.blocked_ms[name], bench.busy_ms[name]
        missed |= (took if many else p95) > bar or held > BLOCKED_MS
        print(
            f"{name:<8}{took:>9.1f}{p95:>9.1f}{times[-1]:>9.1f}{bar:>7.0f}{work:>9.1f}"
            f"{held:>18.1f}{busy:>9.1f}{BLOCKED_MS:>7.0f}"
        )
    print(f"\nmemory: {grown_mb:.0f} MB more than over a thousand features, bar {RSS_MB:.0f}; ", end="")
    print(f"{with_words_mb:.0f} MB once words were looked for in all tokens")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
