"""What trains an SAE here: ours, or a peer's own trainer behind the same few names."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

PENALISED = ("relu", "gated", "jumprelu")
"""Architectures whose number of active features follows from a coefficient."""
Code = tuple[Float[Tensor, "n d_sae"], Float[Tensor, "n d_in"]]


@dataclass(frozen=True)
class Task:
    """What is to be trained. Without a `coefficient` an SAE is timed: it starts and stays as it is given."""

    architecture: str
    d_in: int
    d_sae: int
    k: int
    steps: int
    rows: int
    coefficient: float | None = None
    timed: bool = False

    @property
    def widths(self) -> list[int]:
        """Matryoshka's nested prefixes, the last being all features."""
        return [self.d_sae >> level for level in reversed(range(5))]


@dataclass(frozen=True)
class Contender:
    """One trainer, set up."""

    name: str
    step: Callable[[Float[Tensor, "n d_in"]], object]
    """One optimiser step, with all that its trainer does in one."""
    code: Callable[[Float[Tensor, "n d_in"]], Code]
    """The code and the reconstruction as they are when the SAE is used."""
    finish: Callable[[], object] = lambda: None
    """Called after the last step."""
    precision: str = "highest"
    """Of matrix products, as its trainer sets it: torch's default where it sets none."""


TIMED_LR = 1e-6
"""Small enough for the number of active features to stay where it was set."""
