"""Many runs from one configuration and a grid of values: which there are, and what came of them.

The activations are kept on disk, so the model's forward pass is paid for once. A sweep is its sessions and nothing
besides: the same grid names the same sessions, so that a sweep which was interrupted goes on by being asked for again.
Each session's `sweep.json` names them all; what came of them is read from what each holds of itself.
"""

import itertools
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import config as configs
from core import fields, jobs, pareto
from core.config import RunConfig
from core.errors import ConfigError, SessionError, nearest
from core.session import Session, checked_name
from core.storage import last_line, replace_file

KEPT = "float16"
"""How activations are kept where the configuration does not say."""
FIGURES = ("fvu", "l0", "sparsity", "dead_share", "ce_loss_score")
"""Of `evaluation.json`, what the members are compared by."""
CLASSIFIED = ("baseline_acc", "recon_acc", "delta_acc", "fidelity")
"""And where the model classifies."""


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a sweep."""

    name: str
    varied: Mapping[str, str]
    """The fields of the grid that its architecture has a use for, and its values of them."""
    config: RunConfig


def grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """The fields and values of texts such as `sae.k=16,32`. Raises ConfigError for an unknown field or no value."""
    known = [field.name for field in fields.fields()]
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip()
        if name not in known:
            raise ConfigError(f"--grid {text}: there is no field {name!r}", hint=nearest(name, known))
        found[name] = [value.strip() for value in values.split(",") if value.strip()]
        if not found[name]:
            raise ConfigError(f"--grid {text} gives no value", hint=f"for example --grid {name}=A,B")
    return found


def members(base: str, values: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> list[Member]:
    """Every combination once. Raises ConfigError for one that cannot be, before anything runs.

    A field that an architecture has no use for does not vary it: `relu` with three values of k is one run.
    """
    only = {field.name: field.only for field in fields.fields()}
    found: dict[str, Member] = {}
    for combination in itertools.product(*wanted.values()):
        given = dict(zip(wanted, combination, strict=True))
        settings = [f"{name}={value}" for name, value in given.items()]
        config = configs.with_absolute_paths(configs.parse(configs.with_settings(values, settings)))
        if config.training.cache == "off" and not config.training.source:
            config = configs.parse(configs.with_settings(config.model_dump(), [f"training.cache={KEPT}"]))
        used = {n: v for n, v in given.items() if not only[n] or config.sae.architecture in only[n]}
        name = checked_name("-".join([base, *(_word(n, v) for n, v in used.items())]))
        found.setdefault(name, Member(name, used, config))
    return list(found.values())


def session(root: Path, member: Member) -> Session:
    """The member's session, made where it is not there yet.

    Raises SessionError where there is one of that name with another configuration.
    """
    there = Session(root / member.name)
    if not there.config_path.is_file():
        return Session.create(root, member.name, member.config)
    if there.config() != member.config:
        raise SessionError(
            f"there is a session {member.name!r} with another configuration",
            hint="give the sweep another --name, or remove that session",
        )
    return there


def begin(root: Path, found: Sequence[Member]) -> list[Session]:
    """The members' sessions, each of which knows the others from now on. Raises as `session`."""
    sessions = [session(root, member) for member in found]
    kept = {"members": {member.name: dict(member.varied) for member in found}}
    for one in sessions:
        replace_file(one.sweep_path, json.dumps(kept, indent=1))
    return sessions


def missing(session: Session, *, analyze: bool) -> list[jobs.Verb]:
    """What is still to be done with a member; activations without a text cannot be analysed."""
    verbs: list[jobs.Verb] = []
    if not session.finished:
        verbs.append("train")
    if not session.evaluation():
        verbs.append("evaluate")
    if analyze and not session.database_path.is_file() and not session.config().training.source:
        verbs.append("analyze")
    return verbs


def start(sessions: Sequence[Session], *, analyze: bool) -> tuple[Session, "subprocess.Popen[bytes]"] | None:
    """Do all that is missing, one member after another, in a detached process; None where nothing is missing.

    Returns the member it begins with, whose job it is at first, and the process; see `jobs.start`.
    """
    for one in sessions:
        if verbs := missing(one, analyze=analyze):
            then = jobs.THEN if analyze else jobs.THEN[:2]
            return one, jobs.start(one, verbs[0], (*then, jobs.SWEEP))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a sweep is, as one of its members sees it."""

    number: int
    """Which member this is, from 1."""
    of: int
    done: int
    """Members that are trained and measured."""
    at_work: str
    """The member whose job runs now; empty where none does."""
    seconds_left: float | None
    """Of training, of all members; None where none has begun."""


def place(session: Session) -> Place | None:
    """Where a session stands in its sweep; None where it is in none."""
    names = list(session.sweep())
    if session.name not in names:
        return None
    members = [Session(session.path.parent / name) for name in names]
    begun = [seconds for one in members if (seconds := _seconds(one))]
    left = sum(whole - spent for spent, whole in begun)
    if begun:  # one that has not begun takes as long as the others do
        left += (len(members) - len(begun)) * sum(whole for _, whole in begun) / len(begun)
    return Place(
        number=names.index(session.name) + 1, of=len(names), seconds_left=left if begun else None,
        done=sum(one.finished and bool(one.evaluation()) for one in members),
        at_work=next((one.name for one in members if one.observed().active), ""),
    )  # fmt: skip


def _seconds(session: Session) -> tuple[float, float] | None:
    """Of its training, how many have gone by and how many it takes in all; None where it has not begun."""
    latest = last_line(session.metrics_path)
    step, steps, elapsed = (latest.get(name) for name in ("step", "steps", "elapsed_s"))
    if not (isinstance(step, int) and isinstance(steps, int) and isinstance(elapsed, int | float) and step > 0):
        return None
    return elapsed, elapsed if session.finished else max(elapsed, elapsed * steps / step)


def results(root: Path, sweep: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """A row for each member: name, what varies, the figures on the test split, and whether none is better in both.

    `sweep` has the members' names and what varies, as `Session.sweep`.

    Those of `CLASSIFIED` are there where one of the models classifies. `loss` is that of the last training batch that
    was logged, in the units trained in; `seconds` those of the training, its harvest included where there was one.
    `best` holds where no other member has a lower FVU at a lower or the same L0: the Pareto front.
    """
    rows = []
    evaluations = [Session(root / name).evaluation() for name in sweep]
    names = FIGURES + CLASSIFIED if any(CLASSIFIED[0] in found for found in evaluations) else FIGURES
    for (member, varied), evaluation in zip(sweep.items(), evaluations, strict=True):
        latest = last_line(Session(root / member).metrics_path)
        figures = {name: evaluation.get(name) for name in names}
        trained = {"loss": latest.get("loss"), **figures, "seconds": latest.get("elapsed_s")}
        rows.append({"name": member, **varied, **trained})
    points = [(row["fvu"], row["l0"]) for row in rows]
    best = pareto.front([None if None in point else point for point in points])
    return [{**row, "best": is_best} for row, is_best in zip(rows, best, strict=True)]


def _word(field: str, value: str) -> str:
    """A part of a session's name."""
    short = "" if field == "sae.architecture" else field.rpartition(".")[2].replace("_", "")
    between = "-" if short[-1:].isdigit() else ""  # target_l0 = 5 is no l05
    return short + between + re.sub(r"[^a-z0-9.]+", "", value.lower())
