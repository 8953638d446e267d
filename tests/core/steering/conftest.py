"""A language model of a few hundred weights with a KV cache, whose tokens are bytes, and SAEs for it."""

from types import SimpleNamespace

import pytest
import torch

from core.models.language import LanguageModel, TextTokenizer
from core.options import TokensConfig
from core.sae.topk import TopK

D, D_SAE, BOS, EOS = 16, 24, 256, 257
N_VOCAB = 258


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class ByteTokens(TextTokenizer):
    """Every byte a token, so that most characters of a random text are incomplete."""

    bos_id, pad_id = BOS, EOS
    special_ids, eos_ids = frozenset({BOS, EOS}), frozenset({EOS})

    def __init__(self):
        pass

    def encode(self, texts):
        return [list(t.encode()) for t in texts]

    def decode(self, ids):
        spelled = {BOS: b"<bos>", EOS: b"<eos>"}
        return b"".join(spelled.get(i) or bytes([i]) for i in ids).decode(errors="replace")

    def text(self, token_id):
        return self.decode([token_id])


class ByteModel(LanguageModel):
    """Embedding and position, the hook, one layer of causal attention over what left the hook, unembedding.

    The cache is what left the hook so far, as keys and values would hold it.
    """

    name, device, dtype, d_in, context = "bytes", torch.device("cpu"), torch.float32, D, 200
    n_vocab = N_VOCAB

    def __init__(self):
        draw = torch.Generator().manual_seed(5)
        self.embedding = torch.randn(N_VOCAB, D, generator=draw)
        self.position = torch.randn(self.context, D, generator=draw) / 2
        self.query, self.value = torch.randn(2, D, D, generator=draw) / D**0.5
        self.unembedding = torch.randn(D, N_VOCAB, generator=draw)
        self.tokens = ByteTokens()
        self.bias = torch.zeros(N_VOCAB)
        self.edits = []

    def activations(self, ids):
        return self.embedding[ids] + self.position[: ids.shape[1]]

    def next_logits(self, ids, *, cache=None, edit=None):
        start = 0 if cache is None else cache.shape[1]
        x = self.embedding[ids] + self.position[start : start + ids.shape[1]]
        self.edits.append(edit)
        x = x if edit is None else edit(x)
        cache = x if cache is None else torch.cat([cache, x], dim=1)
        scores = (x[:, -1:] @ self.query) @ cache.mT / D**0.5
        mixed = x[:, -1] + (scores.softmax(-1) @ cache @ self.value)[:, 0]
        return mixed @ self.unembedding / 2 + self.bias, cache

    def cropped(self, cache, length):
        return cache[:, :length]

    def split_pass(self, ids):
        logits = [self.next_logits(ids[:, : i + 1])[0][0] for i in range(ids.shape[1])]
        return SimpleNamespace(x=self.activations(ids), logits=torch.stack(logits)[None])


@pytest.fixture
def model():
    return ByteModel()


@pytest.fixture
def sae():
    sae = TopK(D, D_SAE, 6)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(D, generator=draw) / 10, draw)
    return sae


@pytest.fixture
def config():
    return TokensConfig()


@pytest.fixture
def active(model, sae):
    """Features that fire on the prompt of the tests, the strongest first."""

    def found(text):
        ids = torch.tensor([[BOS, *text.encode()]])
        return sae.encode(model.activations(ids)[0, 1:]).sum(0).argsort(descending=True).tolist()

    return found


@pytest.fixture
def ids():
    return SimpleNamespace(bos=BOS, eos=EOS)
