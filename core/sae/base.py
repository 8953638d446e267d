"""A sparse autoencoder: the equation, and what all architectures share.

    u = (x − b_dec) W_enc + b_enc        pre-activations      (without − b_dec where a foreign SAE does not subtract it)
    z = code(u)                          the sparse code: what an architecture defines
    x̂ = z W_dec + b_dec                  the reconstruction

Where each activation is normalised by itself (`per_token`), these are of the normalised one, and what goes in and comes
out is not: with x' = (x − shift) / scale of that activation, `encode` gives `z · scale`, a code in raw units, so that
`z W_dec` is always what the code adds to the residual stream.

Knows nothing of models, data, optimisers or files.
"""

import abc
import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from core.options import Precision
from core.sae.sparse_ops import Encoder, Entries, flat_nonzero


class SparseCode(NamedTuple):
    """The positive entries of a code, ordered by row."""

    row: Int[Tensor, " nnz"]
    feature: Int[Tensor, " nnz"]
    value: Float[Tensor, " nnz"]


class Losses(NamedTuple):
    """One batch under the loss. `total` is what is minimised: mse + sparsity + aux."""

    total: Float[Tensor, ""]
    mse: Float[Tensor, ""]
    """mean over the batch of Σ_d (x̂ − x)²"""
    sparsity: Float[Tensor, ""]
    """The sparsity term as it enters `total`."""
    aux: Float[Tensor, ""]
    """The auxiliary term as it enters `total`."""
    l0: Float[Tensor, ""]
    """mean number of active features"""
    l1: Float[Tensor, ""]
    """mean of Σ_j z_j"""
    fired: Int[Tensor, " d_sae"]
    """on how many activations each feature was active"""


PerToken = Literal["none", "unit_norm", "layer_norm"]


class Normalised(NamedTuple):
    """Activations `x = (raw − shift) / scale`, each by itself, and what they were: `raw = x · scale + shift`."""

    x: Float[Tensor, "n d_in"]
    shift: Float[Tensor, "n d_in"] | Float[Tensor, "n 1"] | Float[Tensor, " d_in"]
    scale: Float[Tensor, "n 1"]


def normalised(x: Float[Tensor, "n d_in"], kind: PerToken, centre: Float[Tensor, " d_in"]) -> Normalised:
    """Each activation normalised by itself, as SAELens' `constant_norm_rescale` (of x − centre) and `layer_norm` do it.

    `unit_norm`: shift = centre, scale = ‖x − centre‖ / √d_in. `layer_norm`: mean and deviation over the activation's
    own dimensions, the deviation (which divides by d_in − 1) plus 1e-5 where it divides.
    """
    if kind == "none":
        return Normalised(x, torch.zeros_like(centre), torch.ones_like(x[:, :1]))
    if kind == "unit_norm":
        centred = x - centre
        scale = centred.norm(dim=1, keepdim=True) / math.sqrt(x.shape[1])
        return Normalised(centred / scale.clamp_min(torch.finfo(torch.float32).tiny), centre, scale)
    mean, deviation = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
    return Normalised((x - mean) / (deviation + 1e-5), mean, deviation)


class SAE(nn.Module, abc.ABC):
    """`x̂ = code((x − b_dec) W_enc + b_enc) W_dec + b_dec`.

    W_enc [d_in d_sae], b_enc [d_sae], W_dec [d_sae d_in], b_dec [d_in], all float32. W_enc lies in memory
    feature by feature, as W_dec does, so that the encoder's gradient is written row by row.
    """

    architecture: str
    centre: Tensor
    tied = False
    """Whether the encoder is kept the decoder's transpose in training."""
    reborn = 0.2
    """The norm of a resampled feature's encoder column, as a share of the living ones' mean."""
    precision: Precision = "float32"
    """Of the encoder's product in training."""
    progress = 0.0
    """The share of its training that is done: what an architecture lets move over the training reads this."""

    def __init__(self, d_in: int, d_sae: int, *, apply_b_dec_to_input: bool = True) -> None:
        super().__init__()
        self.d_in, self.d_sae = d_in, d_sae
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.W_enc = nn.Parameter(torch.zeros(d_sae, d_in).T)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.W_dec = nn.Parameter(torch.zeros(d_sae, d_in))
        self.b_dec = nn.Parameter(torch.zeros(d_in))
        self.per_token: PerToken = "none"
        self.register_buffer("centre", torch.zeros(d_in), persistent=False)

    @torch.no_grad()
    def initialise(self, b_dec: Float[Tensor, " d_in"], generator: torch.Generator) -> None:
        """Decoder rows of unit norm in random directions, the encoder their transpose, `b_dec` as given.

        Drawn on the CPU, so that the same seed gives the same start on every device.
        """
        rows = torch.randn(self.d_sae, self.d_in, generator=generator)
        self.W_dec.copy_(rows / rows.norm(dim=1, keepdim=True))
        self.W_enc.copy_(self.W_dec.T)
        self.b_enc.zero_()
        self.b_dec.copy_(b_dec)

    @torch.no_grad()
    def begin_feature(self, features: Int[Tensor, " n"]) -> None:
        """What belongs to these features besides their directions, as it is before training."""
        self.b_enc[features] = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that make it what it is, by the names they have on disk and here."""
        return ("W_enc", "b_enc", "W_dec", "b_dec")

    @abc.abstractmethod
    def code(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """The code of pre-activations u."""

    @abc.abstractmethod
    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """The loss on a batch. `dead` marks the dead features; `warmth` in [0, 1] is how far what warms up has come."""

    @torch.no_grad()
    def constrain_gradients(self) -> None:
        """Called after the backward pass: takes out of the gradients what a constraint forbids.

        Where the encoder is tied, its gradient joins the decoder's.
        """
        if self.tied and self.W_enc.grad is not None and self.W_dec.grad is not None:
            self.W_dec.grad += self.W_enc.grad.T
            self.W_enc.grad = None

    @torch.no_grad()
    def constrain(self) -> None:
        """Called after the optimiser's step: restores a constraint on the weights."""
        if self.tied:
            self.W_enc.copy_(self.W_dec.T)

    def margins(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """By how much each feature passes its threshold, in units of its contribution `z_j ‖W_dec[j]‖`.

        A feature is active where this is positive; −inf where no threshold would let it be.
        """
        raise NotImplementedError(f"{self.architecture} has no thresholds to move")

    def raise_thresholds(self, by: float) -> None:
        """Make a feature active only where its margin is more than `by`, which may be negative."""
        raise NotImplementedError(f"{self.architecture} has no thresholds to move")

    def encoder(self, x: Float[Tensor, "n d_in"]) -> Encoder:
        """The pre-activations of a batch, for a loss to read entries of."""
        origin = self.b_dec if self.apply_b_dec_to_input else torch.zeros_like(self.b_dec)
        return Encoder(x, self.W_enc, self.b_enc, origin, self.precision)

    def pre_activations(
        self, x: Float[Tensor, "n d_in"], features: Bool[Tensor, " d_sae"] | None = None
    ) -> Float[Tensor, "n f"]:
        """`u = (x − b_dec) W_enc + b_enc`, x as `normalised` gives it; of all features, or of those marked alone.

        Without `apply_b_dec_to_input` b_dec is not subtracted.
        """
        centred = x - self.b_dec if self.apply_b_dec_to_input else x
        if features is None:
            return torch.addmm(self.b_enc, centred, self.W_enc)
        return torch.addmm(self.b_enc[features], centred, self.W_enc[:, features])

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """`z = code(u)`, dense, in raw units."""
        if self.per_token == "none":
            return self.code(self.pre_activations(x))
        inside = normalised(x, self.per_token, self.centre)
        return self.code(self.pre_activations(inside.x)) * inside.scale

    @torch.no_grad()
    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> SparseCode:
        """The positive entries of `encode(x)`, ordered by row, then feature."""
        z = self.encode(x)
        return _entries(z, z > 0)

    def decode(self, z: Float[Tensor, "n d_sae"], x: Float[Tensor, "n d_in"] | None = None) -> Float[Tensor, "n d_in"]:
        """`x̂ = z W_dec + b_dec`; where activations are normalised one by one, `z W_dec + scale · b_dec + shift` of `x`.

        `x` are the activations that `z` is of; they may be left out where `per_token` is `none`.
        """
        if self.per_token == "none":
            return torch.addmm(self.b_dec, z, self.W_dec)
        assert x is not None, "each activation was normalised by itself: its norm is needed"
        inside = normalised(x, self.per_token, self.centre)
        return torch.addmm(inside.shift + inside.scale * self.b_dec, z, self.W_dec)

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """The reconstruction of x."""
        return self.decode(self.encode(x), x)

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """Make an SAE that was trained on `scale · x` take x itself, with codes in the units of x.

        Positive homogeneity: `relu(s·a) = s·relu(a)`, and the k largest stay the k largest. So with both biases
        divided by s, `u' = u/s`, `z' = z/s` and `x̂' = x̂/s`; the matrices, and unit decoder rows, stay as they are.
        """
        self.b_enc /= scale
        self.b_dec /= scale

    @torch.no_grad()
    def fold_affine(self, shift: Float[Tensor, " d_in"], scale: Float[Tensor, " d_in"]) -> None:
        """Make an SAE that was trained on `(x − shift) / scale`, dimension by dimension, take x itself.

        `W_enc' = W_enc / scale`, `W_dec' = scale W_dec`, `b_dec' = scale b_dec + shift`: u and z stay as they are, so
        codes are in the normalised units and decoder rows lose their norm. Where `b_dec` is not subtracted,
        `b_enc' = b_enc − (shift / scale) W_enc`.
        """
        if not self.apply_b_dec_to_input:
            self.b_enc -= (shift / scale) @ self.W_enc
        self.W_enc /= scale.unsqueeze(1)
        self.W_dec *= scale
        self.b_dec.mul_(scale).add_(shift)

    @torch.no_grad()
    def fold_decoder_norms(self) -> None:
        """Give every decoder row unit norm without changing `x̂`: `d_j = ‖W_dec[j]‖` moves into the encoder.

        `z'_j = d_j z_j`, by positive homogeneity of the code.
        """
        norms = self.W_dec.norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        self.W_enc *= norms
        self.b_enc *= norms
        self.W_dec /= norms.unsqueeze(1)


class UnitDecoder(SAE):
    """An SAE whose decoder rows are kept at unit norm in training: a code says all of how strong a feature is."""

    @torch.no_grad()
    def constrain_gradients(self) -> None:
        """Take the part along each decoder row out of its gradient: it would only change the norm."""
        super().constrain_gradients()
        if self.W_dec.grad is not None:
            along = (self.W_dec.grad * self.W_dec).sum(dim=1, keepdim=True)
            self.W_dec.grad.addcmul_(along, self.W_dec, value=-1)

    @torch.no_grad()
    def constrain(self) -> None:
        """Unit decoder rows."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))
        super().constrain()


class Thresholded(UnitDecoder):
    """An SAE whose code is `z = u · 1[u > θ]`, with one θ ≥ 0 for each feature or for all; rows have unit norm."""

    threshold: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """With the threshold."""
        return (*super().names, "threshold")

    def code(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`u · 1[u > θ]`, and nothing that is not positive, should a foreign θ be negative."""
        return u.relu() * (u > self.threshold)

    @torch.no_grad()
    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> SparseCode:
        """The positive entries of `encode(x)`, ordered by row, then feature; no dense code is made."""
        inside = normalised(x, self.per_token, self.centre)
        u = self.pre_activations(inside.x)
        row, feature, value = _entries(u, u > self.threshold.clamp_min(0))
        return SparseCode(row, feature, value * inside.scale.flatten()[row])

    def margins(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`u − θ`."""
        return (u - self.threshold).where(u > 0, -torch.inf)

    @torch.no_grad()
    def raise_thresholds(self, by: float) -> None:
        """`θ ← max(0, θ + by)`."""
        self.threshold.add_(by).clamp_(min=0)

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """As `SAE.fold_scale`; `θ' = θ/s`, which keeps `u' > θ'`."""
        super().fold_scale(scale)
        self.threshold /= scale


def _entries(dense: Float[Tensor, "n d_sae"], counting: Bool[Tensor, "n d_sae"]) -> SparseCode:
    """Those that count, ordered by row, then feature."""
    places = flat_nonzero(counting)
    row = torch.div(places, dense.shape[1], rounding_mode="floor")
    return SparseCode(row, places - row * dense.shape[1], dense.flatten().index_select(0, places))


def squared_error(x: Float[Tensor, "n d_in"], x_hat: Float[Tensor, "n d_in"]) -> Float[Tensor, ""]:
    """`mean_t Σ_d (x̂ − x)²`: where every loss starts."""
    return mse_loss(x_hat, x, reduction="sum") / len(x)


def losses(
    entries: Entries, values: Tensor, mse: Float[Tensor, ""], *, sparsity: Float[Tensor, ""] | None = None,
    aux: Float[Tensor, ""] | None = None,
) -> Losses:  # fmt: skip
    """The terms of a loss together, and the figures of the code that holds `values` at `entries`."""
    z = values.detach()
    active = z > 0
    nothing = torch.zeros_like(mse)
    sparsity, aux = nothing if sparsity is None else sparsity, nothing if aux is None else aux
    return Losses(
        total=mse + sparsity + aux,
        mse=mse,
        sparsity=sparsity,
        aux=aux,
        l0=active.sum() / entries.rows,
        l1=z.sum() / entries.rows,
        fired=entries.fired(active),
    )
