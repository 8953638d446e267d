"""The real SmolLM2, from `train` to `steer`, and every command the README shows.

The session is called `demo`, as in the README, and stays small: the README's own takes `make demo` some minutes.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
SMALL = [
    "budget.activations=7_000", "training.buffer_activations=4_096", "training.batch_activations=256",
    "evaluation.activations=1_500", "evaluation.ce_tokens=150", "analysis.activations=2_500",
]  # fmt: skip


def readme_commands() -> list[str]:
    """Every line of the README's shell blocks, comments and continuations resolved."""
    text = "\n".join(SHELL_BLOCK.findall(README)).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def sae_tui(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sae_tui", *arguments], capture_output=True, text=True, cwd=folder, timeout=300
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder in which a session `demo` is trained, evaluated and analysed."""
    folder = tmp_path_factory.mktemp("e2e")
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = sae_tui(folder, "train", "--preset", "demo", "--name", "demo", *settings, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "done"
    for verb in ("evaluate", "analyze"):
        done = sae_tui(folder, verb, "demo")
        assert done.returncode == 0, done.stderr
    return folder


def test_the_sae_explains_held_out_text_and_the_model_still_predicts_through_it(folder):
    values = json.loads(sae_tui(folder, "show", "demo", "--json").stdout)["evaluation"]
    assert values["fvu"] < 0.6
    assert values["l0"] == pytest.approx(32, abs=0.1)
    assert values["ce_loss_clean"] < values["ce_loss_sae"] < values["ce_loss_zero"]
    assert values["ce_loss_score"] > 0.6
    assert values["tokens"]["fvu"] == 1_500 and values["tokens"]["ce_loss_sae"] == 150


def test_a_feature_fires_on_the_tokens_its_contexts_light(folder):
    [row] = json.loads(sae_tui(folder, "features", "demo", "--limit", "1", "--where", "n > 30", "--json").stdout)
    found = json.loads(sae_tui(folder, "feature", "demo", str(row["feature"]), "--json").stdout)
    assert found["n"] > 30 and len(found["logits"]) == 20
    for example in found["examples"]:
        lit = {t["token_idx"]: t["value"] for t in example["tokens"]}
        assert lit[example["token_idx"]] == pytest.approx(example["value"])


def test_steering_changes_the_text_and_an_edit_of_nothing_does_not(folder):
    [row] = json.loads(sae_tui(folder, "features", "demo", "--limit", "1", "--sort", "max", "--json").stdout)
    base = ["steer", "demo", "--prompt", "The most important thing is", "--tokens", "12", "--json"]
    added = json.loads(sae_tui(folder, *base, "--add", f"{row['feature']}=3max").stdout)
    assert added["baseline"]["text"] != added["steered"]["text"] and added["mean_kl"] > 0.1
    nothing = json.loads(sae_tui(folder, *base, "--scale", f"{row['feature']}=1").stdout)
    assert nothing["steered"] == nothing["baseline"] == added["baseline"]
    assert nothing["mean_kl"] < 1e-6


@pytest.mark.parametrize("command", [c for c in readme_commands() if c.startswith("sae-tui ")])
def test_every_command_the_readme_shows_runs(folder, command):
    done = sae_tui(folder, *shlex.split(command)[1:])
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert done.stdout.strip()


def test_the_script_the_readme_shows_trains_analyses_and_steers(tmp_path):
    [script] = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    budgets = re.search(r"small = \[(.*)\]", script)
    assert budgets is not None
    script = script.replace(budgets[1], ", ".join(f'"{setting}"' for setting in SMALL))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    *_, baseline, steered = [line for line in done.stdout.splitlines() if line.startswith(("baseline ", "steered "))]
    assert baseline.removeprefix("baseline") != steered.removeprefix("steered ")
    assert (tmp_path / "sessions" / "script" / "features.duckdb").is_file()


def test_what_else_the_readme_shows_is_what_the_makefile_offers():
    others = [c for c in readme_commands() if not c.startswith("sae-tui ")]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in others:
        first, *words = shlex.split(command)
        assert first in {"make", "git", "cd", "source", "pip", "systemd-run", "sbatch"}, command
        if first == "make":
            assert {w for w in words if "=" not in w} <= set(targets), command
