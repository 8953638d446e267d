"""The lines people type to steer: what `/amplify 12 4` or `/seed 3` asks for, and what a line may go on with.

Owns the commands' names, their arguments and their help. Knows no feature database: which features there are to
complete is the asker's to look up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError, nearest
from core.steering.interventions import MODES, NAMES, GenerationRequest, Intervention, checked_where, from_command

_VALUES = (("1max", "the strongest it was seen"), ("1x", "its 99th percentile"), ("8", "in units of the code"))
WORDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "scale": (("2", "twice as strong"), ("4", "four times as strong"), ("-1", "turned around")),
    "set": _VALUES,
    "add": (("0.5max", "half the strongest it was seen"), *_VALUES),
    "where": (
        ("everywhere", "every position"),
        ("prompt", "what you typed"),
        ("generated", "what the model writes"),
        ("from:", "from token N on: from:12"),
    ),
    "mode": tuple(zip(MODES, ("the SAE's error stays", "what the SAE loses is lost"), strict=True)),
}
"""What may stand for an argument, or for the strength of a kind of intervention, with what it means."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    arguments: tuple[str, ...]
    """What follows its name: `feature`, `strength`, `where`, `mode` or `number`."""
    help: str

    def usage(self, name: str) -> str:
        """How it is written: `/add FEATURE STRENGTH`."""
        return " ".join([f"/{name}", *(argument.upper() for argument in self.arguments)])


@dataclass(frozen=True, slots=True)
class Setting:
    """A command that sets `name` to `value`; one without arguments has the value None."""

    name: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that a line may go on with."""

    word: str
    note: str


@dataclass(frozen=True, slots=True)
class Completion:
    """How a line may go on."""

    begin: int
    """Where in the line the word begins that is being typed."""
    word: str
    """As far as it was typed."""
    candidates: tuple[Candidate, ...]
    feature: bool = False
    """A feature is wanted here: by number, label or token."""


COMMANDS: Mapping[str, Command] = {
    "amplify": Command(("feature", "strength"), "multiply the feature where it fires"),
    "ablate": Command(("feature",), "set the feature to 0"),
    "add": Command(("feature", "strength"), "add to the feature, also where it is silent"),
    "set": Command(("feature", "strength"), "hold the feature at a value"),
    "scale": Command(("feature", "strength"), "the same as /amplify"),
    "clear": Command((), "take all interventions away"),
    "seed": Command(("number",), "of the one random draw both texts share"),
    "temperature": Command(("number",), "0: the likeliest token, always"),
    "tokens": Command(("number",), "how many tokens to generate"),
    "where": Command(("where",), "where interventions hold"),
    "mode": Command(("mode",), "keep the SAE's error, or replace by the reconstruction"),
}
assert set(NAMES) < set(COMMANDS)


def parsed(line: str, *, where: str = "everywhere") -> Intervention | Setting:
    """What a line asks for. Raises UsageError, with the nearest name for one that there is not."""
    head, *words = line.split() or [""]
    name = head.removeprefix("/")
    if not head.startswith("/") or not name:
        raise UsageError(f"{line!r} is no command", hint="commands begin with /, as in /amplify 12 4")
    if name in NAMES:
        return from_command(line, where=where)
    if name not in COMMANDS:
        raise UsageError(f"there is no command {head!r}", hint=nearest(name, COMMANDS))
    command = COMMANDS[name]
    if len(words) != len(command.arguments):
        raise UsageError(f"{head} takes {len(command.arguments) or 'nothing'}, not {line!r}", hint=command.usage(name))
    return Setting(name, _value(name, words[0]) if words else None)


def completion(line: str) -> Completion:
    """How a line, typed this far, may go on."""
    *before, word = line.split(" ")
    begin = len(line) - len(word)
    words = [w for w in before if w]
    if not words:
        wanted = word.removeprefix("/").lower()
        names = [n for n in COMMANDS if n.startswith(wanted)] or [n for n in COMMANDS if wanted in n]
        return Completion(begin, word, tuple(Candidate(f"/{n}", COMMANDS[n].help) for n in names))
    name = words[0].removeprefix("/")
    command = COMMANDS.get(name)
    if command is None or len(words) > len(command.arguments):
        return Completion(begin, word, ())
    argument = command.arguments[len(words) - 1]
    known = WORDS.get(NAMES.get(name, "") if argument == "strength" else argument, ())
    candidates = tuple(Candidate(w, note) for w, note in known if w.startswith(word))
    return Completion(begin, word, candidates, feature=argument == "feature")


def _value(name: str, word: str) -> Any:
    """A setting's value. Raises UsageError."""
    if name == "where":
        return checked_where(word)
    try:
        value: Any = word if name == "mode" else float(word) if name == "temperature" else int(word)
    except ValueError:
        raise UsageError(f"{word!r} is no {name}", hint=COMMANDS[name].usage(name)) from None
    GenerationRequest(prompt="", **{name: value})  # it says what is wrong
    return value
