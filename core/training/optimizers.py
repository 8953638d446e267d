"""The optimisers a run can choose from, and their state by the names of the weights.

adam    Kingma & Ba 2015, fused: one pass over each matrix
signum  m ← β m + (1 − β) g,  w ← w − lr · sign(m), β = 0.9    (Bernstein et al. 2018, arXiv 1802.04434)
muon    matrices by torch's Muon, whose every step is orthogonal and as large as Adam's would be; the rest by Adam
        (Jordan et al. 2024)
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from core.errors import ConfigError

BETA = 0.9
THRESHOLD_RATE = 10.0
"""A threshold has as far to go as the values of a code, an entry of a unit row 1/√d_in of that. At the rate of the rest
JumpReLU's thresholds were at 0.6 after 200 steps, and 79 features active where 32 were wanted; at ten times it, 28 to
30."""


class FusedAdam(Adam):
    """Torch's Adam, in one pass over each matrix as it lies in memory.

    A matrix that lies transposed is shown to it so for the step: torch would copy it at each (3 % of a TopK step).
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float) -> None:
        super().__init__(groups, lr=lr, fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        lying = [w for group in self.param_groups for w in group["params"] if w.ndim == 2 and not w.is_contiguous()]
        self._transpose(lying)
        try:
            super().step()
        finally:
            self._transpose(lying)

    def _transpose(self, matrices: list[nn.Parameter]) -> None:
        for weights in matrices:
            grad, weights.grad = weights.grad, None
            weights.data = weights.data.T
            weights.grad = None if grad is None else grad.T
            fields = self.state[weights]
            for name, value in fields.items():
                fields[name] = value.T if value.ndim == 2 else value


class Signum(Optimizer):
    """`w ← w − lr · sign(m)`, m the mean of the gradients that forgets at β."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float) -> None:
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                if "mean" not in state:
                    state["mean"] = torch.zeros_like(weights)
                mean = state["mean"].mul_(BETA).add_(weights.grad, alpha=1 - BETA)
                weights.add_(mean.sign(), alpha=-group["lr"])


def build(name: str, named: Iterable[tuple[str, nn.Parameter]], lr: float) -> list[Optimizer]:
    """The optimisers of an SAE's weights. Each group's `rate` is what its learning rate is multiplied by.

    Raises ConfigError where torch has no Muon.
    """
    named = list(named)
    groups = _groups([(n, w) for n, w in named if name != "muon" or w.ndim != 2], lr)
    match name:
        case "adam":
            return [FusedAdam(groups, lr=lr)]
        case "signum":
            return [Signum(groups, lr=lr)]
        case _:
            muon = getattr(torch.optim, "Muon", None)
            if muon is None:
                raise ConfigError(f"torch {torch.__version__} has no Muon", hint="set training.optimizer = adam")
            matrices = _groups([(n, w) for n, w in named if w.ndim == 2], lr)
            return [muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
                    FusedAdam(groups, lr=lr)]  # fmt: skip


def set_rate(optimizers: list[Optimizer], lr: float) -> None:
    """Let the next step have this learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["rate"]


def _groups(named: list[tuple[str, nn.Parameter]], lr: float) -> list[dict[str, Any]]:
    thresholds = [w for n, w in named if n == "threshold"]
    groups = [{"params": [w for n, w in named if n != "threshold"], "rate": 1.0, "lr": lr}]
    return groups + ([{"params": thresholds, "rate": THRESHOLD_RATE, "lr": THRESHOLD_RATE * lr}] if thresholds else [])


def state(optimizers: list[Optimizer], named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Any]:
    """All that the next step depends on, by `NAME OF THE WEIGHTS/FIELD`."""
    held = _held(optimizers)
    return {f"{name}/{field}": value for name, w in named for field, value in held.get(w, {}).items()}


def restore(optimizers: list[Optimizer], named: Iterable[tuple[str, nn.Parameter]], saved: dict[str, Any]) -> None:
    """Become what gave `saved`."""
    owners = {w: optimizer for optimizer in optimizers for group in optimizer.param_groups for w in group["params"]}
    for name, weights in named:
        fields = {key.partition("/")[2]: value for key, value in saved.items() if key.partition("/")[0] == name}
        if fields:
            owners[weights].state[weights] = {
                # In the memory layout of the weights: the fused step walks all of them side by side.
                field: torch.empty_like(weights).copy_(value) if value.ndim else value
                for field, value in fields.items()
            }


def forget(optimizers: list[Optimizer], weights: Tensor, index: tuple[Any, ...]) -> None:
    """Set what is remembered of some entries of `weights` to 0: they are other weights now."""
    for value in _held(optimizers).get(weights, {}).values():
        if value.ndim:
            value[index] = 0


def _held(optimizers: list[Optimizer]) -> dict[Any, dict[str, Any]]:
    return {w: fields for optimizer in optimizers for w, fields in optimizer.state.items()}
