"""A checkpoint: everything a training needs to go on, in a folder that appears whole or not at all.

    checkpoints/<step>/   cfg.json, sae_weights.safetensors      the SAE as it would be used, in SAELens' layout
                          training.safetensors, training.json    what the training goes on from, tensors and the rest
                          data-1.safetensors, …                  what other processes of the training read, if any

A state is a flat mapping from names to tensors and to what JSON holds; its parts belong to who gave them: `run` to
`loop`, `data` to `data`. Nothing is pickled. Knows the files, nothing of what is in a state.
"""

import contextlib
import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import RunError, SessionError
from core.options import WHOLE_CHECKPOINTS
from core.sae import files
from core.sae.base import SAE
from core.session import TRAINING_NAME, Session
from core.storage import replacing

FORMAT = 2
"""Raised whenever one version could not go on from what another has written."""
TENSORS_NAME = "training.safetensors"
PARTS_DIR = ".parts"
"""Where other processes leave what belongs into the checkpoint that the first is about to write."""
LIBRARIES = ("sae-tui", "torch", "transformers", "transformer-lens", "tokenizers")
"""Packages whose versions the bits of a training depend on."""

State = dict[str, Any]


class Checkpoint(NamedTuple):
    """A checkpoint as read."""

    step: int
    parts: dict[str, State]
    made_with: dict[str, str]
    """As `surroundings` were when it was written."""


def save(
    session: Session, step: int, sae: SAE, parts: dict[str, State], metadata: dict[str, Any], *,
    keep: int = WHOLE_CHECKPOINTS,
) -> None:  # fmt: skip
    """Write the checkpoint of `step`; of those older than the last WHOLE_CHECKPOINTS only the weights stay, of `keep`.

    `sae` takes raw activations; `metadata` is as `files.save` takes it. Raises OSError, and leaves the
    older checkpoints as they are, where it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, State] = {}
    for part, state in parts.items():
        tensors |= {f"{part}/{name}": value for name, value in state.items() if isinstance(value, Tensor)}
        values[part] = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    waiting = session.checkpoints_dir / PARTS_DIR
    with _as_os_error(), replacing(session.checkpoints_dir / str(step)) as beside:
        beside.mkdir()
        files.write(sae, beside, metadata)
        save_file(_on_cpu(tensors), beside / TENSORS_NAME)
        whole = {"format": FORMAT, "made_with": surroundings(), "parts": values}
        (beside / TRAINING_NAME).write_text(json.dumps(whole, indent=1), encoding="utf-8")
        for rank in range(1, _world(parts)):
            (waiting / _data_name(rank)).replace(beside / _data_name(rank))
    shutil.rmtree(waiting, ignore_errors=True)
    forget(session, session.checkpoint_steps()[keep:])
    forget_states(session, keep=WHOLE_CHECKPOINTS)


def save_data(session: Session, rank: int, state: State) -> None:
    """Write the data of another process than the first, for the checkpoint that comes next. Raises OSError."""
    folder = session.checkpoints_dir / PARTS_DIR
    folder.mkdir(parents=True, exist_ok=True)
    values = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    with _as_os_error():
        save_file(_on_cpu(tensors), folder / _data_name(rank), metadata={"values": json.dumps(values)})


def load(
    session: Session, device: torch.device | str = "cpu", rank: int = 0
) -> tuple[Checkpoint | None, list[int]]:  # fmt: skip
    """The newest checkpoint a training can go on from, tensors on `device`, and the steps of newer ones that are torn.

    Its `data` is that of the process `rank`, where the checkpoint was written by so many.

    None where there is none. Raises SessionError where another version of this program wrote it, in another format;
    RunError where every one is torn.
    """
    torn: list[int] = []
    for step in session.checkpoint_steps():
        folder = session.checkpoints_dir / str(step)
        if not (folder / TRAINING_NAME).is_file():
            continue
        try:
            return _read(folder, step, device, rank), torn
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            torn.append(step)
    if torn:
        raise RunError(
            f"no checkpoint of session {session.name!r} can be read",
            hint=f"look into {session.checkpoints_dir}; `sae-tui clone {session.name}` begins the same run anew",
        )
    return None, torn


def _read(folder: Path, step: int, device: torch.device | str, rank: int = 0) -> Checkpoint:
    whole = json.loads((folder / TRAINING_NAME).read_text(encoding="utf-8"))
    if whole["format"] != FORMAT:
        other = "a newer" if whole["format"] > FORMAT else "an older"
        raise SessionError(
            f"{folder} was written by {other} sae-tui ({whole['made_with']['sae-tui']})",
            hint="go on with that one, or clone the session to begin the same run anew",
        )
    parts: dict[str, State] = {part: dict(values) for part, values in whole["parts"].items()}
    for name, tensor in load_file(folder / TENSORS_NAME, device=str(device)).items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    for other in range(1, _world(parts)):
        with safe_open(folder / _data_name(other), "pt", device=str(device)) as file:  # a torn one does not open
            if other == rank:
                values = json.loads(file.metadata()["values"])
                parts["data"] = {**values, **{name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    return Checkpoint(step=step, parts=parts, made_with=whole["made_with"])


def forget_states(session: Session, *, keep: int) -> None:
    """Keep only the weights of all but the `keep` newest checkpoints: the rest is most of their size."""
    for step in session.checkpoint_steps()[keep:]:
        folder = session.checkpoints_dir / str(step)
        for path in (folder / TRAINING_NAME, folder / TENSORS_NAME, *folder.glob(_data_name("*"))):
            path.unlink(missing_ok=True)


def forget(session: Session, steps: list[int]) -> None:
    """Remove checkpoints."""
    for step in steps:
        shutil.rmtree(session.checkpoints_dir / str(step), ignore_errors=True)


def _data_name(rank: int | str) -> str:
    return f"data-{rank}.safetensors"


def _world(parts: dict[str, State]) -> int:
    """How many processes the training has of which these are the parts."""
    return parts.get("ranks", {}).get("world", 1)


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:  # what the system said is in its text
        full = "No space left" in str(error)
        raise (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if full else OSError(str(error))) from error


def surroundings() -> dict[str, str]:
    """What the same bits depend on besides the configuration: versions, machine, threads."""
    return {
        **{name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.node()} ({platform.machine()}, {os.cpu_count()} cores)",
        "threads": str(torch.get_num_threads()),
    }


def differences(made_with: dict[str, str]) -> str:
    """What is not as it was when a checkpoint was written, as `torch 2.1 -> 2.2, …`; empty where all is."""
    now = surroundings()
    return ", ".join(f"{k} {made_with.get(k, 'none')} -> {now[k]}" for k in now if made_with.get(k) != now[k])
