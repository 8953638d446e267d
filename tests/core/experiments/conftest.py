"""A tiny Llama and SAEs for it, and what an experiment measures, done slowly."""

import pytest
import torch

from core.options import TokensConfig
from core.sae.topk import TopK
from core.tokens import prompt_block

TEXTS = (
    "the cat sat on a mat while seven dogs ran over green hills", "every river sang its own old song", "rain",
    "def return import class for while in range", "print value index error none true false self list dict",
)  # fmt: skip


@pytest.fixture
def model(toy_language_model):
    return toy_language_model


@pytest.fixture
def sae(model):
    sae = TopK(model.d_in, 48, 6)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(model.d_in, generator=draw) / 10, draw)
    return sae


@pytest.fixture
def config():
    return TokensConfig()


class Slow:
    """One text by itself: logits with an edit of the code at every counted position, in float64 but for the model."""

    def __init__(self, model, sae, config, text):
        block = prompt_block(text, model.tokens, config)
        self.ids, self.counted = block.ids.tolist(), block.counted.tolist()
        self._pass = model.split_pass(torch.from_numpy(block.ids).unsqueeze(0))
        self.x = self._pass.x[0].double()
        double = sae.double()
        self.z = torch.stack([double.encode(row.unsqueeze(0))[0] for row in self.x]).detach()
        self.directions = double.W_dec.detach().clone()
        sae.float()
        self.clean = self._pass.logits[0].double()

    def logits(self, edits):
        """`edits` map a feature to a function of z."""
        x = self.x.clone()
        for i, counted in enumerate(self.counted):
            for feature, change in edits.items() if counted else ():
                z = float(self.z[i, feature])
                x[i] += (change(z) - z) * self.directions[feature]
        return self._pass.logits_with(x.float().unsqueeze(0))[0].double()

    def predictions(self):
        """Positions, and the tokens that come next."""
        return list(enumerate(self.ids[1:]))


@pytest.fixture
def slow(model, sae, config):
    return [Slow(model, sae, config, text) for text in TEXTS]


@pytest.fixture
def firing(slow):
    """Features by how many of the predictions they fire on, the most first."""
    n = sum(((one.z[:-1] > 0) & torch.tensor(one.counted[:-1]).unsqueeze(1)).sum(0) for one in slow)
    return n.argsort(descending=True).tolist()


def finished(generator):
    """What it yields and what it returns."""
    came = []
    while True:
        try:
            came.append(next(generator))
        except StopIteration as ended:
            return came, ended.value
