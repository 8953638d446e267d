"""From a name to a model in memory: the embedded one, a folder, the hub. Reports how far it is.

Knows where models come from and what can go wrong there; not what is done with them.
"""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from core.config import RunConfig
from core.errors import ModelError, nearest
from core.models import bundled
from core.models.digits import ImageClassifier
from core.models.language import LanguageModel
from core.options import ModelConfig
from core.records import Progress

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
Model = LanguageModel | ImageClassifier
"""A network under study: what a stage asks of both has one name in both."""
Loader = Callable[[RunConfig], Generator[Progress, None, Model]]
"""What gives a stage its model."""


def load(config: ModelConfig, device: torch.device) -> Generator[Progress, None, Loaded]:
    """Load the model and its tokenizer onto `device`; a generator whose return value is `Loaded`.

    Raises ModelError: not found, gated, offline, torn, not a causal language model.
    """
    # Its progress bars and advice would fall between our own lines.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.dtype]
    if config.name == bundled.NAME:
        source: str = str((yield from bundled.converted(dtype)))
    else:
        source = _resolved(config.name)
    yield Progress(phase=f"loading {config.name}")
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    if config.revision:
        options["revision"] = config.revision
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
    except Exception as error:  # the hub, the file system and a model's own code raise anything
        raise _explained(config.name, error) from error
    return model.to(device).requires_grad_(False), tokenizer


def _resolved(name: str) -> str:
    """A folder's path, or the hub's name for `name`, TransformerLens' aliases resolved."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} holds no config.json", hint="name a folder written by `save_pretrained`")
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no model folder {path}", hint="check the path")
    from transformer_lens.supported_models import MODEL_ALIASES

    aliases = {alias: official for official, known in MODEL_ALIASES.items() for alias in known}
    return aliases.get(name, name)


def _explained(name: str, error: Exception) -> ModelError:
    """One sentence for what went wrong while loading `name`."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    kinds = {type(e).__name__ for e in chain}
    text = " ".join(str(e) for e in chain)
    if "GatedRepoError" in kinds or " 401 " in text or " 403 " in text or "gated repo" in text:
        token = "your token has no access" if os.environ.get("HF_TOKEN") else "there is no HF_TOKEN"
        return ModelError(
            f"{name} is gated and {token}",
            hint=f"accept its licence at https://huggingface.co/{name}, then set HF_TOKEN or run `hf auth login`",
        )
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError"}:
        return ModelError(
            f"{name!r} is no local folder, and the hub cannot be reached or is switched off",
            hint=f"download it where there is a network, or name a folder or {bundled.NAME!r} (embedded)",
        )
    if kinds & {"RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError"}:
        return ModelError(
            f"the hub has no model {name!r} (or no such revision)", hint=nearest(name, [bundled.NAME, "gpt2"])
        )
    if "trust_remote_code" in text:
        return ModelError(f"{name} needs code of its own", hint="set model.trust_remote_code = true if you trust it")
    return ModelError(f"{name} cannot be loaded as a causal language model", hint=text.strip().splitlines()[0][:300])
