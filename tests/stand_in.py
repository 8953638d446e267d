"""A stand-in for the model of an engine: the process, the protocol and the screens are a user's, the text is given.

env = {"PYTHONPATH": str(stand_in.install(folder, texts=[" one", " two"], tokens_per_s=20))}
"""

import json
from pathlib import Path

CODE = """
import sys, time, types

TEXTS, PAUSE = {texts}, {pause}

def choice(n):
    from core.records import TokenChoice
    return TokenChoice(token_id=n, text=TEXTS[n % len(TEXTS)], logprob_baseline=-1.0, logprob_steered=-2.5)

class ModelBackend:
    def __init__(self, session, load):
        self.session = session

    def load(self):
        from core.records import Progress
        yield Progress(phase="loading the model", done=1, total=1, unit="tensors")

    def made_with(self, threads):
        from core.steering.transcript import MadeWith
        return MadeWith(
            model=TEXTS[0], session=self.session.name, dtype="float32", device="cpu", threads=1, torch="0"
        )

    def generate(self, message, now):
        from core.records import NextToken, TokenReport
        for n in range(len(message.past), message.request.tokens):
            now()
            time.sleep(PAUSE)
            top = tuple(
                NextToken(token_id=i, text=text, logprob_baseline=-1.0, logprob_steered=-2.5)
                for i, text in enumerate(TEXTS)
            )
            yield TokenReport(
                index=n, baseline=choice(n), steered=choice(n + n // 4), kl=0.5, same_context=n < 4, top=top
            )

    def check(self, interventions):
        pass

    def experiment(self, request):
        from tests.sae_tui.experiments import measured
        yield measured(request)

    def answer(self, question):
        from core.engine.protocol import Attribute, Attributed, Concept, Firing, Found, Read, WasRead
        from core.records import FiringToken
        from tests.sae_tui.fake_engine import FakeEngine
        fake = FakeEngine(words=TEXTS)
        match question:
            case Concept():
                found = fake.concept(question.texts, question.contrast, strong=TEXTS[0], top=question.top)
                return Found(id=question.id, concept=found)
            case Attribute():
                found = fake.attribution(question.text, TEXTS[0], position=question.position, then=question.then)
                return Attributed(id=question.id, attribution=found)
            case Read():
                return WasRead(id=question.id, readings=fake.reading(question.texts, question.feature))
        text, fires = question.text, tuple((f, 1 / (f + 1)) for f in range(min(question.top, 12)))
        read = [text[i:i + 4] for i in range(0, len(text), 4)]
        tokens = [
            FiringToken(token_id=i, text=t, counted=i > 0, features=fires if i else ()) for i, t in enumerate(read)
        ]
        tokens += [
            FiringToken(token_id=i, text=TEXTS[i % len(TEXTS)], counted=True, features=fires) for i in question.then
        ]
        return Firing(id=question.id, tokens=tuple(tokens))

flow, backend = types.ModuleType("core.flow"), types.ModuleType("core.engine.backend")
flow.load_engine = None
backend.__dict__.update(Backend=object, ModelBackend=ModelBackend)
sys.modules.update({{"core.flow": flow, "core.engine.backend": backend}})
"""


def install(folder: Path, *, texts: list[str], tokens_per_s: float) -> Path:
    """Write it into a folder, and return that: what PYTHONPATH has to be for engines to have it."""
    folder.mkdir(parents=True, exist_ok=True)
    code = CODE.format(texts=f"__import__('json').loads({json.dumps(texts)!r})", pause=1 / tokens_per_s)
    (folder / "sitecustomize.py").write_text(code)
    return folder
