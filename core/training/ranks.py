"""One training in several processes, each of which computes on its own part of every batch.

`torchrun --nproc-per-node N -m core train SESSION` starts N of them; each has a rank from 0, and only the first writes
the session's files. All hold the same weights: they begin with those of the first, and step by the same gradient. What
is reduced are means over a batch's rows, weighted by each process' share of them, so that a batch need not be divided
evenly. For a process alone every method gives back what it is given.

Steps are in tune by exchanges of a few numbers over the CPU, for which a process waits as long as the others live: they
may be paused, or read text. One that is gone is known by its process on the same machine, by its heartbeat on another.
A word on how the training ended is left for the others; they raise `Left`.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import NoReturn

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from core.config import RunConfig
from core.errors import ConfigError, RunError, sentence
from core.status import Status, process_lives

BEAT_S = 2.0
SILENT_S = 120.0
"""A process on another machine whose heartbeat is older counts as dead."""
LOOK_S = 1.0
"""Seconds between two looks at whether the others live, while one waits for them."""
BLAME_S = 10.0
"""How long the reason is looked for after a connection broke; torchrun kills the rest after 30 s."""
COLLECTIVE = timedelta(seconds=120)
"""For what all take part in at once: gradients and figures of a step."""
PATIENT = timedelta(days=30)
STOPPED = "stopped"
WORD, GONE = "word", "gone"
"""What is left for the others: how the training ended, and that a process takes part no more."""


class Left(RunError):
    """Another process left the training."""

    stopped = False
    """Whether because a person wanted it to."""


class Ranks:
    """The processes of one training, as one of them sees them. A context: leaving it tells the others why."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self._mine = self._all = 1
        """Rows of the batch at hand that this process has, and that all have."""
        self._store: Store | None = None
        self._group: dist.ProcessGroup | None = None
        """For tensors on the device of the training; None: the one for exchanges."""
        self._others: dict[int, Status] = {}
        self._beats: dict[int, tuple[bytes, float]] = {}
        """Of each process on another machine, its last beat and when it was first seen."""
        self._ended = threading.Event()
        self._looked = time.monotonic()
        self._leaving = self._broken = False

    @classmethod
    def joined(cls) -> "Ranks":
        """The processes that torchrun started, once all are there; this one alone where it did not."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        store, rank, world = next(rendezvous("env://", timeout=timedelta(hours=1)))
        ranks = cls(rank, world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=PATIENT)
        ranks._store = PrefixStore("sae-tui", store)
        found: list[Status | None] = [None] * world
        dist.all_gather_object(found, Status.of_process("train", "running", os.getpid()))
        ranks._others = {number: each for number, each in enumerate(found) if each and number != rank}
        threading.Thread(target=ranks._beat, daemon=True, name="ranks").start()
        return ranks

    def __deepcopy__(self, _memo: object) -> "Ranks":
        return self  # there is one connection: a copy of an SAE that knows it is none of that

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.world == 1:
            return False
        if error is not None:
            self._tell(error)
            self._leave_word(GONE, str(self.rank))
        self._ended.set()
        if error is None:  # else a collective may be under way, which it would wait for
            dist.destroy_process_group()
        return isinstance(error, Left) and error.stopped and not self.first

    @property
    def first(self) -> bool:
        """Whether this process writes the session's files and decides for all."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether it is the first on its machine."""
        return self.world == 1 or int(os.environ.get("LOCAL_RANK", "0")) == 0

    @property
    def _share(self) -> float:
        return self._mine / self._all

    def part(self, n: int) -> int:
        """How many of n things are this process' where each takes one in turn."""
        return len(range(self.rank, n, self.world))

    def require_fit(self, config: RunConfig) -> None:
        """Raises ConfigError where a batch cannot be divided among the processes, or the device is one GPU."""
        batch, device = config.training.batch_activations, config.device
        if batch % self.world:
            raise ConfigError(
                f"training.batch_activations = {batch} cannot be divided among {self.world} processes",
                hint=f"make it a multiple of {self.world}, or start another number of them",
            )
        if self.world > 1 and device.startswith("cuda:"):
            raise ConfigError(
                f"device = {device!r} is one GPU, and there are {self.world} processes",
                hint="set device = 'cuda': each takes the GPU of its number",
            )

    def use(self, device: torch.device) -> None:
        """Compute on `device` from now on. Raises RunError where others compute on another kind."""
        if self.world == 1:
            return
        self.require_same(int(device.type == "cuda"), "some processes found a GPU, and some did not")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        group = dist.new_group(backend="nccl" if device.type == "cuda" else "gloo", timeout=COLLECTIVE)
        assert isinstance(group, dist.ProcessGroup)
        self._group = group

    def meet(self) -> None:
        """Wait for all."""
        self._exchanged(0)

    def rows(self, x: Float[Tensor, "n d_in"] | None) -> int:
        """How many rows the batch has of which this process has `x`; 0 where one of them has none."""
        mine = 0 if x is None else len(x)
        if self.world == 1:
            return mine
        found = self._exchanged(mine)
        if not all(found):
            return 0
        self._mine, self._all = mine, sum(found)
        return self._all

    def whole(self, n: int) -> int:
        """How many rows the batch at hand has, of which n are this process'."""
        return n if self.world == 1 else self._all

    def first_says(self, flag: bool) -> bool:
        """What the first process says, whatever this one does."""
        return flag if self.world == 1 else bool(self._exchanged(int(flag))[0])

    def all_say(self, flag: bool) -> bool:
        """Whether every process says so."""
        return flag if self.world == 1 else all(self._exchanged(int(flag)))

    def require_same(self, number: int, problem: str) -> None:
        """Raises RunError with the problem where the processes do not have the same number."""
        if self.world > 1 and len(set(self._exchanged(number))) > 1:
            raise RunError(problem, hint="all have to see the same session, configuration and kind of machine")

    def leave(self, error: BaseException) -> bool:
        """Tell the others between two steps that this one ends; they raise `Left`. False where it cannot be done.

        True: all are at the same step, and may still do something together.
        """
        if self.world == 1:
            return True
        if not self._leaving and not self._broken:
            self._tell(error)
            try:
                self._exchanged(0, leaving=True)
            except Left:
                if self._broken and isinstance(error, GeneratorExit):  # not stopped, then, but failed
                    raise
        return self._leaving and not self._broken

    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Means over the rows of the whole batch, of means over this process' rows."""
        if self.world == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors]) * self._share
        self._reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def total(self, counts: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world > 1:
            self._reduce(counts := counts.clone())
        return counts

    def average_gradients(self, module: nn.Module) -> None:
        """Make every gradient that of the whole batch."""
        if self.world == 1:
            return
        for weights in module.parameters():
            if weights.grad is None:  # here; another may have one
                weights.grad = torch.zeros_like(weights)
            weights.grad *= self._share
            self._reduce(_contiguous(weights.grad))

    def begin_alike(self, module: nn.Module) -> None:
        """Give every process the weights of the first."""
        if self.world == 1:
            return
        for tensor in (*module.parameters(), *module.buffers()):
            with self._answered():
                self._wait(dist.broadcast(_contiguous(tensor.detach()), 0, group=self._group, async_op=True))

    def gathered(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "all d_in"]:
        """The rows of all processes, one of each in turn."""
        if self.world == 1:
            return x
        sizes = torch.tensor(self._exchanged(len(x)), device=x.device)
        padded = x.new_zeros(int(sizes.max()), x.shape[1])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        with self._answered():
            self._wait(dist.all_gather(parts, padded, group=self._group, async_op=True))
        there = torch.arange(len(padded), device=x.device).unsqueeze(1) < sizes
        return torch.stack(parts, dim=1)[there]

    def _reduce(self, tensor: Tensor) -> None:
        with self._answered():
            self._wait(dist.all_reduce(tensor, group=self._group, async_op=True))

    def _exchanged(self, number: int, *, leaving: bool = False) -> list[int]:
        """The number each process gives, by rank. Raises Left where one of them leaves."""
        if self.world == 1:
            return [number]
        mine = torch.tensor([number, int(leaving)])
        found = [torch.empty_like(mine) for _ in range(self.world)]
        with self._answered():
            self._wait(dist.all_gather(found, mine, async_op=True))
        if any(int(each[1]) for each in found):
            self._leaving = True
            self._raise(self._word() or STOPPED)
        return [int(each[0]) for each in found]

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        """Raises Left, naming who died or failed, where a collective breaks."""
        try:
            yield
        except RuntimeError as error:
            self._broken, until = True, time.monotonic() + BLAME_S
            while time.monotonic() < until:
                if word := self._look():
                    self._raise(word)
                time.sleep(0.1)
            self._raise(f"the connection to another of the {self.world} processes broke ({str(error).splitlines()[0]})")

    def _wait(self, work: dist.Work | None) -> None:
        """Until it is done; signals are heard, and who waits for the dead is told so."""
        assert work is not None
        began = time.monotonic()
        while not work.is_completed():
            # a step is soon done; what takes longer need not be known at once
            time.sleep(0 if time.monotonic() - began < 0.002 else 0.0005)
            if time.monotonic() - self._looked > LOOK_S and (word := self._look()):
                time.sleep(LOOK_S)  # who is gone may have done its part before
                if not work.is_completed():
                    self._broken = True
                    self._raise(word)
        work.wait()

    def _look(self) -> str:
        """How the training ended, where another process takes part no more; empty while all do."""
        self._looked = time.monotonic()
        assert self._store is not None
        try:
            gone = self._gone()
            if gone is None and not self._store.check([GONE]):
                return ""
            word = self._word()
        except RuntimeError:  # the store went with the process or machine that held it
            gone, word = 0, ""
        return word or self._leave_word(
            WORD,
            f"process {gone} of {self.world} died: started again in the same way, the training goes on from its last "
            "checkpoint",
        )

    def _gone(self) -> int | None:
        """A process that no longer lives."""
        assert self._store is not None
        here = Status.of_process("train", "running", os.getpid())
        for number, other in self._others.items():
            if (other.host, other.boot) == (here.host, here.boot):
                if not process_lives(other):
                    return number
                continue
            beat = self._store.get(key) if self._store.check([key := f"beat {number}"]) else b""
            seen = self._beats.get(number)
            if seen is None or seen[0] != beat:
                self._beats[number] = (beat, time.monotonic())
            elif time.monotonic() - seen[1] > SILENT_S:
                return number
        return None

    def _beat(self) -> None:
        assert self._store is not None
        beats = 0
        with contextlib.suppress(RuntimeError):  # the store is gone: the main thread meets it too
            while not self._ended.wait(BEAT_S):
                beats += 1
                self._store.set(f"beat {self.rank}", str(beats))

    def _tell(self, error: BaseException) -> None:
        """Leave the word on how this process ended, unless another has already."""
        if isinstance(error, Left):
            return
        stopped = isinstance(error, GeneratorExit | KeyboardInterrupt)
        said = STOPPED if stopped else f"process {self.rank} of {self.world} failed: {sentence(error)}"
        self._leave_word(WORD, said)

    def _leave_word(self, key: str, word: str) -> str:
        """Leave it unless there is one; returns the one that stays."""
        assert self._store is not None
        try:
            return self._store.compare_set(key, "", word).decode()
        except RuntimeError:
            return word

    def _word(self) -> str:
        assert self._store is not None
        return self._store.get(WORD).decode() if self._store.check([WORD]) else ""

    def _raise(self, word: str) -> NoReturn:
        if word != STOPPED:
            raise Left(word)
        left = Left(f"the training of {self.world} processes was stopped")
        left.stopped = True
        raise left


ALONE = Ranks()


def _contiguous(tensor: Tensor) -> Tensor:
    """The same memory as a contiguous tensor: a matrix of ours may lie transposed."""
    return tensor if tensor.is_contiguous() else tensor.T
