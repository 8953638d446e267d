"""The lines people type to steer: what `/amplify 12 4` or `/seed 3` asks for, and what a line may go on with.

Owns the commands' names, their arguments and their help. Knows no feature database and no recipes: which features and
which recipes there are to complete is the asker's to look up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError, nearest
from core.steering.interventions import AT, MODES, NAMES, Intervention, from_command
from core.steering.places import IN_IMAGES, checked_where
from core.steering.request import SAMPLING, GenerationRequest, Sampling

Words = tuple[tuple[str, str], ...]
_VALUES: Words = (("1max", "the strongest it was seen"), ("1x", "its 99th percentile"), ("8", "in units of the code"))
WORDS: Mapping[str, Words] = {
    "scale": (("2", "twice as strong"), ("4", "four times as strong"), ("-1", "turned around")),
    "set": _VALUES,
    "add": (("0.5max", "half the strongest it was seen"), *_VALUES),
    "cap": (("0.5max", "half the strongest it was seen"), *_VALUES),
    "where": (
        ("everywhere", "every position"),
        ("prompt", "what you typed"),
        ("generated", "what the model writes"),
        ("from:", "from token N on: from:12"),
        ("until:", "before token N: until:12"),
        ("firing", "where the feature itself fires"),
        ("while:", "where feature F is above V: while:88>0.5"),
        ("role:user", "in the user's turns of a chat"),
        ("role:assistant", "in the assistant's, and what the model writes"),
        ("role:system", "in the system prompt of a chat"),
    ),
    "mode": tuple(zip(MODES, ("the SAE's error stays", "what the SAE loses is lost"), strict=True)),
    "chat": (("on", "the prompt is what a user says, in the model's chat template"), ("off", "the prompt as it is")),
    "temperature": (("0", "the likeliest token, always"), ("0.7", "less random"), ("1", "as the model has it")),
    "top-p": (("1", "all tokens"), ("0.9", "the likeliest that have 90% of the probability")),
    "top-k": (("0", "all tokens"), ("40", "the 40 likeliest")),
    "min-p": (("0", "all tokens"), ("0.05", "those a twentieth as likely as the likeliest")),
    "repetition-penalty": (("1", "none"), ("1.1", "a little against repeating")),
    "seed": (("0", "the first"), ("1", "another draw")),
    "tokens": (("60", "a paragraph"), ("200", "a page")),
    "rewind": (("1", "the last token"), ("10", "the last ten")),
    "image": (("0", "the first of the data set"),),
    "label": tuple((str(label), f"a {label}") for label in range(10)),
}
"""What may stand for an argument, or for the strength of a kind of intervention, with what it means."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    arguments: tuple[str, ...]
    """What follows its name: `feature`, `strength`, `where`, `mode`, `switch`, `number`, `name`, or the rest of the
    line: `words`, and `text`, which may be empty. Before a `where` a feature may stand."""
    help: str

    def usage(self, name: str) -> str:
        """How it is written: `/add FEATURE STRENGTH`."""
        shown = {"where": "[FEATURE] PLACE", "switch": "on|off"}
        return " ".join([f"/{name}", *(shown.get(a, a.upper()) for a in self.arguments)])


@dataclass(frozen=True, slots=True)
class Setting:
    """A command that sets `name`, a field of a request or `where`, to `value`."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Placed:
    """Another place for the intervention of one feature."""

    feature: int
    where: str


@dataclass(frozen=True, slots=True)
class Action:
    """A command that does something: `name` is its own, `value` what it is given; None where nothing."""

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
    recipe: bool = False
    """A recipe's name is wanted here."""


COMMANDS: Mapping[str, Command] = {
    "amplify": Command(("feature", "strength"), "multiply the feature where it fires"),
    "ablate": Command(("feature",), "set the feature to 0"),
    "add": Command(("feature", "strength"), "add to the feature, also where it is silent"),
    "set": Command(("feature", "strength"), "hold the feature at a value"),
    "cap": Command(("feature", "strength"), "let the feature be no more than a value"),
    "mean-ablate": Command(("feature",), "hold the feature at its mean over the analysis"),
    "scale": Command(("feature", "strength"), "the same as /amplify"),
    "where": Command(("where",), "where interventions hold: all, or that of one feature"),
    "clear": Command((), "take all interventions away"),
    "undo": Command((), "take the last change back"),
    "redo": Command((), "bring back what was undone"),
    "find": Command(("words",), "look for a feature by label or token"),
    "rewind": Command(("number",), "take the last so many tokens back"),
    "fork": Command((), "begin another branch here"),
    "temperature": Command(("number",), "0: the likeliest token, always"),
    "top-p": Command(("number",), "only the likeliest tokens with this share of the probability"),
    "top-k": Command(("number",), "only the so many likeliest tokens; 0: all"),
    "min-p": Command(("number",), "only tokens at least this share as likely as the likeliest"),
    "repetition-penalty": Command(("number",), "above 1: what is there already is made less likely"),
    "seed": Command(("number",), "of the one random draw both texts share"),
    "tokens": Command(("number",), "how many tokens to generate"),
    "mode": Command(("mode",), "keep the SAE's error, or replace by the reconstruction"),
    "chat": Command(("switch",), "put the prompt into the model's chat template"),
    "system": Command(("text",), "the system prompt of a chat; without text: none"),
    "recipe": Command(("name",), "take a recipe's interventions and settings"),
    "save": Command(("name",), "save interventions, prompt and settings as a recipe"),
    "image": Command(("number",), "to the image of this number"),
    "label": Command(("number",), "to the next image of this label"),
}
ACTIONS = ("clear", "undo", "redo", "find", "rewind", "fork", "recipe", "save", "image", "label")
OF_IMAGES = ("image", "label")
"""Commands that are for images alone."""
OF_TEXT = ("rewind", "fork", *(n.replace("_", "-") for n in SAMPLING), "tokens", "chat", "system")
"""Those that are for text alone."""
TAKES = {"number": "a number", "mode": "a mode", "switch": "on or off", "name": "a name", "words": "words"}
SETTINGS = tuple(name.replace("-", "_") for name in COMMANDS if name not in NAMES and name not in ACTIONS)
"""The names that a Setting may have."""
assert set(NAMES) < set(COMMANDS)


def commands_for(*, images: bool) -> dict[str, Command]:
    """The commands there are for images, or for text."""
    return {name: command for name, command in COMMANDS.items() if name not in (OF_TEXT if images else OF_IMAGES)}


def parsed(
    line: str, *, where: str = "everywhere", images: bool = False
) -> Intervention | Setting | Placed | Action:  # fmt: skip
    """What a line asks for; `where` is the place of an intervention that names none, `images`: no text is steered.

    Raises UsageError, with the nearest name for one that there is not.
    """
    head, *words = line.split() or [""]
    name = head.removeprefix("/")
    if not head.startswith("/") or not name:
        raise UsageError(f"{line!r} is no command", hint="commands begin with /, as in /amplify 12 4")
    if name in NAMES:
        return from_command(line, where=where)
    if name not in COMMANDS:
        raise UsageError(f"there is no command {head!r}", hint=nearest(name, commands_for(images=images)))
    if name not in commands_for(images=images):
        other, kind = ("text", "images") if images else ("images", "text")
        raise UsageError(f"{head} is for {other}", hint=f"the model of this session reads {kind}")
    if name == "where":
        return _place(words)
    command = COMMANDS[name]
    if command.arguments in (("text",), ("words",)):
        words = line.split(maxsplit=1)[1:] or ([""] if command.arguments == ("text",) else [])
    if len(words) != len(command.arguments):
        takes = "".join(TAKES[argument] for argument in command.arguments) or "nothing"
        raise UsageError(f"{head} takes {takes}, not {line!r}", hint=command.usage(name))
    value = _value(name, words[0].strip()) if words else None
    return Action(name, value) if name in ACTIONS else Setting(name.replace("-", "_"), value)


def checked_setting(name: str, value: Any) -> Any:
    """`value`, if the setting of that name may have it. Raises UsageError."""
    if name == "where" and isinstance(value, str):
        return checked_where(value)
    if name in SAMPLING:
        return getattr(Sampling(**{name: value}), name)
    if (name == "chat" and isinstance(value, bool)) or (name == "system" and isinstance(value, str)):
        return value
    if name in ("tokens", "mode"):
        return getattr(GenerationRequest(prompt="", **{name: value}), name)
    raise UsageError(f"{value!r} is no {name}")


def completion(line: str, *, images: bool = False) -> Completion:
    """How a line, typed this far, may go on; `images`: no text is steered."""
    commands = commands_for(images=images)
    *before, word = line.split(" ")
    begin = len(line) - len(word)
    words = [w for w in before if w]
    if not words:
        wanted = word.removeprefix("/").lower()
        names = [n for n in commands if n.startswith(wanted)] or [n for n in commands if wanted in n]
        return Completion(begin, word, tuple(Candidate(f"/{n}", commands[n].help) for n in names))
    name = words[0].removeprefix("/")
    arguments = commands[name].arguments if name in commands else ()
    if arguments == ("words",):
        begin = line.index(words[0]) + len(words[0]) + 1
        return Completion(begin, line[begin:], (), feature=True)
    if arguments == ("where",):
        one = words[1:2] if words[1:2] and words[1].isdecimal() else []
        if not one and word.isdecimal():
            return Completion(begin, word, (), feature=True)
        return _place_completion(begin, word, images) if len(words) == 1 + len(one) else Completion(begin, word, ())
    if name in NAMES and AT in word:
        at = word.index(AT) + 1
        return _place_completion(begin + at, word[at:], images)
    if len(words) > len(arguments):
        return Completion(begin, word, ())
    argument = arguments[len(words) - 1]
    known = WORDS.get(NAMES[name] if argument == "strength" else name, ())
    candidates = tuple(Candidate(w, note) for w, note in known if w.startswith(word)) if argument != "feature" else ()
    return Completion(begin, word, candidates, feature=argument == "feature", recipe=argument == "name")


def _place_completion(begin: int, where: str, images: bool) -> Completion:
    """How a place goes on that begins at `begin`: its last condition."""
    *others, word = where.split(",")
    there = [(w, note) for w, note in WORDS["where"] if w.startswith(word) and w not in others]
    there = [(w, note) for w, note in there if not images or w.rstrip(":") in IN_IMAGES]
    candidates = tuple(Candidate(w, note) for w, note in there if not others or w != "everywhere")
    return Completion(begin + len(where) - len(word), word, candidates)


def _place(words: list[str]) -> Setting | Placed:
    """`/where PLACE`, or `/where FEATURE PLACE`; blanks in the place are nothing."""
    if len(words) > 1 and words[0].isdecimal() and words[0].isascii():
        return Placed(int(words[0][:18]), checked_where("".join(words[1:])))
    if not words:
        raise UsageError("/where takes a place", hint="for example /where generated,firing")
    return Setting("where", checked_where("".join(words)))


def _value(name: str, word: str) -> Any:
    """What a command's last argument says. Raises UsageError."""
    usage = COMMANDS[name].usage(name)
    reads: dict[str, Callable[[str], Any]] = {"number": _number, "switch": {"on": True, "off": False}.__getitem__}
    try:
        value = reads.get(COMMANDS[name].arguments[0], str)(word)
    except (ValueError, KeyError):
        wrong = "neither on nor off" if name == "chat" else f"no {name}"
        raise UsageError(f"{word!r} is {wrong}", hint=usage) from None
    if name == "rewind" and (not isinstance(value, int) or value < 1):
        raise UsageError(f"cannot take {word} tokens back", hint="give a whole number from 1")
    if name in OF_IMAGES and (not isinstance(value, int) or value < 0):
        raise UsageError(f"{word!r} is no {name}", hint="give a whole number from 0")
    return value if name in ACTIONS else checked_setting(name.replace("-", "_"), value)


def _number(word: str) -> float:
    """A whole number where it is written as one."""
    try:
        return int(word)
    except ValueError:
        return float(word)
