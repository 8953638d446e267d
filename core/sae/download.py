"""Foreign SAEs by name: `REPO:FOLDER` on the hub, and SAELens' `RELEASE/ID` where sae-lens is installed.

Fetches the few files of one SAE and turns the hub's failures into a ModelError; what is in the files is `foreign`'s.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import ModelError, nearest
from core.records import Progress
from core.sae import registry
from core.sae.foreign import FILES, RECORDS


class Fetched(NamedTuple):
    """Where an SAE's files are now, and what is known of it besides."""

    source: Path
    place: str
    """`REPO:FOLDER`"""
    overrides: dict[str, Any]
    """What goes before the SAE's own SAELens configuration."""
    model: str | None
    """The model's name, as the release says it."""
    recorded: dict[str, float]
    """L0 and explained variance, as the release says them; see `core.recorded`."""


def fetch(name: str) -> Generator[Progress, None, Fetched]:
    """Download the SAE called `REPO:FOLDER` or `RELEASE/ID`; a generator whose return value is where it is.

    Raises ModelError: no such name, gated, offline, no such folder.
    """
    overrides: dict[str, Any] = {}
    model, known = None, dict[str, float]()
    if ":" in name:
        repository, _, folder = name.partition(":")
    else:
        repository, folder, overrides, model, known = _released(name)
    folder = folder.strip("/")
    yield Progress(phase=f"fetching {repository}:{folder}")
    # The folder alone would match whatever lies below it, a whole layer of SAEs perhaps.
    inside = [f"{folder}/{file}" if folder else file for file in (*FILES, *RECORDS)]
    above = str(Path(folder).parent / "config.json")
    import huggingface_hub

    try:
        root = huggingface_hub.snapshot_download(repository, allow_patterns=[*inside, folder, above])
    except Exception as error:  # the hub, the network and the disk raise anything
        raise _explained(repository, error) from error
    source = Path(root) / folder
    if not source.exists():
        raise ModelError(
            f"{repository} has no SAE in {folder!r}, in a format that is read",
            hint=f"look for its folder at https://huggingface.co/{repository}/tree/main",
        )
    return Fetched(source, f"{repository}:{folder}", overrides, model, known)


def _released(name: str) -> tuple[str, str, dict[str, Any], str | None, dict[str, float]]:
    """Repository, folder, overrides, model and records of `RELEASE/ID`, from the list that comes with sae-lens."""
    releases = registry.releases()
    if releases is None:
        raise ModelError(
            f"there is no file or folder {name}, and names like RELEASE/ID are sae-lens' own, which is not installed",
            hint="name it as REPO:FOLDER, for example google/gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_71",
        )
    release, _, id_ = name.partition("/")
    if release not in releases:
        raise ModelError(
            f"there is no file or folder {name}, and sae-lens knows no release {release!r}",
            hint="name it as REPO:FOLDER, or look it up in SAELens' table of pretrained SAEs",
        )
    found = releases[release]
    ids = registry.saes(found)
    if id_ not in ids:
        raise ModelError(f"release {release} has no SAE {id_!r}", hint=nearest(id_, ids)[:300])
    overrides = {**(found.get("config_overrides") or {})}
    overrides |= {k: v for k, v in ids[id_].items() if k == "norm_scaling_factor"}
    return found["repo_id"], str(ids[id_]["path"]), overrides, found.get("model"), registry.records(ids[id_])


def _explained(repository: str, error: Exception) -> ModelError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{repository} is gated",
            hint=f"accept its licence at https://huggingface.co/{repository}, then `hf auth login` or set HF_TOKEN",
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError | errors.HFValidationError):
        return ModelError(
            f"the hub has no repository {repository!r}", hint="check its name at https://huggingface.co/models"
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        return ModelError(
            f"{repository} is not in the hub's cache, and the hub is out of reach or switched off",
            hint=f"fetch it where there is a network with `hf download {repository}` and name the folder",
        )
    return ModelError(f"{repository} cannot be fetched", hint=" ".join(str(error).split())[:300])
