"""Products with sparse codes: the fast path of a training step.

A code `z [n d_sae]` of which few entries count is held as `Entries`: for each its row, its feature and its value,
ordered by row. Of the six matrix products of a dense step only the encoder's remains; the other five read a row of a
matrix for each entry:

    x̂ = z W_dec                 embedding_bag over the rows of W_dec
    ∂L/∂z                       its gradient to the per-sample weights (a dot product for each entry)
    ∂L/∂W_dec = zᵀ ∂L/∂x̂        the transposed code as bags: for each feature, the activations it counts on
    ∂L/∂W_enc = (∂L/∂uᵀ x)ᵀ     the same
    ∂L/∂b_dec through the encoder = −W_enc ∂L/∂b_enc

`embedding_bag` alone serves all of them, on every device and without a sparse BLAS; measured here it is also the
fastest of what PyTorch has (CSR products took 6 times as long on a CPU without AVX-512, `index_add_` 28 times).
Where many entries count dense products are faster: `DenseEntries` says the same with them, so that a loss is written
once. Knows nothing of losses, optimisers or architectures.
"""

import abc
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from core.options import Precision

DENSE_FROM = 0.08
"""The share of entries from which on dense products are faster (measured on 2 cores, d_in 576, d_sae 4608)."""
FEWEST = 4
"""Groups for each of the k that are wanted, at least: with fewer, looking at them in groups again gains nothing."""


class Entries(abc.ABC):
    """The entries of pre-activations `u [n d_sae]` that a code reads. Differentiable in the encoder's weights."""

    u: Tensor
    """Their pre-activations."""
    rows: int
    """n"""

    @abc.abstractmethod
    def of(self, parameter: Float[Tensor, " d_sae"]) -> Tensor:
        """A parameter of the features, at each entry. Differentiable."""

    @abc.abstractmethod
    def decode(self, values: Tensor, W_dec: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, "n d_in"]:
        """`z W_dec` for the code that holds `values` at the entries. Differentiable in both."""

    @abc.abstractmethod
    def fired(self, active: Tensor) -> Int[Tensor, " d_sae"]:
        """How many `active` entries each feature has."""

    @abc.abstractmethod
    def row_sums(self, values: Tensor) -> Float[Tensor, " n"]:
        """The sum of `values` over each row. Differentiable."""


class Places:
    """Where entries are: the row and the feature of each, ordered by row."""

    def __init__(self, row: Int[Tensor, " nnz"], feature: Int[Tensor, " nnz"], rows: int, d_sae: int) -> None:
        self.row, self.feature, self.rows, self.d_sae = row, feature, rows, d_sae

    @functools.cached_property
    def by_row(self) -> Int[Tensor, " n"]:
        """Where each row's entries begin."""
        return _begins(self.row, self.rows)

    @functools.cached_property
    def _by_feature(self) -> tuple[Int[Tensor, " nnz"], Int[Tensor, " nnz"], Int[Tensor, " d_sae"]]:
        """The entries ordered by feature, then row; the row of each; where each feature's begin.

        Found once, for the gradients of both weights.
        """
        order = torch.sort(self.feature.int(), stable=True).indices
        return order, self.row.index_select(0, order), _begins(self.feature, self.d_sae)

    def transposed_product(
        self, values: Float[Tensor, " nnz"], dense: Float[Tensor, "n d"]
    ) -> Float[Tensor, "d_sae d"]:
        """`zᵀ dense`: for each feature, the rows of `dense` it counts on, weighted and summed.

        Deterministic: a stable sort orders each feature's rows, and each bag is summed in that order.
        """
        order, row, begins = self._by_feature
        return embedding_bag(row, dense, begins, per_sample_weights=values.index_select(0, order), mode="sum")

    def of_features(self, values: Float[Tensor, " nnz"]) -> Float[Tensor, " d_sae"]:
        """For each feature, the sum of its values."""
        return _summed(values, self.feature, self.d_sae)

    def of_rows(self, values: Float[Tensor, " nnz"]) -> Float[Tensor, " n"]:
        """For each row, the sum of its values."""
        return _summed(values, self.row, self.rows)


def _begins(index: Int[Tensor, " nnz"], n: int) -> Int[Tensor, " n"]:
    """Where each of the n begins among indices in ascending order."""
    counts = torch.bincount(index, minlength=n)
    return counts.cumsum(0) - counts


def _summed(values: Float[Tensor, " nnz"], index: Int[Tensor, " nnz"], n: int) -> Float[Tensor, " n"]:
    return torch.bincount(index, weights=values, minlength=n).to(values.dtype)


class SparseEntries(Entries):
    """Entries one by one, ordered by row."""

    def __init__(self, u: Tensor, places: Places) -> None:
        self.u, self.places, self.rows = u, places, places.rows

    def of(self, parameter: Float[Tensor, " d_sae"]) -> Tensor:
        """A parameter of the features, at each entry. Differentiable."""
        return _Gather.apply(parameter, self.places)  # pyright: ignore[reportReturnType]

    def decode(self, values: Tensor, W_dec: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, "n d_in"]:
        """`z W_dec`; differentiable in values and W_dec."""
        at = self.places
        product = embedding_bag(at.feature, W_dec.detach(), at.by_row, per_sample_weights=values, mode="sum")
        return _WeightGradient.apply(product, W_dec, values.detach(), at)  # pyright: ignore[reportReturnType]

    def fired(self, active: Tensor) -> Int[Tensor, " d_sae"]:
        """How many `active` entries each feature has."""
        return torch.bincount(self.places.feature[active], minlength=self.places.d_sae)

    def row_sums(self, values: Tensor) -> Float[Tensor, " n"]:
        """The sum of `values` over each row."""
        return _Sum.apply(values, self.places)  # pyright: ignore[reportReturnType]

    def only(self, first: int, end: int) -> "SparseEntries":
        """Those of the features `first` to `end - 1`."""
        at = self.places
        inside = flat_nonzero((at.feature >= first) & (at.feature < end))
        u, row, feature = (part.index_select(0, inside) for part in (self.u, at.row, at.feature))
        return SparseEntries(u, Places(row, feature, at.rows, at.d_sae))


class DenseEntries(Entries):
    """All entries, those that count for nothing with a value of 0."""

    def __init__(self, u: Float[Tensor, "n d_sae"]) -> None:
        self.u, self.rows = u, len(u)

    def of(self, parameter: Float[Tensor, " d_sae"]) -> Tensor:
        """A parameter of the features, at each entry. Differentiable."""
        return parameter.expand_as(self.u)

    def decode(self, values: Tensor, W_dec: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, "n d_in"]:
        """`z W_dec`; differentiable in values and W_dec."""
        return values @ W_dec

    def fired(self, active: Tensor) -> Int[Tensor, " d_sae"]:
        """How many `active` entries each feature has."""
        return active.sum(dim=0)

    def row_sums(self, values: Tensor) -> Float[Tensor, " n"]:
        """The sum of `values` over each row."""
        return values.sum(dim=1)


@contextlib.contextmanager
def in_tf32() -> Iterator[None]:
    """Products of float32 on an NVIDIA GPU read 10 bits of each fraction in place of 23."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Encoder:
    """The dense pre-activations of a batch, and the entries of them that a code reads.

    The product, by far the largest of a step, is made in `precision`, and without the bias where that is bfloat16; all
    else is done in float32.
    """

    def __init__(
        self, x: Float[Tensor, "n d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, " d_sae"],
        b_dec: Float[Tensor, " d_in"], precision: Precision = "float32",
    ) -> None:  # fmt: skip
        self._weights = (W_enc, b_enc, b_dec)
        with torch.no_grad(), in_tf32() if precision == "tf32" else contextlib.nullcontext():
            self._centred = x - b_dec
            if precision == "bfloat16":
                product = (self._centred.bfloat16() @ W_enc.bfloat16()).float()
            else:
                product = self._centred @ W_enc
            self.u = product.add_(b_enc)  # `addmm` writes the bias first, then adds the product to it: a twentieth more
        """`u [n d_sae]`, not differentiable."""

    def above(self, bound: Tensor | float, *, at_most: float = DENSE_FROM) -> Entries:
        """The entries with `u > bound`, or all where they are more than a share of `at_most`."""
        with torch.no_grad():
            counting = self.u > bound
            if int(torch.count_nonzero(counting)) > at_most * counting.numel():
                return DenseEntries(_encoded_all(self.u, self._centred, *self._weights))
            return self.at(flat_nonzero(counting))

    def largest(self, k: int) -> SparseEntries:
        """The k largest of each row, be they positive or not."""
        with torch.no_grad():
            values, feature = largest(self.u, k)
            row = torch.arange(len(self.u), device=self.u.device).repeat_interleave(k)
        return self._entries(values.flatten(), row, feature.flatten())

    def at(self, flat: Int[Tensor, " nnz"]) -> SparseEntries:
        """The entries at these places of the flattened `u`, which are in ascending order."""
        with torch.no_grad():
            d_sae = self.u.shape[1]
            row = torch.div(flat, d_sae, rounding_mode="floor")
            return self._entries(self.u.flatten().index_select(0, flat), row, flat - row * d_sae)

    def _entries(self, values: Tensor, row: Tensor, feature: Tensor) -> SparseEntries:
        places = Places(row, feature, *self.u.shape)
        with torch.enable_grad():
            u = _EncodedSome.apply(values, self._centred, *self._weights, places)
        assert isinstance(u, Tensor)
        return SparseEntries(u, places)


def largest(u: Float[Tensor, "n d"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row and their columns, in no order; of equal ones, any.

    With the columns in groups, what is among the k largest is in one of the k groups whose largest are the largest, or
    equal to what is there; those groups are found in the same way. Two thirds of `topk`'s time with d = 4608, less than
    half with 18,432. Column c is in group c mod (number of groups), so that the groups' largest are found in one pass
    that reads whole lines.
    """
    n, d = u.shape
    size = next((size for size in range(8, 3, -1) if d % size == 0 and d // size >= FEWEST * k), 0)
    if not size:
        return u.topk(k, dim=1, sorted=False)
    groups = d // size
    in_groups = u.view(n, size, groups)
    chosen = largest(in_groups.amax(dim=1), k)[1]
    candidates = in_groups.gather(2, chosen.unsqueeze(1).expand(n, size, k)).view(n, size * k)
    values, place = candidates.topk(k, dim=1, sorted=False)
    within = torch.div(place, k, rounding_mode="floor")
    return values, within * groups + chosen.gather(1, place - within * k)


def flat_nonzero(mask: Bool[Tensor, "..."]) -> Int[Tensor, " nnz"]:
    """The places of what is true in the flattened mask, ascending. numpy's search takes a fifth of torch's on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero().squeeze(1)


class _EncodedSome(torch.autograd.Function):
    """Some entries of `u`, which is there already; the backward pass gives the encoder's gradients."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, centred: Tensor, W_enc: Tensor, _b_enc: Tensor, _b_dec: Tensor, places: Places
    ) -> Tensor:
        ctx.save_for_backward(centred, W_enc)
        ctx.places = places
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        centred, W_enc = ctx.saved_tensors
        grad_W_enc = ctx.places.transposed_product(grads[0], centred).T
        grad_b_enc = ctx.places.of_features(grads[0])
        return None, None, grad_W_enc, grad_b_enc, -(W_enc @ grad_b_enc), None


class _EncodedAll(torch.autograd.Function):
    """All of `u`, which is there already."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, centred: Tensor, W_enc: Tensor, *_biases: Tensor) -> Tensor:
        ctx.save_for_backward(centred, W_enc)
        return u.view_as(u)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        centred, W_enc = ctx.saved_tensors
        grad_b_enc = grads[0].sum(dim=0)
        return None, None, (grads[0].T @ centred).T, grad_b_enc, -(W_enc @ grad_b_enc)


def _encoded_all(u: Tensor, centred: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor) -> Tensor:
    with torch.enable_grad():
        return _EncodedAll.apply(u, centred, W_enc, b_enc, b_dec)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    """A parameter of the features at each entry, whose gradient is summed by feature."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, places: Places) -> Tensor:
        ctx.places = places
        return parameter.index_select(0, places.feature)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        return ctx.places.of_features(grads[0]), None


class _Sum(torch.autograd.Function):
    """The sums of values by row, whose gradient is that of the row."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Places) -> Tensor:
        ctx.places = places
        return places.of_rows(values)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        return grads[0].index_select(0, ctx.places.row), None


class _WeightGradient(torch.autograd.Function):
    """Passes `product = z weight` through; its backward adds `zᵀ grad` for the weight."""

    @staticmethod
    def forward(ctx: Any, product: Tensor, _weight: Tensor, values: Tensor, places: Places) -> Tensor:
        ctx.save_for_backward(values)
        ctx.places = places
        return product.view_as(product)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (values,) = ctx.saved_tensors
        return grads[0], ctx.places.transposed_product(values, grads[0]), None, None
