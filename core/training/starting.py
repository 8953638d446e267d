"""Weights that a training begins with: those of another SAE (`training.init_from`), and the decoder's bias."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.config import RunConfig
from core.errors import ConfigError
from core.sae import files
from core.sae.base import SAE, UnitDecoder
from core.session import NAME, Session
from core.training.inputs import Inputs

TRAINED_AS = {"standard": "relu"}
"""Our names of SAELens' architectures, where they are others."""


def read(config: RunConfig, root: Path) -> SAE | None:
    """The SAE that the training is to begin with; None where it begins with random weights.

    A session's name in `root` is looked for before a folder. Raises ConfigError where there is neither, and where it is
    of another architecture than the configuration's or does another thing with the decoder's bias; ModelError where its
    files cannot be read.
    """
    given = config.training.init_from
    if not given:
        return None
    session = Session(root / given) if NAME.fullmatch(given) else Session(Path(given).expanduser())
    folder = session.weights_dir() if session.config_path.is_file() else Path(given).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"training.init_from: there is no session and no folder {given!r}",
            hint="name a session, or a folder that holds cfg.json and sae_weights.safetensors",
        )
    metadata = files.read_config(folder)["metadata"]
    start = files.load(folder)
    trained_as = metadata.get("training_architecture") or TRAINED_AS.get(start.architecture, start.architecture)
    if trained_as != config.sae.architecture:
        raise ConfigError(
            f"training.init_from: {given} is a {trained_as} SAE, and sae.architecture is {config.sae.architecture}",
            hint=f"set sae.architecture = {trained_as}, or begin with another",
        )
    if start.apply_b_dec_to_input != config.sae.apply_b_dec_to_input:
        raise ConfigError(
            f"training.init_from: {given} has sae.apply_b_dec_to_input = {str(start.apply_b_dec_to_input).lower()}",
            hint="set it so, or begin with another",
        )
    return start


def require_fit(start: SAE, sae: SAE, given: str) -> None:
    """Raises ConfigError where the SAE to begin with has other sizes than the one to train."""
    if (start.d_in, start.d_sae) != (sae.d_in, sae.d_sae):
        raise ConfigError(
            f"training.init_from: {given} is {start.d_in} -> {start.d_sae} features, the run {sae.d_in} -> {sae.d_sae}",
            hint=f"set sae.d_sae = {start.d_sae}" if start.d_in == sae.d_in else "they are of other activations",
        )


@torch.no_grad()
def take(sae: SAE, start: SAE, inputs: Inputs) -> None:
    """Give `sae`, which is trained on activations as `inputs` makes them, the weights of `start`, which takes raw ones.

    It reconstructs what `inputs` makes of x as what `inputs` makes of `start`'s reconstruction of x. A threshold for
    all features is that of the first: on disk all are the same.
    """
    for name in sae.names:
        ours, theirs = getattr(sae, name), getattr(start, name)
        ours.copy_(theirs[0] if ours.ndim < theirs.ndim else theirs)
    inputs.unfold(sae)
    if isinstance(sae, UnitDecoder):  # whose every step would set the norms to 1, and with them change what it does
        sae.fold_decoder_norms()


MEDIAN_STEPS = 100


def b_dec(kind: str, x: Float[Tensor, "n d_in"]) -> Float[Tensor, " d_in"]:
    """What the decoder's bias begins with: 0, the mean, or the geometric median of a sample.

    The median minimises `Σ_i ‖x_i − m‖`, by Weiszfeld's `m ← Σ x_i w_i / Σ w_i`, `w_i = 1 / ‖x_i − m‖`, from the mean
    until it moves less than 1e-6 of the mean distance, at most 100 times.
    """
    if kind == "zero":
        return torch.zeros_like(x[0])
    mean = x.mean(dim=0)
    if kind == "mean":
        return mean
    median = mean.double()
    for _ in range(MEDIAN_STEPS):
        distance = (x - median).norm(dim=1).clamp_min(1e-12)
        before, median = median, (x / distance.unsqueeze(1)).sum(dim=0) / (1 / distance).sum()
        if float((median - before).norm()) < 1e-6 * float(distance.mean()):
            break
    return median.float()
