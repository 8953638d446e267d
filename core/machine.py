"""The memory a job takes, and the GPUs of this machine. Says nothing where there is nothing to say."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from core.status import Status, process_lives

OWN_GROUP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux says which control group this process is in, and where all of them are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A graphics card as its driver describes it; None for what it does not say."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int
    busy: float | None
    """Share of the last moment in which it worked."""
    job_bytes: int | None
    """Of the memory used, what the job's processes hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a job takes now."""

    job_bytes: int | None
    """Resident memory of the job's process and its children; None where it does not run here."""
    total_bytes: int
    """Of the machine."""
    gpus: tuple[Gpu, ...]


def usage(status: Status) -> Usage:
    """What the job that `status` describes takes, where it runs on this host; and what the GPUs here do."""
    pids, resident = set[int](), None
    here = status.pid > 0 and status.host == socket.gethostname()
    with contextlib.suppress(psutil.Error):
        if here and process_lives(status):
            process = psutil.Process(status.pid)
            family = [process, *process.children(recursive=True)]
            pids, resident = {one.pid for one in family}, sum(map(_resident, family))
    return Usage(job_bytes=resident, total_bytes=psutil.virtual_memory().total, gpus=gpus(pids))


def memory() -> tuple[int, int]:
    """Bytes of memory that are free for this process, and in all: of the machine, or of a container's share of it."""
    machine = psutil.virtual_memory()
    free, total = machine.available, machine.total
    for limit, used in _shares():
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return free, total


def _shares() -> Iterator[tuple[int, int]]:
    """The limit and the use, in bytes, of each control group above this process that has a limit; Linux, version 2."""
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return
    for own in (line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")):
        for folder in (GROUPS / own, *(GROUPS / own).parents):
            if not folder.is_relative_to(GROUPS):
                break
            with contextlib.suppress(OSError, ValueError):  # `max`: it has no limit
                limit = int((folder / "memory.max").read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                # The cache of files is given back before anything is refused.
                yield limit, int((folder / "memory.current").read_text()) - int(stat.get("inactive_file", 0))


def gpus(pids: set[int]) -> tuple[Gpu, ...]:
    """This machine's GPUs, with the memory that the processes `pids` hold on each; none without a driver."""
    nvml = _nvml()
    if nvml is None:
        return ()
    found: list[Gpu] = []
    with contextlib.suppress(nvml.NVMLError):
        found.extend(_gpu(nvml, i, pids) for i in range(nvml.nvmlDeviceGetCount()))
    return tuple(found)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


@lru_cache(1)
def _nvml() -> Any:
    """NVIDIA's management library, begun; None where it is not installed or finds no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    return pynvml


def _gpu(nvml: Any, index: int, pids: set[int]) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    busy = held = None
    with contextlib.suppress(nvml.NVMLError):
        busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    with contextlib.suppress(nvml.NVMLError):
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        held = sum(p.usedGpuMemory or 0 for p in processes if p.pid in pids) or None
    return Gpu(
        index=index, name=name.decode() if isinstance(name, bytes) else name, used_bytes=int(memory.used),
        total_bytes=int(memory.total), busy=busy, job_bytes=held,
    )  # fmt: skip
