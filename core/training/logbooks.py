"""Where a run's figures go besides `metrics.jsonl`: Weights & Biases and TensorBoard, for whoever switched them on.

Scalars have the names they have in `metrics.jsonl`, and their step; what `evaluate` found has `test/` before its name.
Histograms are of log10 density, of the features that are active at all. After `analyze` come pictures of all features
and a table of the densest. A logbook that fails is left behind: its training goes on.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import numpy as np

from core.config import RunConfig
from core.errors import ConfigError
from core.options import LoggingConfig
from core.records import Evaluation, Notice, StepReport
from core.session import Session
from core.storage import last_line, replace_file

if TYPE_CHECKING:
    from core.training import drawn

WAIT_S = 30.0
"""Seconds to wait for W&B's server, at the beginning and at the end."""
LOCAL: dict[str, Any] = {
    "console": "off", "silent": True, "symlink": False, "disable_git": True, "disable_code": True,
    "save_code": False, "disable_job_creation": True, "x_disable_meta": True, "x_disable_stats": True,
    "x_disable_machine_info": True, "x_save_requirements": False,
}  # fmt: skip
"""W&B takes nothing from this machine but what it is given: no code, arguments, packages or printed lines."""


class Logbook(Protocol):
    """One place that takes figures."""

    @property
    def url(self) -> str:
        """Where a browser shows it; empty where none does."""
        ...

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """The figures of a step."""
        ...

    def final(self, values: Mapping[str, float], step: int) -> None:
        """Figures of the run as a whole, measured after `step`."""
        ...

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """How `values` are spread, measured after `step`."""
        ...

    def features(self, found: "drawn.Found", step: int) -> None:
        """What an analysis found after `step`."""
        ...

    def close(self) -> None:
        """Write what waits."""
        ...


class TensorBoard:
    """Event files in `tensorboard/`. What is there of steps after `step` is marked as void."""

    url = ""

    def __init__(self, session: Session, step: int | None) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        purge = None if step is None else step + 1
        self._writer = SummaryWriter(str(session.tensorboard_dir), purge_step=purge)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A chart for each name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    final = scalars

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """One of the histograms of `name`."""
        self._writer.add_histogram(name, values, step)

    def features(self, found: "drawn.Found", step: int) -> None:
        """Images, and a table as text."""
        for name, picture in found.pictures.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")
        lines = [found.columns, ["---"] * len(found.columns), *found.rows]
        table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
        self._writer.add_text("features/table", table, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run in `wandb/`, whose id is kept there: a training that goes on goes on in the same run.

    Of a step that comes again W&B keeps the figures it has, which are the same.
    """

    def __init__(self, session: Session, config: RunConfig) -> None:
        import wandb

        kept = session.wandb_dir / "id"
        if not kept.is_file():
            replace_file(kept, uuid4().hex[:12])
        self._run = wandb.init(
            project=config.logging.wandb_project, name=session.name, id=kept.read_text(encoding="utf-8"),
            resume="allow", dir=str(session.path), config=config.model_dump(), reinit="create_new",
            mode="online" if config.logging.wandb == "online" else "offline",
            settings=wandb.Settings(
                **LOCAL, init_timeout=WAIT_S, finish_timeout=WAIT_S, x_sync_dir_suffix=uuid4().hex[:8]
            ),
        )  # fmt: skip

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A row of the run's history."""
        self._run.log(dict(values), step=step)

    def final(self, values: Mapping[str, float], step: int) -> None:
        """The run's summary: its history is behind by then, and takes no step twice."""
        self._run.summary.update(dict(values))

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """In the summary too."""
        import wandb

        self._run.summary.update({name: wandb.Histogram(values.tolist())})

    def features(self, found: "drawn.Found", step: int) -> None:
        """Images and a table, in the summary too."""
        import wandb

        rows: list[Any] = [[_plain(value) for value in row] for row in found.rows]
        pictures = {name: wandb.Image(picture) for name, picture in found.pictures.items()}
        self._run.summary.update({**pictures, "features/table": wandb.Table(columns=list(found.columns), data=rows)})

    @property
    def url(self) -> str:
        """The run's page; empty offline."""
        return self._run.url or ""

    def close(self) -> None:
        """End the run, which may be resumed."""
        self._run.finish()


def check(config: LoggingConfig) -> None:
    """Raise ConfigError where what is switched on cannot be: a package is missing, or W&B's key."""
    for field, package, wanted in (
        ("wandb", "wandb", config.wandb != "off"), ("tensorboard", "tensorboard", config.tensorboard),
    ):  # fmt: skip
        if wanted and find_spec(package) is None:
            raise ConfigError(
                f"logging.{field} is on, but the package {package} is not installed",
                hint="pip install 'sae-tui[logging]', or switch it off",
            )
    if config.wandb != "off":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
    if config.wandb == "online":
        import wandb

        if not wandb.login(verify=False, prompt=False):
            raise ConfigError(
                "logging.wandb is online, but this machine has no key of Weights & Biases",
                hint='run `wandb login`, set WANDB_API_KEY, or take logging.wandb = "offline"',
            )


class Logbooks:
    """The logbooks of a job. Each method says of each that fails that it did, once."""

    def __init__(self) -> None:
        self._open: dict[str, Logbook] = {}

    def open(self, session: Session, config: RunConfig, step: int | None = None) -> Iterator[Notice]:
        """Open what the configuration switches on. `step` is where a training goes on from, None for other jobs."""
        if config.logging.wandb != "off":
            yield from self._opened("Weights & Biases", lambda: WeightsAndBiases(session, config))
        if config.logging.tensorboard:
            yield from self._opened("TensorBoard", lambda: TensorBoard(session, step))

    def steps(self, report: StepReport) -> Iterator[Notice]:
        """A logged step."""
        values = _numbers(asdict(report))
        del values["step"]
        yield from self._each(lambda book: book.scalars(values, report.step))

    def final(self, values: Mapping[str, float | None], step: int) -> Iterator[Notice]:
        """Figures of the run as a whole, measured after `step`."""
        numbers = _numbers(values)
        yield from self._each(lambda book: book.final(numbers, step))

    def densities(self, name: str, densities: Iterable[float], step: int) -> Iterator[Notice]:
        """How the features' densities after `step` are spread."""
        active = np.array([d for d in densities if d > 0])
        if len(active):
            yield from self._each(lambda book: book.histogram(name, np.log10(active), step))

    def features(self, found: "drawn.Found", step: int) -> Iterator[Notice]:
        """Pictures and a table of the features."""
        yield from self._each(lambda book: book.features(found, step))

    def ended(self) -> Iterator[Notice]:
        """Close what is open."""
        yield from self._each(lambda book: book.close())
        self._open.clear()

    def close(self) -> None:
        """The same where nobody listens any more."""
        for _ in self.ended():
            pass

    def _opened(self, name: str, open_: Callable[[], Logbook]) -> Iterator[Notice]:
        try:
            book = self._open[name] = open_()
            if book.url:
                yield Notice(message=f"{name} shows it at {book.url}")
        except Exception as error:  # whatever a server, a disk or another's package may raise
            yield _left(name, error)

    def _each(self, write: Callable[[Logbook], None]) -> Iterator[Notice]:
        for name, book in list(self._open.items()):
            try:
                write(book)
            except Exception as error:  # as above
                del self._open[name]
                yield _left(name, error)


def evaluated(session: Session, config: RunConfig, found: Evaluation) -> Iterator[Notice]:
    """Write what `evaluate` found, as of the last step of the training."""
    step = last_line(session.metrics_path).get("step", 0)
    with contextlib.closing(Logbooks()) as books:
        yield from books.open(session, config)
        yield from books.final({f"test/{name}": value for name, value in found.metrics.items()}, step)
        yield from books.densities("test/log10_density", found.densities, step)
        yield from books.ended()


def analysed(session: Session, config: RunConfig) -> Iterator[Notice]:
    """Draw what `analyze` found, as of the last step of the training."""
    if config.logging.wandb == "off" and not config.logging.tensorboard:
        return
    from core.training import drawn  # here: a training has no use for DuckDB

    step, found = last_line(session.metrics_path).get("step", 0), drawn.read(session)
    with contextlib.closing(Logbooks()) as books:
        yield from books.open(session, config)
        yield from books.features(found, step)
        yield from books.ended()


def _plain(value: object) -> object:
    """As a table takes it: a token's text with what is invisible spelled out."""
    return repr(value)[1:-1] if isinstance(value, str) else value


def _cell(value: object) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(_plain(value))
    return shown.replace("|", "\\|")


def _left(name: str, error: Exception) -> Notice:
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return Notice(message=f"{name} takes nothing more of this job ({line}): it goes on, metrics.jsonl has everything")


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
