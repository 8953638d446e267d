"""Tiny real parts: random GPT-2, Llama and Gemma folders with a trained byte-level tokenizer, a corpus, a session.

Nothing here is a double: models and tokenizers are written by `save_pretrained` and loaded as any folder is.
`core` is imported inside fixtures, so that jaxtyping's import hook sees it first.
"""

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from core.plain import returned

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"  # whatever the terminal is that the tests run in; a pty's own differs

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "seven",
    "dogs",
    "ran",
    "over",
    "green",
    "hills",
    "and",
    "every",
    "river",
    "sang",
    "its",
    "own",
    "old",
    "song",
    "about",
    "rain",
    "def",
    "return",
    "import",
    "class",
    "for",
    "while",
    "in",
    "range",
    "print",
    "value",
    "index",
    "error",
    "none",
    "true",
    "false",
    "self",
    "list",
    "dict",
]
FAMILIES = ("gpt2", "llama", "gemma2")


def sentences(n: int, seed: int) -> list[str]:
    """n short texts over a small vocabulary, no two alike."""
    rng = random.Random(seed)
    return [f"{i} " + " ".join(rng.choices(WORDS, k=rng.randint(20, 60))) + ".\n" for i in range(n)]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family: weights, config and tokenizer, as `save_pretrained` writes them."""
    import torch
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    root = tmp_path_factory.mktemp("models")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sentences(200, 0), vocab_size=400, special_tokens=["<bos>", "<eos>"], show_progress=False)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>"
    )
    n = len(tokenizer)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    rows = {"vocab_size": n, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    models = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=128, **rows)
        ),
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**small, num_key_value_heads=2, max_position_embeddings=128, **rows)
        ),
        "gemma2": lambda: transformers.Gemma2ForCausalLM(
            transformers.Gemma2Config(
                **small,
                num_key_value_heads=2,
                head_dim=8,
                max_position_embeddings=128,
                sliding_window=32,
                **rows,
            )
        ),
    }
    folders = {}
    for family in FAMILIES:
        torch.manual_seed(1)
        model = models[family]()
        with torch.no_grad():  # random weights this small say little: make the layers speak up
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter *= 5
        folders[family] = root / family
        model.save_pretrained(folders[family])
        tokenizer.save_pretrained(folders[family])
    return folders


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .jsonl file of 400 short texts in three categories."""
    path = tmp_path_factory.mktemp("corpus") / "toy.jsonl"
    rows = [
        {"text": text, "category": ("animals", "rivers", "code")[i % 3]} for i, text in enumerate(sentences(400, 1))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def toy_values(model_folders: dict[str, Path], toy_corpus: Path) -> dict:
    """A run on the tiny Llama that takes a second or two."""
    return {
        "device": "cpu",
        "model": {"name": str(model_folders["llama"]), "hook": "blocks.1.hook_resid_post"},
        "corpus": {"name": str(toy_corpus)},
        "tokens": {"context": 32},
        "sae": {"d_sae": 96, "k": 8},
        "budget": {"activations": 6_000},
        "training": {"batch_activations": 256, "buffer_activations": 2_048, "warmup_steps": 5},
        "evaluation": {"activations": 1_500, "ce_tokens": 300},
        "analysis": {"activations": 1_500, "top_examples": 5, "band_examples": 2},
    }


@pytest.fixture(scope="session")
def toy_language_model(model_folders: dict[str, Path]):
    """The tiny Llama at `blocks.1.hook_resid_post`."""
    return language_model(model_folders["llama"])


def language_model(folder: Path, hook: str = "blocks.1.hook_resid_post"):
    """A LanguageModel from a folder."""
    from core import config, flow

    values = {"device": "cpu", "model": {"name": str(folder), "hook": hook}, "tokens": {"context": 32}}
    return finished(flow.load_model(config.parse(values)))


finished = returned
