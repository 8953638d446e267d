"""`.venv-peers/bin/python -m tests.releases`: copies what `core.sae.registry` reads of sae-lens' list."""

import importlib.util
import json
import lzma
from pathlib import Path
from typing import Any

from core.sae import registry

RELEASE = ("model", "repo_id", "config_overrides")
SAE = ("id", "path", "norm_scaling_factor", "l0", "variance_explained", "neuronpedia")


def copied() -> bytes:
    """The copy of the list of the sae-lens that is installed here."""
    return lzma.compress(json.dumps(slim(registry.releases()), separators=(",", ":")).encode(), preset=9)


def slim(releases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The list with no more than what is read of it."""
    return {
        name: {
            **{key: release[key] for key in RELEASE if release.get(key)},
            "saes": [{key: sae[key] for key in SAE if sae.get(key) is not None} for sae in release["saes"]],
        }
        for name, release in releases.items()
    }


def main() -> None:
    """Replace the copy."""
    if importlib.util.find_spec("sae_lens") is None:
        raise SystemExit("sae-lens is not installed here: `make .venv-peers/.installed` makes a place where it is")
    Path(registry.COPY).write_bytes(copied())


if __name__ == "__main__":
    main()
