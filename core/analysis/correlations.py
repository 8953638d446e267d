"""How each feature goes with each dimension of the activations it is computed from, summed up as text is read."""

import itertools
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import embedding_bag

from core.analysis import shards
from core.sae.base import SparseCode
from core.storage import replacing

MOST_ELEMENTS = 2**26
"""Of the sums of products, in features × dimensions: half a gigabyte. Wider SAEs go without."""
ROWS = 2**13
"""Activations that wait to be added together: to add a few to sums this large takes as long."""


class Correlations:
    """Sums over activations `x [d_in]` and codes `z [d_sae]`, in float64, from which correlations follow.

    `pearson(j, i) = (Σ z_j x_i / n − z̄_j x̄_i) / (σ(z_j) σ(x_i))` and `cosine(j, i) = Σ z_j x_i / (‖z_j‖ ‖x_i‖)`, over
    all `n` counted tokens, also those on which a feature is silent: SAEDashboard's "correlated neurons".
    """

    def __init__(self, d_sae: int, d_in: int, device: torch.device) -> None:
        self.wanted = d_sae * d_in <= MOST_ELEMENTS
        sizes = {"products": (d_sae, d_in), "z": (d_sae,), "zz": (d_sae,), "x": (d_in,), "xx": (d_in,), "n": ()}
        self._sums: dict[str, Tensor] = {
            name: torch.zeros(size, dtype=torch.float64, device=device) for name, size in sizes.items() if self.wanted
        }
        self._waiting: list[tuple[Tensor, SparseCode]] = []

    def add(self, x: Float[Tensor, "n d_in"], code: SparseCode) -> None:
        """Some activations, and their code."""
        if self.wanted:
            self._waiting.append((x, code))
            if sum(len(x) for x, _ in self._waiting) >= ROWS:
                self._sum_up()

    def _sum_up(self) -> None:
        """Add what waits."""
        if not self._waiting:
            return
        x, (row, feature, value) = self._joined()
        self._waiting.clear()
        sums = self._sums
        order = torch.argsort(feature, stable=True)
        first = torch.bincount(feature, minlength=len(sums["z"])).cumsum(0).roll(1)
        first[0] = 0
        sums["products"] += embedding_bag(row[order], x, first, mode="sum", per_sample_weights=value[order])
        sums["z"].index_add_(0, feature, value.double())
        sums["zz"].index_add_(0, feature, value.double() ** 2)
        sums["x"] += x.double().sum(dim=0)
        sums["xx"] += x.double().pow(2).sum(dim=0)
        sums["n"] += len(x)

    def _joined(self) -> tuple[Tensor, SparseCode]:
        """What waits, something at least, as one."""
        firsts = itertools.accumulate((len(x) for x, _ in self._waiting), initial=0)
        row = torch.cat([code.row + first for first, (_, code) in zip(firsts, self._waiting, strict=False)])
        feature, value = (torch.cat([getattr(code, n) for _, code in self._waiting]) for n in ("feature", "value"))
        return torch.cat([x for x, _ in self._waiting]), SparseCode(row, feature, value)

    def write(self, folder: Path, k: int) -> None:
        """The file `correlations`: of each feature that fired the `k` dimensions of largest |pearson|."""
        parts = []
        if self.wanted:
            self._sum_up()
            found = (self._sums["z"] > 0).nonzero().flatten()
            for some in found.split(4096):
                pearson, cosine = self._of(some)
                top = pearson.abs().topk(min(k, pearson.shape[1]), dim=1).indices
                ranked = shards.ranked(
                    0, *(t.cpu().numpy() for t in (top, pearson.gather(1, top), cosine.gather(1, top)))
                )
                parts.append([some.cpu().numpy()[ranked[0]], *ranked[1:]])
        shards.write_parts(folder, "correlations", parts)

    def _of(self, features: Int[Tensor, " f"]) -> tuple[Float[Tensor, "f d_in"], Float[Tensor, "f d_in"]]:
        """Pearson correlation and cosine of some features with every dimension; 0 where one of both never varies."""
        sums, n = self._sums, self._sums["n"]
        products, z, zz = sums["products"][features], sums["z"][features], sums["zz"][features]
        spread_z = (zz / n - (z / n) ** 2).clamp_min(0).sqrt()
        spread_x = (sums["xx"] / n - (sums["x"] / n) ** 2).clamp_min(0).sqrt()
        covariance = products / n - (z / n)[:, None] * (sums["x"] / n)
        scale, lengths = spread_z[:, None] * spread_x, (zz.sqrt()[:, None] * sums["xx"].sqrt())
        return (covariance / scale).where(scale > 0, 0), (products / lengths).where(lengths > 0, 0)

    def save(self, folder: Path, number: int) -> None:
        """Keep the sums in a file of that number, and what waits: when one saves changes no bit of a sum."""
        if self.wanted:
            waiting = dict[str, Tensor]()
            if self._waiting:
                x, code = self._joined()
                waiting = {"waiting": x, **{f"waiting_{name}": t for name, t in code._asdict().items()}}
            with replacing(self._path(folder, number), sync=False) as beside:
                save_file({name: t.contiguous() for name, t in (self._sums | waiting).items()}, beside)

    def load(self, folder: Path, number: int) -> None:
        """Take up the sums of the file of that number."""
        if self.wanted:
            kept = load_file(self._path(folder, number), str(self._sums["n"].device))
            if "waiting" in kept:
                code = SparseCode(*(kept.pop(f"waiting_{name}") for name in SparseCode._fields))
                self._waiting = [(kept.pop("waiting"), code)]
            self._sums = kept

    def forget(self, folder: Path, number: int) -> None:
        """Remove the file of that number."""
        self._path(folder, number).unlink(missing_ok=True)

    @staticmethod
    def _path(folder: Path, number: int) -> Path:
        return folder / f"sums-{number}.safetensors"
