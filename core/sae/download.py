"""Foreign SAEs by name: `REPO:FOLDER` on the hub, and SAELens' `RELEASE/ID`.

Fetches the few files of one SAE and turns the hub's failures into a ModelError; what is in the files is `foreign`'s.
"""

from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType
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
    overrides: Mapping[str, Any]
    """What goes before the SAE's own SAELens configuration."""
    model: str | None
    """The model's name, as the release says it."""
    recorded: Mapping[str, float]
    """L0 and explained variance, as the release says them; see `core.recorded`."""
    neuronpedia: str | None
    """What Neuronpedia calls it, where it is there."""


class _Named(NamedTuple):
    """What a name stands for; the rest as in `Fetched`."""

    repository: str
    folder: str
    overrides: Mapping[str, Any] = MappingProxyType({})
    model: str | None = None
    recorded: Mapping[str, float] = MappingProxyType({})
    neuronpedia: str | None = None


def fetch(name: str) -> Generator[Progress, None, Fetched]:
    """Download the SAE called `REPO:FOLDER` or `RELEASE/ID`; a generator whose return value is where it is.

    Raises ModelError: no such name, gated, offline, no such folder.
    """
    repository, _, folder = name.partition(":")
    named = _Named(repository, folder) if ":" in name else _released(name)
    repository, folder = named.repository, named.folder.strip("/")
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
    return Fetched(source, f"{repository}:{folder}", *named[2:])


def _released(name: str) -> _Named:
    """What SAELens' list says of `RELEASE/ID`."""
    releases = registry.releases()
    release, _, id_ = name.partition("/")
    if release not in releases:
        raise ModelError(
            f"there is no file or folder {name}, and no release {release!r} in SAELens' list",
            hint=f"name it as REPO:FOLDER; {nearest(release, releases)}",
        )
    found = releases[release]
    ids = registry.saes(found)
    if id_ not in ids:
        raise ModelError(f"release {release} has no SAE {id_!r}", hint=nearest(id_, ids))
    overrides = {**(found.get("config_overrides") or {})}
    overrides |= {k: v for k, v in ids[id_].items() if k == "norm_scaling_factor"}
    one = ids[id_]
    return _Named(
        found["repo_id"], str(one["path"]), overrides, found.get("model"), registry.records(one),
        one.get("neuronpedia"),
    )  # fmt: skip


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
