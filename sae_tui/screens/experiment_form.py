"""The form of an experiment: its rows, what they are filled with at first, and the request they come to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.analysis.given import from_file
from core.errors import UsageError
from core.experiments.requests import (
    BEGINNING,
    DOSED,
    SAMPLED,
    STRENGTHS,
    DoseRequest,
    EffectRequest,
    PairRequest,
    Request,
)
from core.steering.interventions import NAMES, WITHOUT_STRENGTH, Intervention, from_option
from core.steering.places import EVERYWHERE
from core.steering.request import Sampling
from sae_tui.widgets.form import Entry, Row

KINDS = ("dose", "pair", "effect")
ENTRIES = (
    Entry(name="kind", label="experiment", choices=KINDS),
    Entry(name="features", label="features", placeholder="12, or 12 88"),
    Entry(name="dosed", label="edit", choices=DOSED),
    Entry(name="edit", label="edit", choices=tuple(dict.fromkeys(NAMES.values()))),
    Entry(name="strength", label="strength", placeholder="4, 4x or 1max"),
    Entry(name="strengths", label="strengths", placeholder="eight that fit the edit"),
    Entry(name="unit", label="their unit", choices=("max", "p99", "raw")),
    Entry(name="prompt", label="prompt", placeholder="the text to go on from"),
    Entry(name="target", label="target", placeholder="the feature's activation"),
    Entry(name="token", label="a token to follow", placeholder="none"),
    Entry(name="where", label="where", placeholder=EVERYWHERE),
    Entry(name="tokens", label="tokens"),
    Entry(name="seeds", label="seeds"),
    Entry(name="temperature", label="temperature"),
    Entry(name="top_p", label="top-p"),
    Entry(name="top_k", label="top-k"),
    Entry(name="min_p", label="min-p"),
    Entry(name="repetition_penalty", label="repetition penalty"),
    Entry(name="texts", label="texts", placeholder="the 70 that are shipped"),
    Entry(name="seed", label="seed of the control"),
)
OF = {
    "dose": {"features", "dosed", "strengths", "unit", "prompt", "target", "where", "tokens", "seeds", *SAMPLED},
    "pair": {"features", "edit", "strength", "texts"},
    "effect": {"features", "edit", "strength", "token", "texts", "seed"},
}
"""Rows that an experiment has a use for, besides `kind`."""
FIRST = {
    "kind": "dose", "dosed": "add", "edit": "ablate", "unit": "max", "tokens": "30", "seeds": "5", "seed": "0",
    **{name: f"{getattr(BEGINNING, name):g}" for name in SAMPLED},
}  # fmt: skip


def rows(values: Mapping[str, str]) -> list[Row]:
    """The rows, filled with these."""
    return [Row(entry, _fitting(entry, values.get(entry.name, FIRST.get(entry.name, "")))) for entry in ENTRIES]


def _fitting(entry: Entry, value: str) -> str:
    return FIRST[entry.name] if entry.choices and value not in entry.choices else value


def of_steer(edits: tuple[Intervention, ...], at: Intervention | None, prompt: str) -> dict[str, str]:
    """What Steer has for the form: the feature at its cursor, or all where there is none; its edit; the prompt."""
    features = [at.feature] if at else [edit.feature for edit in edits]
    found = {"prompt": prompt, "features": " ".join(map(str, features))}
    if at is not None:
        strength = "" if at.kind in WITHOUT_STRENGTH else at.to_command().split()[2].partition("@")[0]
        found |= {"edit": at.kind, "strength": strength, "where": at.where}
        if at.kind in DOSED:
            found["dosed"] = at.kind
    return {name: value for name, value in found.items() if value}


def wanted(row: Row, values: Mapping[str, str]) -> bool:
    """Whether a row is of use for what is chosen."""
    name, kind = row.entry.name, values["kind"]
    if name == "strength" and values["edit"] in WITHOUT_STRENGTH:
        return False
    if name == "unit" and values["dosed"] == "scale":
        return False
    return name == "kind" or name in OF[kind]


def request(values: Mapping[str, str]) -> Request:
    """What the form asks for; reads the file of texts where one is named. Raises SaeTuiErrors."""
    kind = values["kind"]
    features = _numbers(values["features"], int, "features", "12, or 12 88")
    if kind == "dose":
        return _dose(values, features)
    wanted_n = 2 if kind == "pair" else 1
    if len(features) != wanted_n:
        raise UsageError(f"{kind} takes {wanted_n} feature{'s' * (wanted_n > 1)}, not {len(features)}")
    edits = [_edit(values, feature) for feature in features]
    if kind == "pair":
        return PairRequest(one=edits[0], other=edits[1], texts=_texts(values["texts"]))
    seed = _number(values["seed"], int, "seed")
    return EffectRequest(edit=edits[0], texts=_texts(values["texts"]), target=values["token"] or None, seed=seed)


def _dose(values: Mapping[str, str], features: tuple[int, ...]) -> DoseRequest:
    if not values["prompt"]:
        raise UsageError("a prompt first: what is the model to go on from?")
    edit: Any = values["dosed"]
    unit: Any = values["unit"]
    strengths = _numbers(values["strengths"], float, "strengths", "0.5 1 2 4")
    return DoseRequest(
        prompt=values["prompt"], features=features, strengths=strengths or STRENGTHS[edit], kind=edit, unit=unit,
        target=values["target"] or None, where=values["where"] or EVERYWHERE,
        tokens=_number(values["tokens"], int, "number of tokens"),
        seeds=tuple(range(_number(values["seeds"], int, "number of seeds"))),
        sampling=_sampling(values),
    )  # fmt: skip


def _sampling(values: Mapping[str, str]) -> Sampling:
    beginnings = {name: getattr(BEGINNING, name) for name in SAMPLED}
    return Sampling(
        **{name: _number(values[name], type(one), name.replace("_", "-")) for name, one in beginnings.items()}
    )


def _edit(values: Mapping[str, str], feature: int) -> Intervention:
    kind = values["edit"]
    return from_option(kind, str(feature) if kind in WITHOUT_STRENGTH else f"{feature}={values['strength']}")


def _texts(given: str) -> tuple[str, ...]:
    """A file's, where it names one that there is; else what was typed, as one text; none where nothing was."""
    path = Path(given).expanduser()
    if path.suffix in (".txt", ".jsonl"):
        return tuple(text.text for text in from_file(path))
    return (given,) if given.strip() else ()


def _number(text: str, kind: type[Any], what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{text!r} is no {what}") from None


def _numbers(text: str, kind: type[Any], what: str, example: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"{text!r} are no {what}", hint=f"as in {example}") from None
