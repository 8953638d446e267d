"""A run as it is being configured: which fields come first, what it would be called, and what is wrong.

Knows no widget. Reading is quick but for `Checked.of`, which looks at the model's files, other sessions and the disk.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.content import Content

from core import config as configs
from core import estimate, fields, study, sweep
from core.architectures import SPARSITY
from core.config import RunConfig
from core.errors import ConfigError, SessionError
from core.image_facts import ImageFacts
from core.model_facts import ModelFacts, cached
from core.options import EMBEDDED, IMAGE_MODELS
from core.session import checked_name, listing
from sae_tui.text import safe
from sae_tui.widgets.form import Entry
from sae_tui.widgets.run_rows import flat

PLAIN = "plain"
"""Beside the presets: every field at its default."""
FIRST = (
    "model.name", "model.hook", "model.dtype", "device", "corpus.name", "tokens.context", "sae.architecture",
    "sae.d_sae", "sae.k", "sae.target_l0", "sae.l1_coefficient", "sae.l0_coefficient", "budget.activations",
    "training.lr", "training.batch_activations", "evaluation.activations", "analysis.activations",
)  # fmt: skip
"""The fields that matter first, in this order."""
NAME, PRESET, SWEEP, THEN = "session", "preset", "sweep", "then"
"""Rows that are no fields of a configuration."""
STUDIES = {
    "activation": "a run of each architecture, at as many active features",
    "fidelity": "one architecture at a quarter to four times as many active features",
}
"""What the row of the sweep takes besides a grid: a study of `core.study`."""
SWEPT = {"study-activation": "activation"}
"""The presets that are of several runs."""


def presets() -> list[str]:
    """Names of what a form may begin with."""
    return [*configs.presets(), PLAIN]


def preset(name: str) -> dict[str, str]:
    """What stands in the fields with that preset, and in the row of the sweep."""
    return {**fields.shown({} if name == PLAIN else configs.preset(name)), SWEEP: SWEPT.get(name, "")}


def about(begun: str) -> str:
    """What the values to begin with are for."""
    if begun == PLAIN:
        return "Every field at its default."
    return configs.about(begun) if begun in configs.presets() else "The values of that session."


def entries(begun: Sequence[str]) -> list[Entry]:
    """The rows that come first; `begun` are the names of what the form may begin with."""
    known = {field.name: field for field in fields.fields()}
    return [
        Entry(name=NAME, label="session", help="The new session's name: a folder beside the others."),
        Entry(name=PRESET, label="begin with", choices=begun),
        Entry(name=SWEEP, label="sweep", placeholder="empty: one run",
              note="activation, fidelity, or sae.k=16,32: several runs",
              help="Empty: this run alone. activation or fidelity: the runs of that study. Else fields and their "
                   "values, as in sae.k=16,32 seed=0,1: a run for each combination, on one harvest of activations."),
        *(entry(known[name]) for name in FIRST),
        Entry(name=THEN, label="then", choices=("evaluate and analyse", "nothing more"),
              help="What comes after the training, in the same process, with the model still in memory."),
    ]  # fmt: skip


def rest() -> dict[str, tuple[str, list[Entry]]]:
    """The other fields, by part: what the part is about, and its rows."""
    about = {"": "The run as a whole.", **fields.parts()}
    found: dict[str, tuple[str, list[Entry]]] = {}
    for field in fields.fields():
        if field.name not in FIRST:
            found.setdefault(field.part or "run", (about[field.part], []))[1].append(entry(field))
    return found


def entry(field: fields.Field) -> Entry:
    """A field as a row: what it is for beside it, and in full with its bounds and default while one is in it."""
    description = field.description
    if field.only:  # it is shown for these alone
        description = description.partition(": ")[2]
    words = description.replace("`", "")
    limits = " | ".join(field.choices) or field.bounds
    details = [
        words if description.startswith("`") else words[:1].upper() + words[1:],
        limits,
        f"Default: {field.default}" if field.default else "",
    ]
    return Entry(
        name=field.name, label=field.name if field.name in FIRST else field.name.rpartition(".")[2],
        choices=field.choices, only=field.only, note=words, help=". ".join(filter(None, details)) + ".",
        placeholder=_empty(field.name),
    )  # fmt: skip


def idle(texts: Mapping[str, str]) -> set[str]:
    """The weights of a penalty, where a number of active features is aimed at: they only begin with them."""
    quadratic = texts.get("sae.architecture") == "jumprelu" and texts.get("sae.l0_penalty") == "quadratic"
    aimed = texts.get("sae.target_l0", "").strip() and not quadratic
    return {"sae.l1_coefficient", "sae.l0_coefficient"} if aimed else set()


def members(name: str, texts: Mapping[str, str]) -> list[sweep.Member]:
    """The runs of the sweep that is asked for, their names beginning with `name`; none where it is one run.

    Raises ConfigError for one that cannot be, SessionError for a name.
    """
    asked = texts.get(SWEEP, "").strip()
    if asked in STUDIES:
        return getattr(study, asked)(name, fields.read(texts))
    return sweep.members(name, fields.read(texts), sweep.grid(asked.split())) if asked else []


def suggested(texts: Mapping[str, str]) -> str:
    """A name for the session, or for those of a sweep: model, layer, architecture and sparsity or what is asked."""
    model = texts.get("model.name", "").rstrip("/").rpartition("/")[2]
    layer = re.match(r"blocks\.(\d+)\.", texts.get("model.hook", ""))
    architecture = texts.get("sae.architecture", "")
    k = texts.get("sae.k", "") if SPARSITY.get(architecture, ("", ""))[1] == "k" else ""
    asked = texts.get(SWEEP, "").strip()
    what = f"{architecture}{k}" if not asked else asked if asked in STUDIES else "sweep"
    return slug(f"{model}-{f'l{layer[1]}-' if layer else ''}{what}") or "run"


def slug(words: str) -> str:
    """Some words as a session may be named; empty where nothing is left of them."""
    return re.sub(r"[^a-z0-9._-]+", "-", words.lower()).strip("-._")


def name_problem(root: Path, name: str, *, begins: bool = False) -> str:
    """Why a session cannot be called that, or, where it `begins` the names of several, those; empty where it can."""
    try:
        return "there is one of that name already" if (root / checked_name(name)).exists() and not begins else ""
    except SessionError as error:
        return str(error)


def wrong(texts: Mapping[str, str]) -> dict[str, str]:
    """What the configuration itself says is wrong, in a few words for each field. At once: it reads no file."""
    found = fields.problems(fields.read(texts))
    return {name: _short(name, sentence) for name, sentence in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found out about a configuration that is right in itself."""

    config: RunConfig
    facts: ModelFacts | ImageFacts | None
    unknown: str
    """Why nothing is known of the model."""
    wrong: dict[str, str]
    doubts: dict[str, str]
    cost: estimate.Cost
    speed: estimate.Speed | None
    place: str
    free_memory: float | None
    free_disk: float
    runs: int
    """Of its sweep; 1 where it is of none."""

    @classmethod
    def of(cls, root: Path, texts: Mapping[str, str]) -> "Checked":
        """Look at all of it. Blocks for some tens of milliseconds. Raises ConfigError where `wrong` finds something."""
        config = configs.with_absolute_paths(configs.parse(fields.read(texts)))
        facts, unknown = estimate.model(config)
        speed = estimate.measured_speed(root, config)
        found, doubts = estimate.troubles(config, facts), dict[str, str]()
        if facts is None:
            missing = "at the start" not in unknown
            (found if missing else doubts)["model.name"] = unknown
        elif doubt := facts.doubt(config.model.hook):
            doubts["model.hook"] = doubt
        runs = 1
        try:
            runs = len(members("run", texts)) or 1
        except (ConfigError, SessionError) as error:
            found[SWEEP] = str(error)
        place, free = estimate.free_memory(config.device)
        return cls(
            config=config, facts=facts, unknown=unknown, wrong=found, doubts=doubts, speed=speed, place=place,
            cost=estimate.cost(config, facts, speed), free_memory=free, free_disk=estimate.free_disk(root),
            runs=runs,
        )  # fmt: skip


def offered(
    root: Path, name: str, texts: Mapping[str, str], facts: ModelFacts | ImageFacts | None
) -> list[tuple[str, str]]:
    """What may stand in a field, each with a word on it: what is on this machine, and what other sessions have."""
    if name == "model.hook" and isinstance(facts, ImageFacts):
        return [(hook, f"{one.width:,} wide: {one.holds}") for hook, one in facts.hooks.items()]
    if name == "model.hook" and isinstance(facts, ModelFacts):
        widths = facts.widths()
        layer = re.match(r"blocks\.(\d+)\.", texts.get("model.hook", ""))
        here = int(layer[1]) if layer and int(layer[1]) < facts.layers else facts.layers // 2
        order = sorted(range(facts.layers), key=lambda n: (abs(n - here), n))
        return [(f"blocks.{n}.{kind}", f"{widths[kind]:,} wide") for n in order for kind in widths]
    if name == SWEEP:
        return [*STUDIES.items(), ("sae.k=16,32,64", "fields and their values; a space between two fields")]
    used = dict.fromkeys(_used(root, name), "of another session")
    match name:
        case "model.name":
            images = dict.fromkeys(IMAGE_MODELS, "of images, made here")
            known = {EMBEDDED[0]: "embedded", **dict.fromkeys(cached(), "downloaded"), **images, **used}
            return list(known.items())
        case "corpus.name":
            return list({EMBEDDED[1]: "this Python's library", EMBEDDED[2]: "5,000 digits", **used}.items())
        case "device":
            return list({"auto": "a GPU where there is one", "cpu": "", "cuda:0": "the first GPU", **used}.items())
        case _:
            return list(used.items())


def ready(wrong: Sequence[str], hidden: Sequence[str]) -> Content:
    """Whether it can start; `hidden` are those of the wrong fields that are not in view."""
    if not wrong:
        return Content.styled("✓ ready: ^S starts it", "$success")
    where = f": {', '.join(safe(name) for name in hidden)} (^T shows all fields)" if hidden else ""
    return Content.styled(f"✗ {len(wrong)} to mend before it can start{where}", "$error")


def settings(before: Mapping[str, str], texts: Mapping[str, str]) -> list[str]:
    """What `--set` has to change in one form to get another."""
    values = dict(flat(fields.read(texts)))
    changed = [name for name, value in values.items() if before.get(name) != texts.get(name) and value is not None]
    return [f"{k}={str(values[k]).lower() if isinstance(values[k], bool) else values[k]}" for k in changed]


def as_toml(texts: Mapping[str, str]) -> str:
    """The whole configuration, each field with its meaning; where it is wrong, its bare values with what is wrong."""
    import tomlkit

    values = fields.read(texts)
    try:
        return configs.example(configs.parse(values))
    except ConfigError:
        found = "".join(f"# wrong: {sentence}\n" for sentence in fields.problems(values).values())
        return found + tomlkit.dumps(values)


def from_toml(text: str) -> dict[str, str]:
    """What stands in a form for a TOML text. Raises ConfigError for one that is torn or has unknown keys."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("it cannot be read as TOML", hint=str(error)) from None
    known = {field.name for field in fields.fields()}
    if strangers := [name for name, _ in flat(values) if name not in known]:
        found = fields.problems(values)
        raise ConfigError(next((found[name] for name in strangers if name in found), f"unknown key {strangers[0]!r}"))
    return fields.shown(values)


def _used(root: Path, name: str) -> list[str]:
    """The values that sessions have in a field, each once, the newest first."""
    found: dict[str, None] = {}
    for session in listing(root):
        try:
            values = dict(flat(configs.read_values(session.config_path)))
        except ConfigError:
            continue
        if isinstance(value := values.get(name), str) and value:
            found[value] = None
        elif value is not None and not isinstance(value, str | bool):
            found[f"{value:,}" if isinstance(value, int) else str(value)] = None
    return list(found)


def _short(name: str, sentence: str) -> str:
    """A sentence about a field without the field's name and value, which stand beside it."""
    return re.sub(rf"^{re.escape(name)} = .*?: ", "", sentence).replace("input should", "must", 1)


def _empty(name: str) -> str:
    return {
        "sae.d_sae": "empty: by sae.expansion", "sae.expansion": "empty: 8", "corpus.category_column": "none",
        "sae.target_l0": "empty: by the coefficient",
    }.get(name, "")  # fmt: skip
