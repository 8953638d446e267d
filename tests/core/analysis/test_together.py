"""How two features fire together, by numbers and by arrays, also where the counts are large."""

import math

import numpy as np
import pytest

from core.analysis.together import jaccard, pmi


@pytest.mark.parametrize(
    ("one", "other", "both", "tokens"), [(10, 4, 2, 100), (7, 7, 7, 7), (400_000, 300_000, 250_000, 524_288)]
)
def test_jaccard_and_pmi_are_of_numbers_and_of_arrays_what_their_formulas_say(one, other, both, tokens):
    share = both / (one + other - both)
    more = math.log((both / tokens) / ((one / tokens) * (other / tokens)))
    assert float(jaccard(one, other, both)) == pytest.approx(share, rel=1e-12)
    assert float(pmi(one, other, both, tokens)) == pytest.approx(more, rel=1e-9, abs=1e-12)
    # Counts of sparse matrices are of 32 bits, and their products are not.
    others, boths = np.array([other], dtype=np.int32), np.array([both], dtype=np.int32)
    assert jaccard(np.int32(one), others, boths) == pytest.approx([share], rel=1e-12)
    assert pmi(np.int32(one), others, boths, tokens) == pytest.approx([more], rel=1e-9, abs=1e-12)
