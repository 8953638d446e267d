import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from core import machine
from core.status import Status


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(machine, "_nvml", lambda: None)


def test_memory_of_a_job_here_and_of_none_elsewhere(no_gpu):
    status = Status.of_process("train", "running", os.getpid())
    found = machine.usage(status)
    assert 1e6 < found.job_bytes < found.total_bytes and found.gpus == ()
    assert machine.usage(replace(status, host="another")).job_bytes is None
    assert machine.usage(replace(status, pid_started=1.0)).job_bytes is None  # the pid is another process's now
    assert machine.usage(Status()).job_bytes is None


class Nvml:
    """NVIDIA's library with two cards, the second of which says little."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=5_000 + handle, total=80_000)

    def nvmlDeviceGetName(self, handle):
        return b"H100" if handle else "H200"

    def nvmlDeviceGetUtilizationRates(self, handle):
        if handle:
            raise self.NVMLError
        return SimpleNamespace(gpu=87)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if handle:
            raise self.NVMLError
        return [SimpleNamespace(pid=7, usedGpuMemory=3_000), SimpleNamespace(pid=8, usedGpuMemory=None)]


def test_gpus(monkeypatch):
    monkeypatch.setattr(machine, "_nvml", Nvml)
    first, second = machine.gpus({7, 8})
    assert (first.name, first.used_bytes, first.busy, first.job_bytes) == ("H200", 5_000, 0.87, 3_000)
    assert (second.name, second.total_bytes, second.busy, second.job_bytes) == ("H100", 80_000, None, None)


def test_a_driver_that_goes_away_says_nothing(monkeypatch):
    class Gone(Nvml):
        def nvmlDeviceGetCount(self):
            raise self.NVMLError

    monkeypatch.setattr(machine, "_nvml", Gone)
    assert machine.gpus(set()) == ()
