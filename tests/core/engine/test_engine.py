"""The engine as a real process: streaming, stopping, dying, coming back.

Model and generation are stand-ins that a `sitecustomize` puts in place in the child; what they do is said by
the prompt. Protocol, server, client and the process are what a user's are.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core import child
from core.analysis.connection import SCHEMA
from core.config import RunConfig
from core.engine import protocol
from core.engine.client import Engine
from core.errors import EngineError, QueryError, UsageError
from core.experiments.requests import DoseRequest, EffectRequest, PairRequest
from core.records import (
    AttributedFeature,
    Attribution,
    ConceptFound,
    ConceptRow,
    ConceptSide,
    ContextToken,
    FiringToken,
    Progress,
    TextReading,
    TokenChoice,
    TokenReport,
)
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest, Sampling
from core.steering.transcript import Change, MadeWith
from tests.sae_tui.experiments import measured

SIDE = ConceptSide(strong_share=0.5, active_share=1.0, mean=2.0, composite=100.0)
ROW = ConceptRow(feature=1, score=100.0, threshold=1.5, inside=SIDE, outside=None)
FOUND = ConceptFound(texts=2, contrast=1, rule="above 5", rows=(ROW,), notes=("a", "b"))
TOKEN = ContextToken(token_idx=1, token_id=2, text="\u2028", value=0.5)
READING = TextReading(
    text="a", category="", source="s", tokens=(TOKEN,), max=0.5, at=1, x_nonzero=1.0, z_nonzero=None, active=(2, 0),
    cut=3,
)  # fmt: skip
ATTRIBUTED = Attribution(
    tokens=(TOKEN,), position=1, target_id=3, target=" a", score=1.5, probability=0.25, likeliest=((" a", 0.25),),
    pairs=7, ablated=1, pearson=None, spearman=0.5,
    rows=(
        AttributedFeature(position=1, token="t", feature=2, activation=1.0, direct=None, gradient=-1.0, ablation=0.5),
    ),
)  # fmt: skip

EXPERIMENTS = (
    DoseRequest(
        prompt="a\u2028", features=(1, 2), strengths=(0.5, 1.0, 2.0), sampling=Sampling(temperature=0.5, top_k=9)
    ),
    PairRequest(one=Intervention("ablate", 3), other=Intervention("add", 4, 2.0, "max"), texts=("a", "b")),
    EffectRequest(edit=Intervention("mean-ablate", 3), target=" b", seed=7),
)

PARTS = """
import os, signal, sys, time, types

def load_engine(session):
    from core.records import Progress
    print("a library prints while it loads")
    os.write(1, b'{"is": "Done", "id": 1, "stopped": false}\\n')
    for n in range(3):
        yield Progress(phase="loading the model", done=n, total=3, unit="tensors")
        if (session.path / "slow load").exists():
            time.sleep(30)
    return "model", types.SimpleNamespace(d_sae=100)

def made_with(model, session, digest):
    import torch
    from core.steering.transcript import MadeWith
    threads = torch.get_num_threads()
    return MadeWith(model=model, session=session, dtype="float32", device="cpu", threads=threads, torch="0", sae=digest)

class Live:
    pass

def digest(sae):
    return "0123"

def generate(model, sae, request, config, scales, now, *, changes, past, live):
    from core.errors import QueryError
    from core.records import Progress, TokenChoice, TokenReport
    for i in range(len(past)):
        time.sleep(float(request.sampling.temperature))
        yield Progress(phase="reading", done=i, total=len(past))
    if request.prompt == "fail":
        raise QueryError("there is no feature 9", hint="this SAE has 8")
    if request.prompt == "crash":
        raise ZeroDivisionError("odd")
    if request.prompt == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if request.prompt in ("slow", "deaf"):
        time.sleep(30)
    for index in range(len(past), request.tokens):
        print("noise", index)
        if request.prompt == "die" and index == 2:
            os.write(2, b"out of something\\n")
            os.kill(os.getpid(), 9)
        time.sleep(float(request.sampling.temperature))
        logprobs = {"logprob_baseline": -1.0, "logprob_steered": float("-inf")}
        text = "".join(f"{i.kind}{i.value * (1 if i.unit == 'raw' else scales[i.feature][i.unit]):g}" for i in now())
        choice = TokenChoice(token_id=index, text=text if request.prompt == "tell" else request.prompt, **logprobs)
        yield TokenReport(index=index, baseline=None, steered=choice, kl=0.5, same_context=True)

def firing(model, sae, request, config, scales, *, changes, then, top):
    from core.records import FiringToken
    features = tuple((f, 1 / (f + 1)) for f in range(top))
    after = tuple((i.feature, i.value) for i in request.interventions)
    text = request.prompt + request.system
    return [FiringToken(token_id=i, text=text, counted=True, features=features, after=after) for i in (1, *then)]

def concept(model, sae, session, texts, contrast, *, rule, top):
    from core.records import ConceptFound, ConceptRow, ConceptSide, Progress
    yield Progress(phase="reading the texts")
    if texts[0].text == "slow":
        time.sleep(30)
    side = ConceptSide(strong_share=1.0, active_share=1.0, mean=9.92, composite=992.0)
    outside = side if contrast else None
    row = ConceptRow(feature=7, score=992.0, threshold=5.0, inside=side, outside=outside)
    return ConceptFound(
        texts=len(texts), contrast=len(contrast), rule=str(rule), rows=top * (row,), notes=(session.name,)
    )

def feature(model, sae, session, texts, feature):
    from core.records import ContextToken, TextReading
    yield from ()
    tokens = (ContextToken(token_idx=1, token_id=3, text=" a", value=float(feature)),)
    return tuple(
        TextReading(text=t.text, category="", source=t.source, tokens=tokens, max=1.0, at=1, x_nonzero=1.0,
                    z_nonzero=None, active=(), cut=0)
        for t in texts
    )

def attribute(model, sae, text, config, *, target, position, rank, top, then, chat, system):
    from core.errors import UsageError
    from core.records import AttributedFeature, Attribution, ContextToken, Progress
    yield Progress(phase="one backward pass")
    if target == "two tokens":
        raise UsageError("the target is 2 tokens", hint="give one")
    row = AttributedFeature(
        position=1, token=text, feature=2, activation=3.0, direct=None, gradient=-0.5, ablation=None
    )
    return Attribution(
        tokens=(ContextToken(token_idx=0, token_id=0, text=text, value=0.0),), position=position or 9, target_id=4,
        target=str(target), score=1.0, probability=0.5, likeliest=((" a", 0.5),), pairs=1, rows=top * (row,),
        ablated=0, pearson=None, spearman=None,
    )

def run(model, sae, session, request):
    import dataclasses
    from core.records import Progress
    from tests.sae_tui.experiments import measured
    for whole in (False, True):
        yield Progress(phase="writing texts", done=1 + whole, total=2, unit="tokens")
        if request.prompt == "slow" and whole:
            time.sleep(30)
        yield measured(request, whole=whole)

parts = {
    "core.flow": {"load_engine": load_engine},
    "core.steering.generate": {"made_with": made_with, "generate": generate, "digest": digest, "Live": Live},
    "core.steering.firing": {"firing": firing},
    "core.steering.classify": {},
    "core.analysis.asking": {"concept": concept, "feature": feature},
    "core.analysis.attribution": {"attribute": attribute},
    "core.experiments.run": {"run": run},
}
for name, functions in parts.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(functions)
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    place = tmp_path / "path" / "sitecustomize.py"
    place.parent.mkdir()
    place.write_text(PARTS)
    monkeypatch.setenv("PYTHONPATH", str(place.parent))
    return Session.create(tmp_path / "sessions", "toy", RunConfig())


@pytest.fixture
def engine(session: Session) -> Iterator[Engine]:
    with Engine(session) as engine:
        yield engine


def ask(prompt: str = "a", tokens: int = 3, pause_s: float = 0.0) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        tokens=tokens,
        sampling=Sampling(temperature=pause_s),
        interventions=(Intervention("scale", 7, 2.0),),
    )


def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def up_to(events: Iterator[protocol.Event], kind: type, n: int = 1) -> protocol.Event:
    """Take events until the n-th of a kind."""
    while True:
        event = next(events)
        n -= isinstance(event, kind)
        if n == 0:
            return event


def stop_soon(engine: Engine) -> threading.Thread:
    thread = threading.Thread(target=lambda: (time.sleep(0.05), engine.stop()))
    thread.start()
    return thread


def ended_by_stop(events: Iterator[protocol.Event]) -> bool:
    *_, last = events
    return isinstance(last, protocol.Done) and last.stopped


def test_it_loads_on_demand_and_streams(engine: Engine):
    assert engine.pid is None
    events = list(engine.generate(ask("höher 😀", 3)))
    phases = [e.progress.phase for e in events if isinstance(e, protocol.Loading)]
    assert phases == ["starting the engine"] + 3 * ["loading the model"]
    steps = [e.report for e in events if isinstance(e, protocol.Step)]
    assert [s.index for s in steps] == [0, 1, 2]
    assert steps[0].steered == TokenChoice(
        token_id=0, text="höher 😀", logprob_baseline=-1.0, logprob_steered=float("-inf")
    )
    (started,) = [e for e in events if isinstance(e, protocol.Started)]
    assert started.made_with.session == "toy"
    assert isinstance(events[-1], protocol.Done) and not events[-1].stopped
    again = list(engine.generate(ask(tokens=1)))
    assert [type(e) for e in again] == [protocol.Started, protocol.Step, protocol.Done]


def test_it_tells_what_fires_and_loads_ahead(engine: Engine):
    assert isinstance(list(engine.load())[-1], protocol.Done)
    assert engine.firing("x", top=2) == (
        FiringToken(token_id=1, text="x", counted=True, features=((0, 1.0), (1, 0.5))),
    )
    assert [token.token_id for token in engine.firing("x", top=1, then=[7, 8])] == [1, 7, 8]
    edits = [Intervention("set", 4, 2.0)]
    (token,) = engine.firing("x", interventions=edits, changes=[Change(1, ())], chat=True, system="s", mode="replace")
    assert (token.text, token.after) == ("xs", ((4, 2.0),))


def test_it_answers_questions_about_texts(engine: Engine):
    found = engine.concept(["def f", "import x"], ["rain"], strong="5", top=2)
    assert found is not None and len(found.rows) == 2 and found.rows[0].outside is not None
    assert (found.texts, found.contrast, found.rule, found.notes) == (2, 1, "5", ("toy",))
    assert found.rows[0].inside.composite == 992
    alone = engine.concept(["a"])
    assert alone is not None and alone.rule == "None" and alone.rows[0].outside is None
    attributed = engine.attribution("the cat", " sat", position=3, rank="direct", top=4)
    assert attributed is not None and (attributed.position, attributed.target, len(attributed.rows)) == (3, " sat", 4)
    assert attributed.rows[0].gradient == -0.5 and attributed.likeliest == ((" a", 0.5),)
    one, two = engine.reading(["x", "y"], 5)
    assert (one.text, two.text, one.source) == ("x", "y", "typed") and one.tokens[0].value == 5.0


def test_an_experiment_tells_how_far_it_is_and_what_is_whole_and_a_stop_keeps_that(engine: Engine):
    request = DoseRequest(prompt="a", features=(1, 2), strengths=(1.0, 2.0, 3.0), target=" b")
    events = list(engine.experiment(request))
    came = [event.outcome for event in events if isinstance(event, protocol.Measured)]
    assert came == [measured(request, whole=False), measured(request)] and [one.whole for one in came] == [False, True]
    shares = [e.progress.done for e in events if isinstance(e, protocol.Loading) and e.progress.unit == "tokens"]
    assert shares == [1, 2] and events[-1] == protocol.Done(id=events[-1].id, stopped=False)
    slow = engine.experiment(DoseRequest(prompt="slow", features=(1,), strengths=(1.0, 2.0)))
    found = up_to(slow, protocol.Measured)
    assert not found.outcome.whole
    stop_soon(engine)
    assert ended_by_stop(slow) and engine.firing("still there", top=1)


def test_a_question_that_cannot_be_asked_is_an_error_and_the_engine_goes_on(engine: Engine):
    with pytest.raises(UsageError, match="the target is 2 tokens: give one"):
        engine.attribution("the cat", "two tokens")
    pid = engine.pid
    with pytest.raises(UsageError, match="a text is empty"):
        engine.reading([" "], 5)
    assert engine.reading(["x"], 5) and engine.pid == pid


def test_a_stop_ends_a_question_without_an_answer_and_keeps_the_engine(engine: Engine):
    list(engine.load())
    pid, stopper = engine.pid, stop_soon(engine)
    assert engine.concept(["slow"]) is None
    stopper.join()
    assert engine.reading(["x"], 5) and engine.pid == pid


def test_what_libraries_print_goes_to_the_log(engine: Engine, session: Session):
    assert sum(isinstance(e, protocol.Step) for e in engine.generate(ask(tokens=20))) == 20
    log = (session.steering_dir / "engine.log").read_text()
    assert "a library prints while it loads" in log and "noise 19" in log and '"is": "Done"' in log


def test_a_stop_in_mid_stream_is_answered_in_a_third_of_a_second(engine: Engine):
    events = engine.generate(ask(tokens=10_000, pause_s=0.02))
    up_to(events, protocol.Step, 3)
    pid, began = engine.pid, time.monotonic()
    engine.stop()
    assert time.monotonic() - began < 0.3
    assert ended_by_stop(events)
    assert len(list(engine.generate(ask()))) == 5 and engine.pid == pid


def test_closing_the_stream_stops_the_request(engine: Engine):
    events = engine.generate(ask(tokens=10_000, pause_s=0.02))
    up_to(events, protocol.Step)
    pid = engine.pid
    events.close()
    texts = [e.report.steered.text for e in engine.generate(ask("b")) if isinstance(e, protocol.Step)]
    assert texts == ["b", "b", "b"] and engine.pid == pid


def test_a_stop_interrupts_a_slow_prefill_and_keeps_the_engine(engine: Engine):
    events = engine.generate(ask("slow"))
    up_to(events, protocol.Started)
    pid, began = engine.pid, time.monotonic()
    stopper = stop_soon(engine)
    assert ended_by_stop(events) and 0.3 < time.monotonic() - began < 1
    stopper.join()
    assert len(list(engine.generate(ask()))) == 5 and engine.pid == pid


def test_a_stop_interrupts_a_slow_load_and_the_next_request_loads_anew(engine: Engine, session: Session):
    (session.path / "slow load").touch()
    events = engine.generate(ask())
    up_to(events, protocol.Loading, 2)
    began = time.monotonic()
    stopper = stop_soon(engine)
    assert ended_by_stop(events) and time.monotonic() - began < 1
    stopper.join()
    (session.path / "slow load").unlink()
    assert isinstance(list(engine.generate(ask()))[-2], protocol.Step)


def test_a_stop_kills_what_hears_nothing(engine: Engine):
    events = engine.generate(ask("deaf"))
    up_to(events, protocol.Started)
    pid, began = engine.pid, time.monotonic()
    stopper = stop_soon(engine)
    assert ended_by_stop(events) and 1.9 < time.monotonic() - began < 3
    stopper.join()
    assert pid is not None and not psutil.pid_exists(pid)
    assert isinstance(list(engine.generate(ask()))[-2], protocol.Step)


def test_a_stop_with_nothing_to_stop_does_nothing(engine: Engine):
    engine.stop()
    list(engine.load())
    engine.stop()
    assert not list(engine.generate(ask()))[-1].stopped


def test_an_engine_that_is_killed_in_mid_stream_is_an_error_and_the_next_request_starts_another(
    engine: Engine,
):
    events = engine.generate(ask(tokens=10_000, pause_s=0.02))
    up_to(events, protocol.Step)
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="the engine died by signal 9, saying 'noise"):
        list(events)
    assert not psutil.pid_exists(pid)
    assert len(list(engine.generate(ask()))) == 9 and engine.pid != pid


def test_an_engine_that_is_killed_between_requests_is_replaced_unnoticed(engine: Engine):
    list(engine.load())
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert engine.firing("x") and engine.pid != pid


def test_an_engine_that_dies_says_its_last_words(engine: Engine):
    with pytest.raises(EngineError, match="saying 'out of something'"):
        list(engine.generate(ask("die")))


def test_an_engine_that_cannot_start_says_why_once(engine: Engine, session: Session):
    session.config_path.write_text("nonsense = ")
    with pytest.raises(EngineError, match=r"died with exit code 2, saying 'error: .*TOML"):
        list(engine.load())
    assert (session.steering_dir / "engine.log").read_text().count("== engine") == 1


def test_what_the_work_raises_is_raised_here_and_the_engine_goes_on(engine: Engine, session: Session):
    with pytest.raises(QueryError, match="there is no feature 9: this SAE has 8"):
        list(engine.generate(ask("fail")))
    pid = engine.pid
    with pytest.raises(EngineError, match=r"ZeroDivisionError: odd; see steering/engine\.log"):
        list(engine.generate(ask("crash")))
    assert len(list(engine.generate(ask()))) == 5 and engine.pid == pid


def change_until_it_holds(engine: Engine, events: Iterator[protocol.Event], edits: tuple) -> protocol.Changed:
    assert engine.change(edits)
    changed = up_to(events, protocol.Changed)
    assert isinstance(changed, protocol.Changed) and changed.interventions == edits
    return changed


def test_a_change_holds_from_the_token_that_is_told(engine: Engine):
    assert not engine.change(())
    events = engine.generate(ask("tell", tokens=10_000, pause_s=0.01))
    assert up_to(events, protocol.Step, 3).report.steered.text == "scale2"
    edits = (Intervention("ablate", 7), Intervention("add", 8, 3.0))
    changed = change_until_it_holds(engine, events, edits)
    step = next(events)
    assert isinstance(step, protocol.Step) and step.report.index == changed.index > 2
    assert step.report.steered.text == "ablate0add3"
    again = change_until_it_holds(engine, events, ())
    assert again.index > changed.index and next(events).report.steered.text == ""
    engine.stop()
    assert ended_by_stop(events) and not engine.change(edits)


def test_a_change_that_comes_while_it_loads_holds_from_the_first_token(engine: Engine):
    events = engine.generate(ask("tell", tokens=2))
    next(events)
    assert engine.change((Intervention("set", 1, 4.0),))
    changed, *steps, _done = [e for e in events if not isinstance(e, protocol.Loading | protocol.Started)]
    assert changed.index == 0 and [step.report.steered.text for step in steps] == ["set4", "set4"]


def test_a_change_that_cannot_be_is_refused_and_the_stream_goes_on(engine: Engine, session: Session):
    events = engine.generate(ask("tell", tokens=10_000, pause_s=0.01))
    up_to(events, protocol.Step)
    engine.change((Intervention("ablate", 100),))
    refused = up_to(events, protocol.Refused)
    assert (refused.kind, refused.message) == ("QueryError", "there is no feature 100")
    engine.change((Intervention("add", 3, 1.0, "max"),))
    assert "not known" in up_to(events, protocol.Refused).message
    (session.path / "features.duckdb").write_bytes(b"not a database")
    engine.change((Intervention("add", 3, 1.0, "max"),))
    assert up_to(events, protocol.Refused).kind == "QueryError"
    assert up_to(events, protocol.Step).report.steered.text == "scale2"
    change_until_it_holds(engine, events, (Intervention("ablate", 1),))
    events.close()


def test_a_changed_strength_is_read_in_units_of_the_feature(engine: Engine, session: Session):
    import duckdb

    with duckdb.connect(str(session.database_path)) as database:
        database.execute(
            "CREATE TABLE features AS SELECT 3::INTEGER AS feature, 1.5 AS p99, 4.0 AS max, 0.1 AS density, 1.0 AS mean"
        )
        database.execute("INSERT INTO features SELECT unnest(range(3))::INTEGER, NULL, NULL, 0, NULL")
        database.execute("CREATE TABLE meta AS SELECT 'schema' AS key, $1 AS value", [SCHEMA])
    events = engine.generate(ask("tell", tokens=10_000, pause_s=0.01))
    up_to(events, protocol.Step)
    for unit, text in (("max", "add8"), ("p99", "add3")):
        change_until_it_holds(engine, events, (Intervention("add", 3, 2.0, unit),))
        assert next(events).report.steered.text == text
    engine.change((Intervention("add", 2, 2.0, "max"),))
    assert "never fired" in up_to(events, protocol.Refused).message
    events.close()


def test_a_replay_changes_at_the_same_tokens_again(engine: Engine):
    changes = [Change(2, (Intervention("ablate", 1),)), Change(4, ())]
    events = list(engine.generate(ask("tell", tokens=5), changes))
    texts = [e.report.steered.text for e in events if isinstance(e, protocol.Step)]
    assert texts == ["scale2", "scale2", "ablate0", "ablate0", ""]
    assert [Change(e.index, e.interventions) for e in events if isinstance(e, protocol.Changed)] == changes
    with pytest.raises(QueryError, match="there is no feature 100"):
        list(engine.generate(ask("tell"), [Change(1, (Intervention("ablate", 100),))]))


def test_a_past_is_read_and_only_the_tokens_after_it_come(engine: Engine):
    list(engine.load())
    asked = {"changes": [Change(1, (Intervention("ablate", 1),)), Change(4, ())], "past": [(7, 8), (None, 9)]}
    events = list(engine.generate(ask("tell", tokens=6), **asked, steps=3))
    read = [e.progress.done for e in events if isinstance(e, protocol.Loading)]
    steps = [e.report for e in events if isinstance(e, protocol.Step)]
    assert read == [0, 1]
    # What held at the end of the past is known to who asks: only what comes after it is told.
    assert [(s.index, s.steered.text) for s in steps] == [(2, "ablate0"), (3, "ablate0"), (4, "")]
    assert [(e.index, e.interventions) for e in events if isinstance(e, protocol.Changed)] == [(4, ())]


def test_a_change_that_comes_while_the_past_is_read_holds_from_the_first_new_token(engine: Engine):
    list(engine.load())
    changes = [Change(2, (Intervention("ablate", 1),))]
    events = engine.generate(ask("tell", tokens=12, pause_s=0.05), changes, past=[(1, 2)] * 10)
    up_to(events, protocol.Loading)
    assert engine.change((Intervention("set", 5, 1.0),))
    *_, changed, one, other, _done = events
    assert changed.index == 10 and [one.report.steered.text, other.report.steered.text] == ["set1", "set1"]


def test_a_stop_while_a_past_is_read_is_answered_in_a_third_of_a_second(engine: Engine):
    events = engine.generate(ask(tokens=10_000, pause_s=0.02), past=[(1, 2)] * 5_000)
    up_to(events, protocol.Started)
    up_to(events, protocol.Loading, 3)
    began = time.monotonic()
    engine.stop()
    assert time.monotonic() - began < 0.3
    assert ended_by_stop(events)


def test_a_replay_computes_with_the_threads_that_were_recorded_and_others_with_the_engines_own(engine: Engine):
    def threads(**asked):
        (started,) = [e for e in engine.generate(ask(tokens=1), **asked) if isinstance(e, protocol.Started)]
        return started.made_with.threads

    own = threads()
    assert threads(threads=own + 3) == own + 3
    assert threads() == own


def test_a_second_request_at_a_time_is_refused_and_a_ping_is_not(engine: Engine):
    assert not engine.ping()
    events = engine.generate(ask("slow"))
    up_to(events, protocol.Started)
    with pytest.raises(EngineError, match="busy"):
        engine.firing("x")
    assert engine.ping()
    events.close()


def test_closing_ends_the_process_also_in_mid_stream(session: Session):
    engine = Engine(session)
    events = engine.generate(ask("deaf"))
    up_to(events, protocol.Started)
    pid, began = engine.pid, time.monotonic()
    engine.close()
    assert time.monotonic() - began < 1 and pid is not None and not psutil.pid_exists(pid)
    assert ended_by_stop(events)
    with pytest.raises(EngineError, match="closed"):
        list(engine.load())


@pytest.mark.parametrize("prompt", ["a", "deaf"])
def test_the_engine_ends_when_who_asks_is_killed(session: Session, prompt: str):
    script = f"""
import sys
from pathlib import Path
from core.engine.client import Engine
from core.session import Session
from core.steering.request import GenerationRequest, Sampling
engine = Engine(Session(Path({str(session.path)!r})))
request = GenerationRequest(prompt={prompt!r}, tokens=10_000, sampling=Sampling(temperature=0.02))
for event in engine.generate(request):
    if type(event).__name__ == "Started":
        print(engine.pid, flush=True)
"""
    asker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=child.environment())
    assert asker.stdout is not None
    pid = int(asker.stdout.readline())
    asker.kill()
    asker.communicate()
    until(lambda: not alive(pid), timeout_s=2)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "message",
    [
        protocol.Load(id=1),
        protocol.Generate(id=2, request=ask("\u2028 \ud800 ü\n")),
        protocol.Generate(id=2, request=ask(), changes=(Change(3, (Intervention("ablate", 1),)), Change(5, ()))),
        protocol.Change(id=2, interventions=(Intervention("add", 1, 2.0, "max", "from:3", enabled=False),)),
        protocol.Changed(id=2, index=4, interventions=()),
        protocol.Refused(id=2, kind="QueryError", message="m", hint=""),
        protocol.Generate(
            id=2,
            request=ask(),
            past=((1, 2), (None, 3)),
            steps=1,
            threads=2,
            changes=(Change(1, (), Sampling(top_k=3)),),
        ),
        protocol.Tokens(id=3, text="\x1b[31m", top=5, then=(1, 2)),
        protocol.Tokens(id=3, text="a", top=5, changes=(Change(1, ()),), chat=True, system="s", mode="replace"),
        protocol.Concept(id=3, texts=("\x1b", "b"), contrast=(), strong=None, top=5),
        protocol.Attribute(id=3, text="a", target=None, position=2, rank="gradient", top=5),
        protocol.Read(id=3, texts=("a",), feature=4),
        protocol.Stop(id=4),
        protocol.Ping(id=5),
        protocol.Loading(id=6, progress=Progress(phase="x", done=1, total=None)),
        protocol.Started(
            id=7, made_with=MadeWith(model="m", session="s", dtype="f", device="cpu", threads=1, torch="2")
        ),
        protocol.Step(
            id=8,
            report=TokenReport(index=1, baseline=None, steered=None, kl=float("inf"), same_context=False),
        ),
        protocol.Firing(id=9, tokens=(FiringToken(token_id=1, text="", counted=False, features=((1, 0.5),)),)),
        protocol.Found(id=9, concept=FOUND),
        protocol.Attributed(id=9, attribution=ATTRIBUTED),
        protocol.WasRead(id=9, readings=(READING, READING)),
        protocol.Done(id=10, stopped=True),
        protocol.Failed(id=11, kind="QueryError", message="m", hint=""),
        protocol.Pong(id=12),
        *(protocol.Experiment(id=13, request=request) for request in EXPERIMENTS),
        *(protocol.Measured(id=14, outcome=measured(request, whole=i == 1)) for i, request in enumerate(EXPERIMENTS)),
    ],
)
def test_every_message_is_one_ascii_line_and_comes_back_equal(message):
    line = protocol.encode(message)
    assert line.isascii() and line.count(b"\n") == 1 and line.endswith(b"\n")
    assert protocol.decode(line) == message


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b'{"is": "Done"}', b'{"is": "Wish", "id": 1}', b"\xff"])
def test_a_line_that_is_no_message_is_a_value_error(line: bytes):
    with pytest.raises(ValueError, match=r".*"):
        protocol.decode(line)
