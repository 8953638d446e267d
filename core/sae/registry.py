"""SAEs by name: what such a name looks like, and SAELens' list of releases. No torch.

The list is read as a file, sae-lens itself is never imported: that of the sae-lens which is installed, else a copy, of
what is read of it, which comes with this package (of sae-lens 6.54.12, MIT; `python -m tests.releases` makes it). Many
environments cannot hold sae-lens, which needs an older TransformerLens.
"""

import functools
import importlib.util
import json
import lzma
from pathlib import Path
from typing import Any

from core import recorded

REGISTRY = "pretrained_saes.yaml"
"""What sae-lens knows of releases, inside its package."""
COPY = Path(__file__).with_name("releases.json.xz")


def is_name(source: str) -> bool:
    """Whether `source`, which is no path that exists, may be a name on the hub."""
    return not source.startswith((".", "~", "/")) and ("/" in source or ":" in source)


def releases() -> dict[str, dict[str, Any]]:
    """Every release by its name. Takes a second the first time where sae-lens is installed."""
    package = importlib.util.find_spec("sae_lens")
    return _copied() if package is None or package.origin is None else _read(Path(package.origin).parent / REGISTRY)


def saes(release: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The SAEs of a release by their ids."""
    return {str(sae["id"]): sae for sae in release["saes"]}


def records(sae: dict[str, Any]) -> dict[str, float]:
    """L0 and explained variance of one of them, where the list knows them."""
    return recorded.noted(sae.get("l0"), sae.get("variance_explained"))


@functools.cache
def _copied() -> dict[str, dict[str, Any]]:
    return json.loads(lzma.decompress(COPY.read_bytes()))


@functools.cache
def _read(path: Path) -> dict[str, dict[str, Any]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
