"""What of the sparse products no formula's test sees."""

import pytest
import torch

from core.sae.sparse_ops import largest


@pytest.mark.parametrize(("d", "k"), [(4608, 32), (4608, 64), (512, 4), (96, 32), (97, 1), (1021, 8), (8, 8)])
def test_the_largest_of_each_row_are_those_that_sorting_finds(d: int, k: int):
    u = torch.randn(50, d, generator=torch.Generator().manual_seed(d))
    u[0], u[1, ::3] = -1.0, 0.5  # a row of equals, and a row with many
    values, columns = largest(u, k)
    assert torch.equal(values.sort(descending=True).values, u.sort(descending=True).values[:, :k])
    assert torch.equal(u.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())
