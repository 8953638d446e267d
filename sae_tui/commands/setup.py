"""Verbs around a run: config, hooks, doctor, demo."""

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core import cache
from core import config as configs
from core.errors import SaeTuiError
from core.image_facts import ImageFacts
from core.options import EMBEDDED, IMAGE_MODELS
from sae_tui.commands import demo
from sae_tui.commands.output import add_set, as_json, finished, table
from sae_tui.text import safe, size


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser("demo", help="train a first SAE on the embedded model, analyse it, steer with it")
    verb.add_argument("--headless", action="store_true", help="without the workbench: print a summary at the end")
    verb.add_argument("--name", help="the session's name (default: demo; headless: demo, demo-2, ...)")
    verb.set_defaults(run=demo.run)

    verb = verbs.add_parser("config", help="every field of a configuration, with its meaning and default")
    kind = verb.add_mutually_exclusive_group()
    kind.add_argument("--example", action="store_true", help="a commented TOML file (the default)")
    kind.add_argument("--schema", action="store_true", help="the JSON schema")
    verb.set_defaults(run=config)

    verb = verbs.add_parser("hooks", help="the hook points of a model that fire, with width and module")
    verb.add_argument("model", help="smollm2, a folder, a hub name, an alias, or of images: mnist")
    verb.add_argument("--all", action="store_true", help="of every block, not only the first")
    add_set(verb)
    verb.set_defaults(run=hooks)

    verb = verbs.add_parser("cache", help="activations that are kept on disk: list them, remove some")
    verb.add_argument("--remove", action="append", default=[], metavar="NAME", help="delete one; may be repeated")
    verb.add_argument("--remove-all", action="store_true", help="delete every one")
    verb.set_defaults(run=cached)

    verb = verbs.add_parser("doctor", help="what this machine has: terminal, torch, GPU, model, cache")
    verb.set_defaults(run=doctor)


def config(args: argparse.Namespace) -> int:
    """`sae-tui config`."""
    if args.schema:
        as_json(configs.RunConfig.model_json_schema())
    elif args.json:
        as_json(configs.RunConfig().model_dump())
    else:
        print(configs.example(), end="")
    return 0


def hooks(args: argparse.Namespace) -> int:
    """`sae-tui hooks`."""
    if args.model == EMBEDDED[2] or args.model in IMAGE_MODELS:
        return _image_hooks(args)
    from core import flow

    values = configs.with_settings({"model": {"name": args.model}}, args.settings)
    found = finished(flow.probe_hooks(configs.parse(values)))
    if not args.all:
        found = [h for h in found if not h.name.startswith("blocks.") or h.name.startswith("blocks.0.")]
    if args.json:
        as_json([{"name": h.name, "shape": list(h.shape), "module": h.module} for h in found])
    else:
        rows = ((h.name, "×".join(map(str, h.shape)), h.module) for h in found)
        table(("hook point", "width", "module"), rows, left=("hook point", "module"))
        if not args.all:
            print("\nblocks.0 stands for every block; --all lists them")
    return 0


def _image_hooks(args: argparse.Namespace) -> int:
    """Those of one network of images, or of all; known without making it."""
    corpus = {"name": EMBEDDED[2]}
    rows = []
    for name in IMAGE_MODELS if args.model == EMBEDDED[2] else (args.model,):
        given = configs.with_settings({"model": {"name": name}, "corpus": corpus}, args.settings)
        facts = ImageFacts(name=name, hidden=configs.parse(given).model.hidden)
        rows += [(name, hook, *one) for hook, one in facts.hooks.items()]
    if args.json:
        as_json([dict(zip(("model", "name", "width", "places", "holds"), row, strict=True)) for row in rows])
        return 0
    table(("model", "hook point", "width", "places", "holds"), rows, left=("model", "hook point", "holds"))
    print("\nplaces: activations of one image there")
    return 0


def cached(args: argparse.Namespace) -> int:
    """`sae-tui cache`."""
    folder = cache.caches_dir()
    names = [found.name for found in cache.listing(folder)] if args.remove_all else args.remove
    freed = sum(cache.remove(folder, name) for name in names)
    left = cache.listing(folder)
    if args.json:
        found = [{"name": c.name, "rows": c.rows, "d_in": c.d_in, "bytes": c.size_bytes(), **c.about} for c in left]
        as_json({"folder": str(folder), "freed_bytes": freed, "caches": found})
        return 0
    if names:
        print(f"removed {len(names)}, {size(freed)} freed")
    if left:
        rows = ((c.name, c.rows, size(c.size_bytes()), *c.about.values()) for c in left)
        text = ("name", "size", *left[0].about)
        table(("name", "activations", "size", *left[0].about), rows, left=text)
    elif not names:
        print(f"no activations are kept in {folder}; training.cache keeps those of a run")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """`sae-tui doctor`."""
    found = {
        "terminal": _terminal(),
        "workbench": _workbench(),
        "python": _python(),
        "torch": _torch(),
        "model": _model(),
        "jobs": _jobs(),
    }
    if args.json:
        as_json(found)
        return 0
    for part, facts in found.items():
        print(part)
        for name, value in facts.items():
            print(f"  {name:<22}{safe(str(value))}")
    return 0


def _terminal() -> dict[str, Any]:
    columns, lines = shutil.get_terminal_size()
    colours = {"truecolor": "24 bit", "24bit": "24 bit"}.get(os.environ.get("COLORTERM", ""))
    if colours is None:
        colours = "256" if "256" in os.environ.get("TERM", "") else "16 or fewer"
    encoding = sys.stdout.encoding or ""
    return {
        "TERM": os.environ.get("TERM", "not set"),
        "size": f"{columns}x{lines}",
        "colours": "none asked for (NO_COLOR)" if os.environ.get("NO_COLOR") else colours,
        "encoding": encoding if encoding.lower().startswith("utf") else f"{encoding}: set LANG to a UTF-8 locale",
        "inside": "tmux" if os.environ.get("TMUX") else "ssh" if os.environ.get("SSH_TTY") else "neither tmux nor ssh",
    }


def _workbench() -> dict[str, Any]:
    from sae_tui import settings

    path = settings.settings_path()
    try:
        settings.read(path)
        settled = str(path) if path.exists() else f"{path}: not there, the defaults hold"
    except SaeTuiError as error:
        settled = str(error)
    copying = "by OSC 52, which works through SSH where the terminal allows it"
    if os.environ.get("TMUX"):
        copying += "; tmux needs `set -g set-clipboard on`"
    return {"settings": settled, "copying": copying}


def _python() -> dict[str, Any]:
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    names = ("sae-tui", "transformer-lens", "transformers", "duckdb", "textual")
    return {"python": platform.python_version()} | {name: installed(name) for name in names}


def _torch() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"version": torch.__version__, "threads": torch.get_num_threads()}
    if not torch.cuda.is_available():
        return found | {"cuda": "none: this build or this machine has no CUDA; device = auto means the CPU"}
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        found[f"cuda:{i}"] = f"{torch.cuda.get_device_name(i)}, {size(free)} free of {size(total)}"
    return found


def _model() -> dict[str, Any]:
    from core.models import bundled

    gguf = bundled.gguf_path()
    folder = cache.cache_dir()
    converted = sorted((folder / "models").glob("*/config.json"))
    there = next(p for p in (folder, *folder.parents) if p.exists())
    return {
        "embedded model": f"{gguf.name} (Q4_1, 4 bit)" if gguf else f"not installed: {bundled.INSTALL}",
        "converted": ", ".join(p.parent.name for p in converted) or "not yet: the first run does it, in half a minute",
        "cache": str(folder),
        "free there": size(shutil.disk_usage(there).free),
        "hub": "off (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") == "1" else "on",
    }


def _jobs() -> dict[str, Any]:
    return {"detached jobs": _survival(Path("/etc/systemd/logind.conf"))}


def _survival(logind: Path) -> str:
    """Whether detached jobs outlive the login, as far as logind's file says."""
    try:
        lines = [line.strip() for line in logind.read_text().splitlines()]
    except OSError:
        return "outlive the login (no systemd-logind here)"
    if any(line.replace(" ", "").lower() == "killuserprocesses=yes" for line in lines):
        return "are killed at logout (KillUserProcesses=yes): start them under `systemd-run --user --scope` or tmux"
    return "outlive the login"
