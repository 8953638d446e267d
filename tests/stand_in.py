"""A stand-in for the model of an engine: the process, the protocol and the screens are a user's, the text is given.

env = {"PYTHONPATH": str(stand_in.install(folder, texts=[" one", " two"], tokens_per_s=20))}
"""

import json
from pathlib import Path

CODE = """
import sys, time, types

TEXTS, PAUSE = {texts}, {pause}

def load_engine(session):
    from core.records import Progress
    yield Progress(phase="loading the model", done=1, total=1, unit="tensors")
    return "model", types.SimpleNamespace(d_sae=12)

def made_with(model, session):
    from core.steering.transcript import MadeWith
    return MadeWith(model=TEXTS[0], session=session, dtype="float32", device="cpu", threads=1, torch="0")

def choice(n):
    from core.records import TokenChoice
    return TokenChoice(token_id=n, text=TEXTS[n % len(TEXTS)], logprob_baseline=-1.0, logprob_steered=-2.5)

def generate(model, sae, request, config, scales, now):
    from core.records import TokenReport
    for n in range(request.tokens):
        now()
        time.sleep(PAUSE)
        yield TokenReport(index=n, baseline=choice(n), steered=choice(n + n // 4), kl=0.5, same_context=n < 4)

def firing(model, sae, text, config, top, then):
    from core.records import FiringToken
    fires = tuple((f, 1 / (f + 1)) for f in range(min(top, 12)))
    read = [text[i:i + 4] for i in range(0, len(text), 4)]
    return [FiringToken(token_id=i, text=t, counted=i > 0, features=fires if i else ()) for i, t in enumerate(read)] + [
        FiringToken(token_id=i, text=TEXTS[i % len(TEXTS)], counted=True, features=fires) for i in then
    ]

flow, steering = types.ModuleType("core.flow"), types.ModuleType("core.steering.generate")
flow.load_engine = load_engine
steering.__dict__.update(made_with=made_with, generate=generate, firing=firing)
sys.modules.update({{"core.flow": flow, "core.steering.generate": steering}})
"""


def install(folder: Path, *, texts: list[str], tokens_per_s: float) -> Path:
    """Write it into a folder, and return that: what PYTHONPATH has to be for engines to have it."""
    folder.mkdir(parents=True, exist_ok=True)
    code = CODE.format(texts=f"__import__('json').loads({json.dumps(texts)!r})", pause=1 / tokens_per_s)
    (folder / "sitecustomize.py").write_text(code)
    return folder
