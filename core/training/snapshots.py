"""How features emerge: how often, how strongly and in which direction each one fires, measured during training.

On a fixed sample of S activations, the first that the run trains on, after step t and for each feature j:

    density      n_j / S, with n_j the activations on which z_j > 0
    mean         Σ z_j / n_j; NULL where n_j = 0
    drift        1 − cos(d_j(t), d_j(t′)), d_j the decoder row and t′ the snapshot before; NULL at the first one
    drift_final  1 − cos(d_j(t), d_j(T)), T the last step
    jaccard      |A(t) ∩ A(t′)| / |A(t) ∪ A(t′)|, A the activations on which z_j > 0; NULL at the first one, and where
                 it fired on none at both steps

z and d are those of the SAE as a checkpoint of that step keeps it, which takes raw activations. Both drifts are NULL
where a row is 0, and right to some 1e-5, for rows are kept in half precision. During a training there are in the
session's folder:

    snapshots/sample.safetensors   x [S d_in], float32
    snapshots/<step>.safetensors   density, mean [d_sae], float32 (mean 0 where n_j = 0); rows [d_sae d_in], float16:
                                   d_j / ‖d_j‖; fired [d_sae S/8], uint8: a bit for each activation, 1 where z_j > 0
    snapshots/<step>/              of a small model, as those of images are: the SAE itself, as a checkpoint has it

and at its end `snapshots.parquet`: step, feature, density, mean, drift, drift_final, jaccard; of the rest the SAEs
stay. It is made from the files, so that a training which went on after a stop leaves the bits of one that was never
stopped.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save
from torch import Tensor

from core.sae import files
from core.sae.base import SAE
from core.session import Session
from core.storage import replacing
from core.training import keep

SAMPLE = 4_096
"""Activations measured on, at most: a feature that fires on one in a thousand is missed by 1.7 % of such samples."""
ENTRIES = 2**23
"""Entries of a code held at once: 32 MB in float32."""
ROWS = 4_096
"""Decoder rows compared at once, in float64."""
SCHEMA = pa.schema(
    [("step", pa.int32()), ("feature", pa.int32())]
    + [(name, pa.float32()) for name in ("density", "mean", "drift", "drift_final", "jaccard")]
)


class Snapshots:
    """The snapshots of one training: after its first step, every `every` steps, and after its last."""

    def __init__(
        self, session: Session, device: torch.device, batches: keep.Source, *, every: int, step: int,
        kept_with: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """`step` is where the training goes on from: what was taken after it is removed, for it comes again.

        `kept_with` is what the file of an SAE tells of its run, where the SAEs themselves are kept.
        """
        self._session, self._device, self._batches, self._kept_with = session, device, batches, kept_with
        self._every, self._step, self._taken = every, step, 0
        """The last step seen, and the last one taken."""
        self._sample: Tensor | None = None
        self._unwritten: dict[str, dict[str, Tensor]] = {}
        """Of each file that the disk has not taken yet."""
        self._unsaved: dict[str, SAE] = {}
        """Of each folder."""
        for late in _steps(session):
            if late > step:
                (session.snapshots_dir / f"{late}.safetensors").unlink()
        for late in session.snapshot_steps():
            if late > step:
                shutil.rmtree(session.snapshots_dir / str(late))
        if kept := _steps(session):
            self._taken = kept[-1]
            self._sample = load_file(session.snapshots_dir / "sample.safetensors")["x"].to(device)

    def after(self, step: int, made: Callable[[], SAE]) -> None:
        """Take one of the SAE that `made` gives if it is due. To be called after every step, before its checkpoint."""
        self._step = step
        if self._every and (self._sample is None or step % self._every == 0):
            self._take(made())

    def flush(self) -> None:
        """Write what waits, as no checkpoint may be ahead of its snapshots. Raises OSError where the disk is full."""
        for name, sae in list(self._unsaved.items()):
            files.save(sae, self._session.snapshots_dir / name, self._kept_with or {})
            del self._unsaved[name]
        for name, tensors in list(self._unwritten.items()):
            with replacing(self._session.snapshots_dir / f"{name}.safetensors") as beside:
                beside.write_bytes(save(tensors))
            del self._unwritten[name]

    def finish(self, sae: SAE) -> list[float]:
        """Take the last one and make the table; returns the last densities, none where no snapshots are taken."""
        if not self._every or self._sample is None:
            return []
        if self._taken < self._step:
            self._take(sae)
        self.flush()
        _write_table(self._session)
        return load_file(self._session.snapshots_dir / f"{self._step}.safetensors")["density"].tolist()

    def forget(self) -> None:
        """Remove what the table was made from, but for the SAEs."""
        kept = [str(step) for step in self._session.snapshot_steps()]
        if not kept:
            shutil.rmtree(self._session.snapshots_dir, ignore_errors=True)
            return
        for path in self._session.snapshots_dir.iterdir():
            if path.is_file():
                path.unlink()
            elif path.name not in kept:  # left half written by a process that was killed
                shutil.rmtree(path, ignore_errors=True)

    def _take(self, sae: SAE) -> None:
        if self._sample is None:
            self._sample = _leaving(self._batches)
            self._unwritten["sample"] = {"x": self._sample.cpu()}
        if self._kept_with is not None:
            self._unsaved[str(self._step)] = sae
        self._unwritten[str(self._step)] = measured(sae.to(self._device), self._sample)
        self._taken = self._step
        with contextlib.suppress(OSError):  # tried again before the next checkpoint, which then says it
            self.flush()


@torch.no_grad()
def measured(sae: SAE, x: Float[Tensor, "n d_in"]) -> dict[str, Tensor]:
    """What a snapshot holds of `sae`, on the activations `x`."""
    n = torch.zeros(sae.d_sae, dtype=torch.long, device=x.device)
    total = torch.zeros(sae.d_sae, dtype=torch.float64, device=x.device)
    fired = []
    for part in x.split(max(8, ENTRIES // sae.d_sae // 8 * 8)):  # whole bytes of bits
        code = sae.encode_sparse(part)
        active = torch.zeros(sae.d_sae, len(part), dtype=torch.bool, device=x.device)
        active[code.feature, code.row] = True
        fired.append(np.packbits(active.cpu().numpy(), axis=1))
        n += code.feature.bincount(minlength=sae.d_sae)
        total += code.feature.bincount(code.value.double(), minlength=sae.d_sae)
    rows = sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return {
        "density": (n / len(x)).cpu(),
        "mean": (total / n.clamp_min(1)).float().cpu(),
        "rows": rows.half().cpu(),
        "fired": torch.from_numpy(np.concatenate(fired, axis=1)),
    }


def drift(one: Float[Tensor, "d_sae d_in"], other: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, " d_sae"]:
    """`1 − cos` of each two rows; NaN where one is 0."""
    found = []
    for a, b in zip(one.split(ROWS), other.split(ROWS), strict=True):
        a, b = a.double(), b.double()
        norms = ((a * a).sum(dim=1) * (b * b).sum(dim=1)).sqrt()  # in this order a row's drift from itself is 0
        found.append((1 - (a * b).sum(dim=1) / norms).clamp_min(0))
    return torch.cat(found).float()


def jaccard(one: UInt8[Tensor, "d_sae bytes"], other: UInt8[Tensor, "d_sae bytes"]) -> Float[Tensor, " d_sae"]:
    """`|A ∩ B| / |A ∪ B|` of each two rows of bits; NaN where neither has any."""
    a, b = one.numpy(), other.numpy()
    both, either = (np.bitwise_count(bits).sum(axis=1, dtype=np.float32) for bits in (a & b, a | b))
    return torch.from_numpy(np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0))


def _leaving(batches: keep.Source) -> Float[Tensor, "n d_in"]:
    """The first SAMPLE rows, or fewer, of those that leave the buffer in random order just now: the batch at hand among
    them, but for a training that goes on from another's checkpoint.
    """
    state = batches.state()
    return state["rows"][state["order"][: min(SAMPLE, state["leaving"])]].float()


def _steps(session: Session) -> list[int]:
    """The steps of the snapshots on disk, oldest first."""
    return sorted(int(p.stem) for p in session.snapshots_dir.glob("*.safetensors") if p.stem.isdigit())


def _write_table(session: Session) -> None:
    """`snapshots.parquet` from the files, one row group a step."""
    steps = _steps(session)
    with replacing(session.snapshots_path) as beside, pq.ParquetWriter(beside, SCHEMA) as writer:
        for group in _groups(session, steps):
            writer.write_table(group)


def _groups(session: Session, steps: list[int]) -> Iterator[pa.Table]:
    def read(step: int) -> dict[str, Tensor]:
        return load_file(session.snapshots_dir / f"{step}.safetensors")

    last = read(steps[-1])["rows"]
    earlier: dict[str, Tensor] | None = None
    for step in steps:
        found = read(step)
        d_sae = len(found["rows"])
        unknown = torch.full((d_sae,), torch.nan)
        columns = {
            "step": torch.full((d_sae,), step, dtype=torch.int32),
            "feature": torch.arange(d_sae, dtype=torch.int32),
            "density": found["density"],
            "mean": torch.where(found["density"] > 0, found["mean"], torch.nan),
            "drift": unknown if earlier is None else drift(found["rows"], earlier["rows"]),
            "drift_final": drift(found["rows"], last),
            "jaccard": unknown if earlier is None else jaccard(found["fired"], earlier["fired"]),
        }
        yield pa.table([pa.array(column.numpy(), from_pandas=True) for column in columns.values()], schema=SCHEMA)
        earlier = found
