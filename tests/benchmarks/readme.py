"""What tables of measurements have in common: the line that says of what, and their place in the README."""

import datetime
import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import torch

README = Path(__file__).parents[2] / "README.md"


def machine(module: str, **packages: str) -> str:
    """When, on what, with which versions of what (`name=package`), by which command."""
    versions = "".join(f", {name} {version(package)}" for name, package in packages.items())
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    command = shlex.join(["python", "-m", f"tests.benchmarks.{module}", *sys.argv[1:]])
    return (
        f"{datetime.date.today()}, {os.cpu_count()} cores ({model}, {torch.backends.cpu.get_cpu_capability()}), "
        f"torch {torch.__version__}{versions}; load before it {os.getloadavg()[0]:.1f}. `{command}`"
    )


def keep(text: str, table: Path, mark: str | None) -> None:
    """Write `text` to the file `table`, and into the README between the two places with `mark`, if one is given."""
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(text, encoding="utf-8")
    if mark is None:
        return
    head, _, rest = README.read_text(encoding="utf-8").partition(mark)
    _, _, tail = rest.partition(mark)
    README.write_text(f"{head}{mark}\n{text}{mark}{tail}", encoding="utf-8")
