"""Linear layers of a few rows on a CPU, in little more time than of one.

`y = x Wᵀ + b` of two rows takes PyTorch nearly twice as long as of one: its library copies the weights into another
order for a product of matrices. `yᵀ = W xᵀ` is the same sums and reads the weights as they lie. It rounds differently
in the last bits, as another number of rows does; rows are still apart from each other.
"""

import torch
from torch import Tensor, nn

MOST = 4
"""Rows up to which that is faster."""


class FewRows(nn.Linear):
    """A linear layer that computes 2 to MOST rows so, and others as it did."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch calls it
        """`x Wᵀ + b` for `[… in_features]`."""
        rows = input.numel() // self.in_features
        if not 1 < rows <= MOST:
            return super().forward(input)
        y = torch.mm(self.weight, input.reshape(rows, self.in_features).t()).t().contiguous()
        y = y if self.bias is None else y + self.bias
        return y.view(*input.shape[:-1], self.out_features)


def hasten(model: nn.Module) -> None:
    """Let the model's own linear layers compute so, where they are float32 on a CPU."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu":
            module.__class__ = FewRows
