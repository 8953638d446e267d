"""What a person has put together to steer with: interventions, one a feature, and the settings of a generation.

Owns how strengths go up and down, what undoing takes back, and the command line that asks for the same. Computes
nothing and asks no one.
"""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import UsageError
from core.steering.commands import Action, Placed, checked_setting, parsed
from core.steering.interventions import AT, WITH_UNITS, Intervention, Scales, written
from core.steering.places import EVERYWHERE, require_no_text
from core.steering.request import SAMPLING, GenerationRequest, Sampling

STEP = 0.25
"""Of a feature's max (or p99, where that is the unit): what one step adds to add, set and cap. A step of scale is 1."""
SETTINGS: Mapping[str, Any] = {
    "seed": 0, "temperature": 0.7, "tokens": 60, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
    "where": EVERYWHERE, "mode": "error-kept", "chat": False, "system": "",
}  # fmt: skip
"""The settings there are, as they begin. `where` is the place of interventions to come."""
ALWAYS = ("seed", "temperature", "tokens")
"""Settings that the command line has other beginnings for, so that they are always told."""
State = tuple[tuple[Intervention, ...], dict[str, Any]]


@dataclass
class Plan:
    """Changed by a line, or one intervention at a time; every change can be undone, and what was undone done again.

    There is one intervention a feature: another on the same one takes its place, and where it holds, unless it names a
    place of its own.
    """

    interventions: tuple[Intervention, ...] = ()
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    past: list[State] = field(default_factory=list)
    future: list[State] = field(default_factory=list)
    images: bool = False
    """It is for images: nothing in it is about text. Its changes raise UsageError for a place in a text."""

    def do(self, line: str) -> str | Action:
        """Do what a line asks for, and say what that was; an Action is the asker's to do. Raises UsageError."""
        asked = parsed(line, where=self.settings["where"], images=self.images)
        if isinstance(asked, Intervention):
            held = self.of(asked.feature)
            edit = replace(asked, where=held.where) if held and AT not in line else asked
            self.put(edit)
            return edit.describe()
        if isinstance(asked, Placed):
            held = self.of(asked.feature)
            if held is None:
                raise UsageError(f"feature {asked.feature} is not steered", hint="/add, /set and others steer it")
            placed = replace(held, where=asked.where)
            self.put(placed)
            return placed.describe()
        if isinstance(asked, Action):
            return self._act(asked)
        self.set(asked.name, asked.value)
        if asked.value == "":
            return f"no {asked.name} prompt"
        return f"{asked.name.replace('_', '-')} {_shown(asked.value)}"

    def of(self, feature: int) -> Intervention | None:
        """The intervention on a feature."""
        return next((i for i in self.interventions if i.feature == feature), None)

    def put(self, intervention: Intervention) -> int:
        """Add one, in the place of the one on the same feature where there is one; its place."""
        features = [i.feature for i in self.interventions]
        if intervention.feature in features:
            at = features.index(intervention.feature)
            self.replace(at, intervention)
            return at
        self._be((*self.interventions, intervention))
        return len(self.interventions) - 1

    def replace(self, at: int, intervention: Intervention) -> None:
        """Put another in a place."""
        self._be((*self.interventions[:at], intervention, *self.interventions[at + 1 :]))

    def remove(self, at: int) -> None:
        """Take one away."""
        self._be((*self.interventions[:at], *self.interventions[at + 1 :]))

    def toggle(self, at: int) -> None:
        """Switch one off, or on again."""
        self.replace(at, replace(self.interventions[at], enabled=not self.interventions[at].enabled))

    def set(self, name: str, value: Any) -> None:
        """Another value for a setting; `where` is for those that are there too, and a system prompt makes it a chat.

        Raises UsageError.
        """
        settings = {**self.settings, name: checked_setting(name, value)}
        if name == "system" and value:
            settings["chat"] = True
        where = settings["where"]
        edits = self.interventions if name != "where" else tuple(replace(i, where=where) for i in self.interventions)
        self._be(edits, settings)

    def take(self, request: GenerationRequest) -> None:
        """The interventions and settings of a request, such as a recipe's, as one change; not its prompt."""
        edits = {i.feature: i for i in request.interventions}
        sampling = {name: getattr(request.sampling, name) for name in SAMPLING}
        rest = {name: getattr(request, name) for name in ("tokens", "mode", "chat", "system")}
        self._be(tuple(edits.values()), {**self.settings, **sampling, **rest})

    def undo(self) -> bool:
        """Take the last change back; whether there was one."""
        return self._go(self.past, self.future)

    def redo(self) -> bool:
        """Do again what was undone last; whether there was anything."""
        return self._go(self.future, self.past)

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        return Sampling(**{name: self.settings[name] for name in SAMPLING})

    def request(self, prompt: str) -> GenerationRequest:
        """What to ask the engine for. Raises UsageError."""
        settings = self.settings
        return GenerationRequest(
            prompt=prompt, interventions=self.interventions, mode=settings["mode"], tokens=settings["tokens"],
            sampling=self.sampling, chat=settings["chat"], system=settings["system"] if settings["chat"] else "",
        )  # fmt: skip

    def on_image(self, session: str, image: int) -> str:
        """The shell command that does the same to an image."""
        mode = self.settings["mode"]
        words = ["sae-tui", "steer", session, "--image", str(image), *self._options()]
        return shlex.join([*words, *(["--mode", mode] if mode != SETTINGS["mode"] else [])])

    def command_line(self, session: str, prompt: str) -> str:
        """The shell command that generates the same."""
        words = ["sae-tui", "steer", session, "--prompt", prompt, *self._options()]
        for name, value in self.settings.items():
            told = name in ALWAYS or (value != SETTINGS[name] and name != "where")
            if told and (name != "system" or self.settings["chat"]):
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [_shown(value)])]
        return shlex.join(words)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {"interventions": [i.to_json() for i in self.interventions], "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, images: bool = False) -> "Plan":
        """A plan as `to_json` left it, now or in an older version; what cannot be read of it is left out."""
        plan = cls(images=images)
        settings, found = values.get("settings"), values.get("interventions")
        for name, value in settings.items() if isinstance(settings, dict) else ():
            with contextlib.suppress(UsageError):
                value = checked_setting(name, value)
                if images and name == "where":
                    require_no_text(value)
                plan.settings[name] = value
        for item in found if isinstance(found, list) else ():
            with contextlib.suppress(UsageError, TypeError):
                plan.put(Intervention.from_json(item))
        plan.past.clear()
        return plan

    def _act(self, asked: Action) -> str | Action:
        match asked.name:
            case "clear":
                self._be(())
                return "all interventions are gone: /undo brings them back"
            case "undo":
                return "undone" if self.undo() else "there is nothing to undo"
            case "redo":
                return "done again" if self.redo() else "there is nothing to do again"
            case _:
                return asked

    def _options(self) -> list[str]:
        """The options of the command line that ask for what is on."""
        return [word for edit in self.interventions if edit.enabled for word in edit.to_option()]

    def _be(self, interventions: Sequence[Intervention], settings: dict[str, Any] | None = None) -> None:
        settings = settings or dict(self.settings)
        if self.images:
            for where in (settings["where"], *(edit.where for edit in interventions)):
                require_no_text(where)
        self.past.append((self.interventions, self.settings))
        self.future.clear()
        self.interventions, self.settings = tuple(interventions), settings

    def _go(self, there: list[State], back: list[State]) -> bool:
        if not there:
            return False
        back.append((self.interventions, self.settings))
        self.interventions, self.settings = there.pop()
        return True


def nudged(edit: Intervention, steps: int, scales: Scales) -> Intervention:
    """The intervention some steps stronger, or weaker where `steps` is negative. An ablation counts as `scale 0`.

    A mean-ablation becomes a set of its mean, where that is known, and else of 0.
    """
    if edit.kind == "mean-ablate":
        edit = replace(edit, kind="set", value=scales.get(edit.feature, {}).get("mean") or 0.0)
    if edit.kind in ("ablate", "scale"):
        value = (edit.value if edit.kind == "scale" else 0.0) + steps
        return replace(edit, kind="scale", value=_tidy(value))
    step = STEP
    if edit.unit == "raw":
        step = STEP * (scales.get(edit.feature, {}).get("max") or 1 / STEP)
    return replace(edit, value=_tidy(edit.value + steps * step))


def in_max(edit: Intervention, scales: Scales) -> float | None:
    """What an add, a set or a cap comes to in units of the feature's max; None where that is not known."""
    if edit.kind not in WITH_UNITS:
        return None
    if edit.unit == "max":
        return edit.value
    scale = scales.get(edit.feature, {})
    most, unit = scale.get("max"), 1.0 if edit.unit == "raw" else scale.get("p99")
    return edit.value * unit / most if most and unit else None


def _shown(value: Any) -> str:
    """A setting's value as it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return written(value) if isinstance(value, float) else str(value)


def _tidy(value: float) -> float:
    """Without the rounding errors of adding steps."""
    return float(f"{value:.6g}")
