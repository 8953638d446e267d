"""Which runs answer a study together: those that differ in architecture and sparsity alone.

A study is its sessions and nothing besides, so their configurations tell, as their files have them.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from core.architectures import SPARSITY, aim

DECIDE = {"architecture", "target_l0", *(field for _, field in SPARSITY.values())}
"""What of `[sae]` may differ."""


def together(name: str, configs: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The runs of a study that `name` is one of, and what they answer: `activation`, `fidelity`, both or nothing.

    `configs` are unchecked, by the runs' names, that of `name` among them.
    """
    if str(_sae(configs[name]).get("architecture")) not in SPARSITY:
        return [name], []
    rest = _rest(configs[name])
    members = [one for one, values in configs.items() if _rest(values) == rest]
    found: defaultdict[str, set[Any]] = defaultdict(set)
    for one in members:
        sae = _sae(configs[one])
        found[str(sae.get("architecture"))].add(_sparsity(sae))
    questions = ["activation"] if len(found) > 1 else []
    return members, questions + (["fidelity"] if any(len(counts) > 1 for counts in found.values()) else [])


def _rest(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration without what may differ."""
    return {**values, "sae": {name: value for name, value in _sae(values).items() if name not in DECIDE}}


def _sae(values: Mapping[str, Any]) -> Mapping[str, Any]:
    sae = values.get("sae")
    return sae if isinstance(sae, Mapping) else {}


def _sparsity(sae: Mapping[str, Any]) -> str:
    """What sets the number of active features: that number, or the weight of a penalty."""
    _, field = SPARSITY.get(str(sae.get("architecture")), ("", ""))
    wanted = aim(sae)
    return f"{field} {sae.get(field)}" if wanted is None else str(wanted)
