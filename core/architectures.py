"""The architectures there are, and what sets the sparsity of each. Imports nothing: a first frame imports this."""

SPARSITY = {
    "topk": ("k", "k"), "batchtopk": ("k", "k"), "matryoshka": ("k", "k"), "relu": ("λ", "l1_coefficient"),
    "gated": ("λ", "l1_coefficient"), "jumprelu": ("λ", "l0_coefficient"),
}  # fmt: skip
"""Each one's symbol for it, and its field in `[sae]`."""
