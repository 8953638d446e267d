"""The analysis beside SAEDashboard 0.8.0: features a second, on the same SAE, model and tokens, one after the other.

    make bench-dashboard
    .venv/bin/python -m tests.benchmarks.dashboard SESSIONS NAME [--sequences 1024] [--features 256]

SAEDashboard runs in an environment of its own, whose Python is given by `--python`, by the file `dashboard_peer.py`;
it makes the data of all its panels for some features. Ours makes the feature database of all of them, from as many
tokens in blocks of the same length: what it has of every panel of theirs, and more. Each is timed whole, model in
memory, from tokens to the end. Nothing else should run beside it.

Most of either is the model's pass over the tokens, which no analysis can do without: `pass_s` of ours. Theirs is made
anew for every 256 features, ours once for all: so the wider the SAE, the further they are apart. At no width can ours
make more than d_sae / `pass_s` features a second.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from core import config as configs
from core import tokens
from core.analysis import build, collect
from core.corpus import documents
from core.flow import load_engine
from core.models import bundled
from core.session import Session
from core.training import data
from tests.conftest import finished

LENGTH = 64
"""Tokens of a sequence, as SAEDashboard's own benchmark has it."""


def ours(session: Session, sequences: int, scratch: Path) -> dict[str, float]:
    """Seconds for the feature database of all features."""
    values = session.config().model_dump(exclude_none=True)
    counted = sequences * (LENGTH - 1)
    settings = [f"tokens.context={LENGTH}", f"analysis.activations={counted}"]
    config = configs.parse(configs.with_settings(values, settings))
    model, sae = finished(load_engine(session))
    passes: list[float] = []
    read = model.activations

    def timed(ids: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        found = read(ids)
        passes.append(time.perf_counter() - start)
        return found

    model.activations = timed
    there = Session(scratch / "ours")
    there.path.mkdir()
    began, worked = time.perf_counter(), time.process_time()
    sources = [
        collect.run(
            model, sae, lambda: documents(config.corpus, "test", seed=config.seed), there, config
        ),
        build.build(there, {"d_sae": str(sae.d_sae)}, config.analysis),
    ]  # fmt: skip
    marks = [began]
    for source in sources:
        for _ in source:
            pass
        marks.append(time.perf_counter())
    return {
        "features": sae.d_sae, "tokens": counted, "seconds": marks[-1] - began, "pass_s": sum(passes),
        "sql_s": marks[2] - marks[1], "cpu_s": time.process_time() - worked,
        "a_second": sae.d_sae / (marks[-1] - began),
    }  # fmt: skip


def theirs(session: Session, sequences: int, features: int, python: str, scratch: Path) -> dict[str, float]:
    """Seconds for the panels of some features."""
    config = session.config()
    config = configs.parse(configs.with_settings(config.model_dump(exclude_none=True), [f"tokens.context={LENGTH}"]))
    model, _ = finished(load_engine(session))
    folder = finished(bundled.converted(torch.float32))
    [batch] = tokens.stacked(islice(data.blocks(config, model, "test"), sequences), sequences)
    np.save(scratch / "tokens.npy", batch.ids)
    call = [
        python, str(Path(__file__).with_name("dashboard_peer.py")), str(folder), str(session.weights_dir()),
        str(scratch / "tokens.npy"), config.model.hook, str(features),
    ]  # fmt: skip
    answer = subprocess.run(call, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"SAEDashboard failed:\n{answer.stderr[-2000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("name")
    parser.add_argument("--sequences", type=int, default=1024)
    parser.add_argument("--features", type=int, default=256, help="of SAEDashboard's; ours are all of the SAE's")
    parser.add_argument("--python", default=".venv-dashboard/bin/python")
    args = parser.parse_args()
    session = Session.open(args.sessions, args.name)
    scratch = Path(tempfile.mkdtemp())
    try:
        mine = ours(session, args.sequences, scratch)
        print("sae-tui", json.dumps(mine), flush=True)
        its = theirs(session, args.sequences, args.features, args.python, scratch)
        print("SAEDashboard", json.dumps(its), flush=True)
        print(f"{mine['a_second'] / its['a_second']:.0f} times its features a second")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
