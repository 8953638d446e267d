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
from core.steering.commands import parsed
from core.steering.interventions import UNITS, GenerationRequest, Intervention, Scales

STEP = 0.25
"""Of a feature's max (or p99, where that is the unit): what one step adds to add and set. A step of scale is 1."""
SETTINGS = {"seed": 0, "temperature": 0.7, "tokens": 60, "where": "everywhere", "mode": "error-kept"}


@dataclass
class Plan:
    """Changed by a line, or one intervention at a time; every change of the interventions can be undone."""

    interventions: tuple[Intervention, ...] = ()
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    past: list[tuple[Intervention, ...]] = field(default_factory=list)

    def do(self, line: str) -> str:
        """Do what a line asks for, and say what that was. Raises UsageError."""
        asked = parsed(line, where=self.settings["where"])
        if isinstance(asked, Intervention):
            self.put(asked)
            return asked.describe()
        if asked.name == "clear":
            self._be(())
            return "all interventions are gone: u brings them back"
        self.settings[asked.name] = asked.value
        if asked.name == "where":
            self.interventions = tuple(replace(i, where=asked.value) for i in self.interventions)
        return f"{asked.name} {asked.value}"

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

    def undo(self) -> bool:
        """Take the last change of the interventions back; whether there was one."""
        if not self.past:
            return False
        self.interventions = tuple(replace(i, where=self.settings["where"]) for i in self.past.pop())
        return True

    def request(self, prompt: str) -> GenerationRequest:
        """What to ask the engine for. Raises UsageError."""
        asked = {name: value for name, value in self.settings.items() if name != "where"}
        return GenerationRequest(prompt=prompt, interventions=self.interventions, **asked)

    def command_line(self, session: str, prompt: str) -> str:
        """The shell command that generates the same."""
        words = ["sae-tui", "steer", session, "--prompt", prompt]
        for edit in self.interventions:
            if edit.enabled:
                words += _options(edit)
        for name, value in self.settings.items():
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(words)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {"interventions": [i.to_json() for i in self.interventions], "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Plan":
        """A plan as `to_json` left it; what cannot be read of it is left out."""
        plan = cls()
        settings, found = values.get("settings"), values.get("interventions")
        for name, value in settings.items() if isinstance(settings, dict) else ():
            with contextlib.suppress(UsageError):
                plan.do(f"/{name} {value}" if name in SETTINGS else "")
        for item in found if isinstance(found, list) else ():
            with contextlib.suppress(UsageError, TypeError):
                plan.put(replace(Intervention.from_json(item), where=plan.settings["where"]))
        plan.past.clear()
        return plan

    def _be(self, interventions: Sequence[Intervention]) -> None:
        self.past.append(self.interventions)
        self.interventions = tuple(interventions)


def nudged(edit: Intervention, steps: int, scales: Scales) -> Intervention:
    """The intervention some steps stronger, or weaker where `steps` is negative. An ablation counts as `scale 0`."""
    if edit.kind in ("ablate", "scale"):
        value = (edit.value if edit.kind == "scale" else 0.0) + steps
        return replace(edit, kind="scale", value=_tidy(value))
    step = STEP
    if edit.unit == "raw":
        step = STEP * (scales.get(edit.feature, {}).get("max") or 1 / STEP)
    return replace(edit, value=_tidy(edit.value + steps * step))


def in_max(edit: Intervention, scales: Scales) -> float | None:
    """What an add or a set comes to in units of the feature's max; None where that is not known."""
    if edit.unit == "max":
        return edit.value
    scale = scales.get(edit.feature, {})
    most, unit = scale.get("max"), 1.0 if edit.unit == "raw" else scale.get("p99")
    return edit.value * unit / most if most and unit else None


def _options(edit: Intervention) -> list[str]:
    """An intervention as the command line has it."""
    if edit.kind == "ablate":
        return ["--ablate", str(edit.feature)]
    unit = next(suffix for suffix, name in UNITS.items() if name == edit.unit)
    return [f"--{edit.kind}", f"{edit.feature}={edit.value:.6g}{unit}"]


def _tidy(value: float) -> float:
    """Without the rounding errors of adding steps."""
    return float(f"{value:.6g}")
