"""Several processes of `python -m core` on this machine, as torchrun starts them: by the same launcher of PyTorch.

Called in its place because torchrun prints a page of its own after a job that stops or fails, which has said so itself.
"""

import logging
import os
import sys
import uuid
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from core import child
from core.config import RunConfig


def wanted(config: RunConfig) -> int:
    """How many processes of this machine train together: `training.devices`, or one for each GPU there is."""
    if config.training.devices:
        return config.training.devices
    return max(1, torch.cuda.device_count()) if config.device != "cpu" else 1


def run(processes: int, words: Sequence[str]) -> int:
    """Start `python -m core WORDS` so many times, wait for all, and return the exit code of the first that failed.

    A signal is handed on to them.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    # PYTHONSAFEPATH: a folder named `core` where the user happens to stand must not be taken for this package.
    os.environ |= child.environment(PYTHONSAFEPATH="1", OMP_NUM_THREADS=threads)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0, run_id=uuid.uuid4().hex,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0",
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "core", *words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 1
    except SignalException:
        return 130
    return 0
