"""Rows of Hugging Face data sets, on the hub or saved in a folder.

Alone imports `datasets`, when first asked, and makes of its many failures a CorpusError that says what to do.
Knows nothing of what a row's columns mean to a corpus, beyond which of them are read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import CorpusError, nearest
from core.options import CorpusConfig

Row = tuple[str, dict[str, Any]]
"""Where a row is, as `NAME[NUMBER]`, and its values by column."""


def saved_rows(path: Path, config: CorpusConfig) -> Iterator[Row]:
    """The rows in a folder of `save_to_disk`; `config.split` picks one of several. Raises CorpusError."""
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:
        raise CorpusError(f"{config.name} cannot be read as a saved data set", hint=_line(error)) from error
    if isinstance(dataset, dict):
        if config.split not in dataset:
            hint = f"set corpus.split; {nearest(config.split, map(str, dataset))}"
            raise CorpusError(f"{config.name} has no split {config.split!r}", hint=hint)
        dataset = dataset[config.split]
    yield from _rows(dataset, config)


def hub_rows(config: CorpusConfig) -> Iterator[Row]:
    """The rows of one split of a data set on the hub. Raises CorpusError, midway too if the network fails."""
    import datasets

    try:
        dataset = datasets.load_dataset(
            config.name, config.subset or None, split=config.split, streaming=config.streaming,
            revision=config.revision or None,
        )  # fmt: skip
        yield from _rows(dataset, config)
    except Exception as error:
        raise _explained(error, config.name) from error


def image_rows(config: CorpusConfig, *, local: Path | None) -> list[Iterator[tuple[Any, Any]]]:
    """Image and label of each row: of the train split, then of the test split where there is one. Raises CorpusError.

    `local` is a folder: of `save_to_disk`, or with a data set's files as the hub has them.
    """
    import datasets

    name = config.name
    try:
        if local is not None and any((local / f).is_file() for f in ("dataset_info.json", "dataset_dict.json")):
            found: Any = datasets.load_from_disk(str(local))
        else:
            revision = None if local else config.revision or None
            found = datasets.load_dataset(str(local or name), config.subset or None, revision=revision)
    except Exception as error:
        raise _explained(error, name) from error
    parts = {"train": found} if not isinstance(found, dict) else found
    if "train" not in parts:
        raise CorpusError(f"{name} has no split 'train'", hint=f"it has {', '.join(map(str, parts))}")
    for part in parts.values():
        if not {"image", "label"} <= set(part.column_names):
            raise CorpusError(
                f"{name} has the columns {', '.join(part.column_names)}",
                hint="images are read from `image` and `label`",
            )
    return [_image_rows(parts[split], name) for split in ("train", "test") if split in parts]


def _image_rows(dataset: Any, name: str) -> Iterator[tuple[Any, Any]]:
    try:
        for row in dataset.select_columns(["image", "label"]):
            yield row["image"], row["label"]
    except Exception as error:  # an image's own format raises anything
        raise CorpusError(f"an image of {name} cannot be read", hint=_line(error)) from error


def _rows(dataset: Any, config: CorpusConfig) -> Iterator[Row]:
    category = config.category_column or "category"
    columns = dataset.column_names or []
    if {config.text_column, config.category_column or config.text_column} <= set(columns):
        # decode no image or sound that stands beside the text
        read = dict.fromkeys((config.text_column, category, "source"))
        dataset = dataset.select_columns([c for c in read if c in columns])
    names = getattr((dataset.features or {}).get(category), "names", None)
    for number, row in enumerate(dataset):
        if names is not None and (label := row[category]) is not None:
            row[category] = names[label] if label >= 0 else None
        yield f"{config.name}[{number}]", row


def _explained(error: Exception, name: str) -> CorpusError:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403) or isinstance(error.__cause__, GatedRepoError):
        return CorpusError(
            f"data set {name!r} asks for a licence or a login",
            hint=f"accept it at https://huggingface.co/datasets/{name}, then `hf auth login` or set HF_TOKEN",
        )
    if isinstance(error, DatasetNotFoundError):
        return CorpusError(
            f"there is no data set {name!r} on the hub, nor such a file",
            hint="look at https://huggingface.co/datasets, log in to a private one, or name a local path",
        )
    if isinstance(error, ConnectionError | TimeoutError):
        return CorpusError(
            f"data set {name!r} cannot be fetched, the hub is out of reach",
            hint="check the network and HF_HUB_OFFLINE, or name a local path",
        )
    if isinstance(error, ValueError):
        hint = "set corpus.split and corpus.subset to what it has"
        return CorpusError(f"data set {name!r} cannot be read ({_line(error)})", hint=hint)
    return CorpusError(f"data set {name!r} cannot be read", hint=_line(error))


def _line(error: Exception) -> str:
    """An error's message on one line, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
