"""What an SAE's own files record of it, L0 and explained variance, beside what is measured here. No torch.

A session keeps it in the metadata of `sae/cfg.json`, as `l0` (SAELens' own name) and `explained_variance`. Recorded by

    SAELens              metadata.l0 of cfg.json, or sparsity.safetensors: s_j = log10 of how often feature j fires
    SAELens' releases    l0 and variance_explained, see `core.sae.registry`
    dictionary_learning  l0 and frac_variance_explained of eval_results.json, beside ae.pt
    Gemma Scope          average_l0_N, its folder's name; in Gemma Scope 2 l0 of config.json, what it was trained for

and by nothing in the files of sparsify, or in tensors alone.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.shown import figure
from core.storage import read_json

NAMES = {"l0": "L0", "explained_variance": "explained variance"}
"""As `core.evaluate` calls them, with words for a person."""
FACTOR = 2.0
"""A figure further from its record than this, up or down, is warned of."""
LOWER_BY = 0.2
"""So is an explained variance lower than its record by more than this. Another kind of text alone takes some
hundredths, and so does another definition of it; a hook point or a layer off takes more."""
ADVICE = (
    "it may read another model, layer or hook point than it was trained on, weights processed otherwise, contexts with "
    "or without a BOS, or other text; check model.name, model.hook, model.processing, tokens.prepend_bos and "
    "corpus.name, and import it again with --set"
)


def noted(l0: object = None, explained_variance: object = None) -> dict[str, float]:
    """Those of the two that can be true, by their names: L0 above 0, explained variance above 0 and at most 1.

    SAELens' list has 0 where nobody knows.
    """
    found = {"l0": (l0, math.inf), "explained_variance": (explained_variance, 1.0)}
    return {
        name: float(value)
        for name, (value, most) in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most and value < 1e9
    }


def in_metadata(metadata: Mapping[str, Any]) -> dict[str, float]:
    """What SAELens' metadata, or ours, records."""
    return noted(*(metadata.get(name) for name in NAMES))


def in_place(place: str) -> dict[str, float]:
    """What the name of a Gemma Scope folder records, from its path or `REPO:FOLDER`."""
    found = re.findall(r"average_l0_(\d+)", place)
    return noted(float(found[-1])) if found else {}


def beside(folder: Path) -> dict[str, float]:
    """What dictionary_learning's own evaluation left beside an SAE."""
    found = read_json(folder / "eval_results.json")
    return noted(found.get("l0"), found.get("frac_variance_explained"))


def read(folder: Path) -> dict[str, float]:
    """What is recorded of the SAE in a session's folder `sae/`; empty where nothing is, or it was trained here."""
    metadata = read_json(folder / "cfg.json").get("metadata")
    return in_metadata(metadata) if isinstance(metadata, dict) else {}


def words(figures: Mapping[str, Any]) -> str:
    """Such figures for a person: `L0 71.0, explained variance 0.853`."""
    return ", ".join(f"{word} {figure(figures[name])}" for name, word in NAMES.items() if name in figures)


def compared(recorded: Mapping[str, float], measured: Mapping[str, Any]) -> list[str]:
    """Records beside an evaluation's metrics, in a sentence, and `warning` where there is one; none without records."""
    if not recorded:
        return []
    here = words({name: measured.get(name) for name in recorded})
    told = f"its files record {words(recorded)}; measured here: {here}"
    return [told, *filter(None, [warning(recorded, measured)])]


def warning(recorded: Mapping[str, float], measured: Mapping[str, Any]) -> str:
    """What to say where a metric of an evaluation is too far from its record, see FACTOR and LOWER_BY; else empty."""
    off = []
    for name, record in recorded.items():
        value = measured.get(name)
        if not isinstance(value, int | float):
            continue
        lower = name == "explained_variance" and value < record - LOWER_BY
        if lower or not record / FACTOR <= value <= record * FACTOR:
            off.append(f"{NAMES[name]} is {figure(value)}, and {figure(record)} by its files")
    return f"warning: {'; '.join(off)}: {ADVICE}" if off else ""
