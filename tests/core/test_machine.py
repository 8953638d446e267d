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


def test_the_memory_there_is_is_that_of_the_smallest_share_above(tmp_path, monkeypatch):
    free, total = machine.memory()
    assert 0 < free <= total
    inner = tmp_path / "groups" / "job" / "step"
    inner.mkdir(parents=True)
    job, groups = inner.parent, inner.parent.parent
    for folder, limit, used in ((inner, "max", 900), (job, "5000", 3_000), (groups, "9000", 4_000)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 10\ninactive_file 500\n")
    (tmp_path / "own").write_text("4:memory:/old\n0::/job/step\n")
    monkeypatch.setattr(machine, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    assert machine.memory() == (2_500, 5_000)
    monkeypatch.setattr(machine, "OWN_GROUP", tmp_path / "none")
    assert machine.memory()[1] == total
