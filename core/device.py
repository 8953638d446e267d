"""Which device to compute on."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from core.errors import ConfigError

CPUINFO = Path("/proc/cpuinfo")


def pick(name: str) -> torch.device:
    """`auto` (a GPU, else the CPU), `cpu`, `cuda` or `cuda:N`. Raises ConfigError where it is not there.

    Where no GPU is named it is the first, or of several processes that torchrun started here each one's own.
    """
    own = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                f"device = {name!r}, but PyTorch finds no CUDA here",
                hint="set device = 'auto' or 'cpu', or install a CUDA build of torch and check `nvidia-smi`",
            )
        index = own if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise ConfigError(
                f"device = {name!r}, but there are {torch.cuda.device_count()} GPUs",
                hint="count from cuda:0" if device.index is not None else "start no more processes than GPUs",
            )
        return torch.device("cuda", index)
    return device


def tune(device: torch.device) -> None:
    """Settings of PyTorch that make the same numbers come faster.

    On a CPU without AMX, precision `medium` keeps float32 and only changes the library, oneDNN for MKL: twice as fast
    on an AMD processor with AVX-512 (error 4e-7 against 3e-7), a sixth slower on an Intel one. With AMX it would round
    to bfloat16. So it stays as it is with AMX, and on Intel's.
    """
    if device.type == "cpu" and not torch.cpu._is_amx_tile_supported() and not _is_intel():
        torch.set_float32_matmul_precision("medium")


def _is_intel() -> bool:
    """Whether the processor is Intel's; False where nothing tells."""
    try:
        return "GenuineIntel" in CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """For steps so small that threads wait for one another longer than they compute, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fastest_dtype(device: torch.device) -> str:
    """`bfloat16` where a matrix product of a small model's shape is clearly faster in it, else `float32`.

    Measured, because nothing else tells: with AMX or on a GPU it is many times as fast, without AVX-512 many times
    as slow.
    """

    def seconds(dtype: torch.dtype) -> float:
        a, b = (
            torch.ones(256, 576, dtype=dtype, device=device),
            torch.ones(576, 1536, dtype=dtype, device=device),
        )
        times = []
        for _ in range(4):
            began = time.perf_counter()
            (a @ b).sum().item()
            times.append(time.perf_counter() - began)
        return min(times)

    return "bfloat16" if seconds(torch.bfloat16) < 0.7 * seconds(torch.float32) else "float32"
