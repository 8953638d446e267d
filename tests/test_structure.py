"""The project's own promises: what imports what, the README's tree, no heavy import at start-up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme_keys import MARK, table

ROOT = Path(__file__).parent.parent
HEAVY = {
    "torch", "transformers", "transformer_lens", "datasets", "sklearn", "pandas", "pyarrow", "matplotlib", "jinja2",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted(m.split('.')[0] for m in sys.modules))"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import core.config, core.session, core.records, core.errors, core.jobs, core.labels, core.lock",
        "import core.engine.client, core.engine.protocol",
        "import core.analysis.store, core.analysis.guard",
        "import core.steering.interventions, core.steering.transcript, core.steering.plan, core.steering.commands",
        "import core.steering.places, core.steering.recipe, core.steering.request, core.steering.tree",
        "import core.estimate, core.curves, core.machine, core.overview, core.analysis.stores, core.analysis.console",
        "import sae_tui.app, sae_tui.palette, sae_tui.screens.runs, sae_tui.screens.train, sae_tui.screens.features",
        "import sae_tui.screens.feature, sae_tui.screens.steer, sae_tui.screens.sql, sae_tui.screens.configure",
        "import sae_tui.screens.steer_image, sae_tui.commands.steer_images",
        "import sae_tui.screens.foreign, sae_tui.screens.feature_images",
        "import sae_tui.screens.alike, sae_tui.screens.study, sae_tui.screens.probe",
        "import core.experiments.kept, sae_tui.screens.experiment",
        "import sae_tui.cli",
        "from sae_tui.cli import run; run(['--sessions', '/nonexistent', 'ls'])",
    ],
)
def test_what_the_workbench_uses_brings_in_no_torch(code):
    assert not modules_after(code) & HEAVY


def test_core_never_imports_a_terminal_library():
    assert not modules_after("import core.flow, core.__main__") & {"textual", "plotext", "sae_tui"}


def test_the_readmes_tree_names_every_module_with_its_duty():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("<!-- tree -->")[1]
    named, folders = {}, []
    for line in tree.splitlines():
        if match := re.fullmatch(r"( *)(\S+)  +(\S.*)", line):
            depth = len(match[1]) // 2
            folders[depth:] = [match[2]]
            named["".join(folders)] = match[3]
    files = {
        p.relative_to(ROOT).as_posix()
        for folder in ("core", "sae_tui")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in (".py", ".sql", ".toml") and p.name != "__init__.py"
    }
    assert files - named.keys() == set()
    assert {n for n in named if n.endswith((".py", ".sql")) and n.startswith(("core", "sae_tui"))} - files == set()


def test_the_readmes_table_of_keys_is_that_of_the_actions():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.split(MARK)[1].strip() == table(), "run `make keys`"


def test_no_file_names_a_path_of_one_machine():
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for name in done.stdout.splitlines():
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        for place in ("/work" + "/", "/root" + "/", "/opt" + "/"):
            assert place not in text, f"{name} holds {place}"
