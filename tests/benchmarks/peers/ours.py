"""Our own training, and the weights that all contenders are timed with."""

import torch
from jaxtyping import Float
from torch import Tensor

from core import config
from core.sae.base import SAE
from core.sae.build import build
from core.training import thresholds
from core.training.run import Run
from tests.benchmarks.peers.contender import PENALISED, TIMED_LR, Contender, Task
from tests.benchmarks.peers.data import Data


def contender(task: Task, data: Data, changed: dict[str, str] | None = None, name: str = "sae-tui") -> Contender:
    """A run with the project's defaults; penalties find their own weight, and thresholds are moved as after any run.

    `changed` holds fields of the configuration that are not as by default, `name` what it goes by.
    """
    parsed = _configured(task, changed or {})
    first = next(data.batches(1, task.rows))
    sae = build(parsed.sae, task.d_in)
    run = Run.begun(sae, parsed, first, timed_start(task, first) if task.timed else None)
    made: list[SAE] = []

    def finish() -> None:
        made.append(run.made())
        if parsed.sae.moves_thresholds:
            thresholds.move(made[0], data.calibration, target=task.k, coefficient=None)

    def code(x: Float[Tensor, "n d_in"]) -> tuple[Tensor, Tensor]:
        used = made[0] if made else sae
        z = used.encode(x)
        return z, used.decode(z, x)

    return Contender(name, run.step, code, finish)


def timed_start(task: Task, x: Float[Tensor, "n d_in"]) -> SAE:
    """Weights as at the beginning, with biases and thresholds such that k features are active on average, as later."""
    sae = build(_configured(task, {}).sae, task.d_in)
    sae.initialise(x.mean(dim=0), torch.Generator().manual_seed(0))
    with torch.no_grad():
        u = sae.pre_activations(x).flatten()
        bound = float(u.topk(task.k * len(x), sorted=False).values.min())
        if task.architecture in ("relu", "gated"):
            sae.b_enc -= bound
        elif task.architecture == "jumprelu":
            sae.threshold.fill_(bound)  # pyright: ignore[reportAttributeAccessIssue]
    return sae


def _configured(task: Task, changed: dict[str, str]) -> config.RunConfig:
    values = {
        "sae": {"architecture": task.architecture, "d_sae": task.d_sae},
        "training": {"batch_activations": task.rows, "buffer_activations": 2 * task.rows},
        "budget": {"activations": task.steps * task.rows},
    }
    if task.architecture not in PENALISED:
        values["sae"]["k"] = task.k
    elif not task.timed:
        values["sae"]["target_l0"] = task.k
    if task.timed:
        values["sae"]["normalize"] = "none"
        values["training"] |= {"warmup_steps": 0, "decay": "constant", "lr": TIMED_LR}
    return config.parse(config.with_settings(values, [f"{key}={value}" for key, value in changed.items()]))
