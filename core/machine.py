"""The memory a job takes, and the GPUs of this machine. Says nothing where there is nothing to say."""

import contextlib
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psutil

from core.status import Status, process_lives


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
