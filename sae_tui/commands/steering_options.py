"""Options that several verbs have: what is done to features, and how tokens are chosen."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from core.steering.commands import COMMANDS
from core.steering.request import SAMPLING, Sampling

EDITS = (
    (("--ablate",), "ID", "set the feature to 0"),
    (("--mean-ablate",), "ID", "set the feature to its mean over all tokens of the analysis"),
    (("--scale", "--amplify"), "ID=M", "multiply the feature by M"),
    (("--set",), "ID=V", "set the feature to V: a number, or 4x (times its p99), or 2max"),
    (("--add",), "ID=V", "add V to the feature; the same units"),
    (("--cap",), "ID=V", "let the feature be no more than V; the same units"),
)


def add_edits(options: "argparse._ActionsContainer") -> None:
    """Declare the interventions: `edits` are what `from_option` takes, in the order they were given."""
    for names, metavar, words in EDITS:
        kind = names[0].strip("-")
        options.add_argument(
            *names, dest="edits", action="append", default=[], type=lambda text, kind=kind: (kind, text),
            metavar=metavar, help=words,
        )  # fmt: skip


def add_sampling(options: "argparse._ActionsContainer", base: Sampling, names: Iterable[str] = SAMPLING) -> None:
    """Declare these of the values of a Sampling; `base` has what holds where one is not given."""
    for name in names:
        option, default = name.replace("_", "-"), getattr(base, name)
        options.add_argument(
            f"--{option}", type=type(default), metavar="N", help=f"{COMMANDS[option].help} ({default:g})"
        )


def sampling_of(given: dict[str, Any], base: Sampling) -> Sampling:
    """`base` with the values that are given; takes them out of `given`."""
    return replace(base, **{name: given.pop(name) for name in SAMPLING if name in given})
