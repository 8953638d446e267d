"""SAEs by name: what such a name looks like, and SAELens' list of releases where sae-lens is installed. No torch.

The list is read as a file: sae-lens itself is never imported.
"""

import functools
import importlib.util
from pathlib import Path
from typing import Any

from core import recorded

REGISTRY = "pretrained_saes.yaml"
"""What sae-lens knows of releases, inside its package."""


def is_name(source: str) -> bool:
    """Whether `source`, which is no path that exists, may be a name on the hub."""
    return not source.startswith((".", "~", "/")) and ("/" in source or ":" in source)


def releases() -> dict[str, dict[str, Any]] | None:
    """Every release by its name; None where sae-lens is not installed. Takes a second the first time."""
    package = importlib.util.find_spec("sae_lens")
    return None if package is None or package.origin is None else _read(Path(package.origin).parent / REGISTRY)


def saes(release: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The SAEs of a release by their ids."""
    return {str(sae["id"]): sae for sae in release["saes"]}


def records(sae: dict[str, Any]) -> dict[str, float]:
    """L0 and explained variance of one of them, where the list knows them."""
    return recorded.noted(sae.get("l0"), sae.get("variance_explained"))


@functools.cache
def _read(path: Path) -> dict[str, dict[str, Any]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
