"""From a name to a model: what the hub's failures are turned into, aliases, and the embedded model's conversion."""

import hashlib
import threading

import pytest
import torch
import transformers
from filelock import FileLock

from core.errors import ModelError
from core.models import bundled, load
from core.options import ModelConfig
from core.records import Progress
from tests.conftest import finished


class GatedRepoError(Exception):
    """Named as the hub's own, which cannot be raised without a network."""


class RepositoryNotFoundError(Exception):
    """The same."""


def failing_with(monkeypatch, error):
    def fail(*args, **kwargs):
        raise OSError("cannot load") from error

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (GatedRepoError("401 Client Error"), ["gated", "there is no HF_TOKEN", "https://huggingface.co/meta/llama"]),
        (RepositoryNotFoundError("404"), ["has no model 'meta/llama'"]),
        (ConnectionError("no route"), ["the hub cannot be reached"]),
        (ValueError("you need trust_remote_code=True"), ["model.trust_remote_code"]),
        (ValueError("Unrecognized model"), ["cannot be loaded as a causal language model"]),
    ],
)
def test_a_model_that_does_not_load_is_one_sentence_with_the_next_step(monkeypatch, error, says):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    failing_with(monkeypatch, error)
    with pytest.raises(ModelError) as caught:
        finished(load.load(ModelConfig(name="meta/llama"), torch.device("cpu")))
    assert all(part in str(caught.value) for part in says)
    assert "\n" not in str(caught.value)


def test_a_token_without_access_is_told_apart_and_not_repeated(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    failing_with(monkeypatch, GatedRepoError("403 Client Error"))
    with pytest.raises(ModelError, match="your token has no access") as caught:
        finished(load.load(ModelConfig(name="meta/llama"), torch.device("cpu")))
    assert "hf_secret" not in str(caught.value)


def test_aliases_are_resolved_and_folders_are_checked(tmp_path):
    assert load._resolved("gpt2-small") == "gpt2"
    assert load._resolved("google/gemma-2-2b") == "google/gemma-2-2b"
    with pytest.raises(ModelError, match="no config.json"):
        load._resolved(str(tmp_path))
    with pytest.raises(ModelError, match="no model folder"):
        load._resolved("./nowhere")


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A package with a model file, and an empty cache."""
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"not a model")
    monkeypatch.setattr(bundled, "gguf_path", lambda: gguf)
    monkeypatch.setenv("SAE_TUI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_a_second_process_waits_for_the_first_conversion_and_says_so(packaged, monkeypatch):
    monkeypatch.setattr(bundled, "_convert", lambda *_: pytest.fail("converted twice"))
    waiting = bundled.converted(torch.float32)
    packaged.mkdir(parents=True)
    key = hashlib.blake2b(bundled.gguf_path().read_bytes()).hexdigest()[:12]
    folder = packaged / f"smollm2-{key}-float32"
    first = FileLock(f"{folder}.lock", thread_local=False)
    first.acquire()
    record = next(waiting)
    assert isinstance(record, Progress) and "waiting for another process" in record.phase
    folder.mkdir()
    threading.Timer(0.1, first.release).start()
    assert finished(waiting) == folder


def test_a_model_file_that_cannot_be_converted_leaves_nothing_behind(packaged):
    with pytest.raises(ModelError, match="cannot be converted"):
        finished(bundled.converted(torch.float32))
    assert [p.name for p in packaged.iterdir() if p.is_dir()] == []
