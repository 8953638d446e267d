"""The metrics of an SAE, each defined once. Whoever calls gives batches of the test split.

Notation: x an activation, x̂ = decode(encode(x)), e = x − x̂, z the code, N counted positions; sums in float64.

    fvu                          Σ‖e‖² / Σ‖x − mean(x)‖², the mean that of the evaluated sample
    explained_variance           1 − fvu
    mse                          mean ‖e‖² (summed over d_in)
    cossim                       mean cos(x, x̂)
    l2_ratio                     mean ‖x̂‖ / ‖x‖
    relative_reconstruction_bias Σ‖x̂‖² / Σ⟨x, x̂⟩: below 1 the reconstruction shrinks
    l0, l1                       mean number of active features, mean Σ_j z_j
    sparsity                     1 − l0 / d_sae
    dead_share                   features active on none of the N positions
    dense_share                  features active on more than a tenth of them
    fvu_unmoved                  fvu with all thresholds where training left them, where they were moved since
    density_reliability          Pearson's r, over the features active at all, of log((n_j + ½) / (N + 1)) on the
                                 positions of even and of odd blocks, n_j and N counted on each half alone; the ½ keeps
                                 features that are silent on one half
    density_reliability_full     2r / (1 + r), by Spearman and Brown: what r would be between samples twice as large
    ce_loss_clean/_sae/_zero/_mean   mean next-token cross-entropy in nats: untouched; with x̂, with 0, with the
                                 sample's mean in x's place at the counted positions (others pass through)
    ce_loss_score                (ce_zero − ce_sae) / (ce_zero − ce_clean)
    kl                           mean KL(clean ‖ with x̂), nats

As in SAELens 6.54's evals, with one difference: `relative_reconstruction_bias` is a ratio of sums over all batches,
not a mean of ratios by batch.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.cross_entropy import cross_entropies, quotient
from core.errors import CorpusError
from core.models.language import LanguageModel
from core.models.load import Model
from core.records import Evaluation, Progress
from core.sae.base import SAE
from core.tokens import Blocks

DENSE_ABOVE = 0.1
"""A feature active on a larger share of the positions is called dense."""
METRICS = (
    "fvu", "fvu_unmoved", "explained_variance", "mse", "cossim", "l2_ratio", "relative_reconstruction_bias", "l0", "l1",
    "sparsity", "dead_share", "dense_share", "density_reliability", "density_reliability_full",
    "ce_loss_clean", "ce_loss_sae", "ce_loss_zero", "ce_loss_mean", "ce_loss_score", "kl",
)  # fmt: skip


class Reconstruction:
    """Sums over activations and their reconstructions, in float64; batches are added one by one."""

    def __init__(self, d_in: int, d_sae: int, device: torch.device) -> None:
        self.n = 0
        self.d_sae = d_sae
        self.sums = torch.zeros(8, dtype=torch.float64, device=device)
        self.sum_x = torch.zeros(d_in, dtype=torch.float64, device=device)
        self.fired = torch.zeros(d_sae, dtype=torch.long, device=device)

    def add(self, x: Float[Tensor, "n d_in"], z: Float[Tensor, "n d_sae"], x_hat: Float[Tensor, "n d_in"]) -> None:
        """Add a batch."""
        active = z > 0
        x, x_hat = x.double(), x_hat.double()
        norm, norm_hat = x.norm(dim=1), x_hat.norm(dim=1)
        dot = (x * x_hat).sum(dim=1)
        tiny = torch.finfo(torch.float64).tiny
        self.sums += torch.stack([
            (x - x_hat).pow(2).sum(),
            norm.pow(2).sum(),
            (dot / (norm * norm_hat).clamp_min(tiny)).sum(),
            (norm_hat / norm.clamp_min(tiny)).sum(),
            norm_hat.pow(2).sum(),
            dot.sum(),
            active.sum().double(),
            z.sum(dtype=torch.float64),
        ])  # fmt: skip
        self.sum_x += x.sum(dim=0)
        self.fired += active.sum(dim=0)
        self.n += len(x)

    def measure(self, sae: SAE, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """Add what `sae` makes of a batch; returns its code."""
        z = sae.encode(x)
        self.add(x, z, sae.decode(z, x))
        return z

    @property
    def mean(self) -> Float[Tensor, " d_in"]:
        """The mean activation."""
        return (self.sum_x / self.n).float()

    def metrics(self) -> dict[str, float | None]:
        """All metrics that need no forward pass, see the module; None where a ratio has nothing beneath it."""
        error, square, cosine, ratio, square_hat, dot, active, total = self.sums.tolist()
        variance = square - float(self.sum_x.pow(2).sum()) / self.n
        fvu = quotient(error, variance)
        return {
            "fvu": fvu,
            "explained_variance": None if fvu is None else 1 - fvu,
            "mse": error / self.n,
            "cossim": cosine / self.n,
            "l2_ratio": ratio / self.n,
            "relative_reconstruction_bias": quotient(square_hat, dot),
            "l0": active / self.n,
            "l1": total / self.n,
            "sparsity": 1 - active / self.n / self.d_sae,
            "dead_share": float((self.fired == 0).double().mean()),
            "dense_share": float((self.fired > DENSE_ABOVE * self.n).double().mean()),
        }


class Halves:
    """How often each feature is active, in even and in odd blocks; batches are added one by one."""

    def __init__(self, d_sae: int, device: torch.device) -> None:
        self.n = torch.zeros(2, dtype=torch.long, device=device)
        self.fired = torch.zeros(2, d_sae, dtype=torch.long, device=device)

    def add(self, z: Float[Tensor, "n d_sae"], half: Int[Tensor, " n"]) -> None:
        """Add the codes of a batch, `half` 0 or 1 for each."""
        active = z > 0
        for which in (0, 1):
            self.fired[which] += active[half == which].sum(dim=0)
        self.n += half.bincount(minlength=2)

    @property
    def densities(self) -> Float[Tensor, " d_sae"]:
        """Of both halves together."""
        return self.fired.sum(dim=0) / self.n.sum()

    def metrics(self) -> dict[str, float | None]:
        """The density_* metrics; None where no two features differ in one of the halves."""
        n = self.fired[:, self.fired.sum(dim=0) > 0]
        if not bool((n != n[:, :1]).any(dim=1).all()):
            return {"density_reliability": None, "density_reliability_full": None}
        log = torch.log((n + 0.5).double() / (self.n.unsqueeze(1) + 1))
        centred = log - log.mean(dim=1, keepdim=True)
        r = float(centred.prod(dim=0).sum() / centred.pow(2).sum(dim=1).prod().sqrt())
        return {"density_reliability": r, "density_reliability_full": quotient(2 * r, 1 + r)}


class Beside:
    """The fvu_unmoved of an SAE as it was before its thresholds were moved; nothing where there is none."""

    def __init__(self, sae: SAE | None, device: torch.device) -> None:
        self.measured = None if sae is None else (sae.to(device), Reconstruction(sae.d_in, sae.d_sae, device))

    def add(self, x: Float[Tensor, "n d_in"]) -> None:
        """Add a batch."""
        if self.measured is not None:
            sae, sums = self.measured
            for part in x.split(2048):
                sums.measure(sae, part)

    def metrics(self) -> dict[str, float | None]:
        """`fvu_unmoved`, where there is one."""
        return {} if self.measured is None else {"fvu_unmoved": self.measured[1].metrics()["fvu"]}


def evaluate(
    model: LanguageModel,
    sae: SAE,
    batches: Callable[[int], Iterator[Blocks]],
    *,
    activations: int,
    ce_tokens: int,
    ce_blocks: int = 4,
    unmoved: SAE | None = None,
) -> Generator[Progress, None, Evaluation]:
    """Measure `sae` at the model's hook point; a generator whose return value is an `Evaluation`.

    `batches(n)` begins the test split anew, n blocks at a time. The cross-entropy figures take `ce_tokens`
    predictions, `ce_blocks` blocks at a time (which bounds the memory of their logits); the others take `activations`
    positions. `unmoved` is the SAE before its thresholds were moved. Raises CorpusError where the split has no counted
    position.
    """
    found, mean = yield from reconstructed(model, sae, batches(16), activations=activations, unmoved=unmoved)
    losses, predictions = yield from cross_entropies(model, sae, batches(ce_blocks), mean, ce_tokens)
    if not predictions:
        return found
    counts = found.tokens | dict.fromkeys(losses, predictions)
    return replace(found, metrics=found.metrics | losses, tokens=counts)


def reconstructed(
    model: Model, sae: SAE, batches: Iterable[Blocks], *, activations: int, unmoved: SAE | None
) -> Generator[Progress, None, tuple[Evaluation, Float[Tensor, " d_in"]]]:
    """The metrics that need no pass beyond the hook point, and the mean activation. Raises as `evaluate`."""
    sums = Reconstruction(sae.d_in, sae.d_sae, model.device)
    beside = Beside(unmoved, model.device)
    halves = Halves(sae.d_sae, model.device)
    blocks = 0
    for batch in batches:
        x = model.activations(torch.from_numpy(batch.ids).to(model.device))
        counted = torch.from_numpy(batch.counted).to(model.device)
        x = x[counted][: activations - sums.n]
        block = torch.arange(blocks, blocks + len(counted), device=model.device)
        half = (block % 2).unsqueeze(1).expand_as(counted)[counted]
        blocks += len(counted)
        with torch.no_grad():
            _add(sae, x, half[: len(x)], sums, halves)
            beside.add(x)
        yield Progress(phase="evaluating", done=sums.n, total=activations, unit="activations")
        if sums.n >= activations:
            break
    if sums.n == 0:
        raise CorpusError("the test split has no counted token", hint="give a larger corpus or corpus.test_share")
    return _found(sums, halves, beside), sums.mean


def of_rows(
    sae: SAE,
    chunks: Iterable[Float[Tensor, "n d_in"]],
    *,
    device: torch.device,
    activations: int,
    unmoved: SAE | None = None,
) -> Generator[Progress, None, Evaluation]:
    """The metrics that need no model, on the first `activations` rows; a generator whose return value they are.

    The halves of density_reliability are even and odd chunks. There is at least one row.
    """
    sums = Reconstruction(sae.d_in, sae.d_sae, device)
    beside = Beside(unmoved, device)
    halves = Halves(sae.d_sae, device)
    for number, chunk in enumerate(chunks):
        x = chunk[: activations - sums.n].to(device)
        with torch.no_grad():
            _add(sae, x, torch.full((len(x),), number % 2, device=device), sums, halves)
            beside.add(x)
        yield Progress(phase="evaluating", done=sums.n, total=activations, unit="activations")
        if sums.n >= activations:
            break
    return _found(sums, halves, beside)


def _found(sums: Reconstruction, halves: Halves, beside: Beside) -> Evaluation:
    metrics = sums.metrics() | halves.metrics() | beside.metrics()
    tokens = dict.fromkeys(metrics, sums.n)
    return Evaluation(metrics=metrics, tokens=tokens, densities=tuple(halves.densities.tolist()))


def _add(sae: SAE, x: Float[Tensor, "n d_in"], half: Int[Tensor, " n"], sums: Reconstruction, halves: Halves) -> None:
    for part, of in zip(x.split(2048), half.split(2048), strict=True):
        halves.add(sums.measure(sae, part), of)
