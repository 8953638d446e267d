"""A generation on a real tiny model that is stopped, killed and gone on with: the same tokens as in one go."""

import os
import signal
import time

import pytest
import torch

from core import config
from core.engine import protocol
from core.engine.client import Engine
from core.errors import EngineError
from core.sae import files
from core.sae.topk import TopK
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest, Sampling
from core.steering.transcript import Change, as_past

REQUEST = GenerationRequest(
    prompt="the cat sat on", interventions=(Intervention("add", 3, 6.0),), tokens=16, sampling=Sampling(seed=3)
)
CHANGES = (Change(6, (Intervention("set", 5, 4.0),), Sampling(temperature=1.3, top_k=40, seed=8)),)


@pytest.fixture
def session(tmp_path, toy_values):
    session = Session.create(tmp_path, "toy", config.parse(toy_values))
    sae = TopK(32, toy_values["sae"]["d_sae"], 8)
    draw = torch.Generator().manual_seed(2)
    sae.initialise(torch.zeros(32), draw)
    files.save(
        sae, session.sae_dir, {"model_name": toy_values["model"]["name"], "hook_name": "blocks.1.hook_resid_post"}
    )
    return session


def reports(events):
    return [event.report for event in events if isinstance(event, protocol.Step)]


def test_an_engine_that_was_killed_is_gone_on_with_to_the_same_tokens(session):
    with Engine(session) as engine:
        whole = reports(engine.generate(REQUEST, CHANGES))
        assert len({r.steered.token_id for r in whole if r.steered}) > 3
        came = []
        with pytest.raises(EngineError, match="died by signal 9"):
            for event in engine.generate(REQUEST, CHANGES):
                came += reports([event])
                if len(came) == 9:
                    os.kill(engine.pid, signal.SIGKILL)
        came = came[:9]
        assert came + reports(engine.generate(REQUEST, CHANGES, past=as_past(came))) == whole
        # And in a process that lives, back to the fourth token, one token, and on.
        one = reports(engine.generate(REQUEST, CHANGES, past=as_past(whole[:4]), steps=1))
        assert one == whole[4:5]
        assert reports(engine.generate(REQUEST, CHANGES, past=as_past(whole[:5]))) == whole[5:]


def test_what_is_asked_about_a_text_in_between_changes_nothing(session):
    with Engine(session) as engine:
        whole = reports(engine.generate(REQUEST, CHANGES))
        tokens = [r.steered.token_id for r in whole if r.steered]
        read = engine.firing(REQUEST.prompt, then=tokens, interventions=REQUEST.interventions, changes=CHANGES)
        assert len(read) > len(tokens) and read[-1].after and read[-1].logprob is not None
        assert reports(engine.generate(REQUEST, CHANGES, past=as_past(whole[:10]))) == whole[10:]


def test_a_stop_while_a_long_past_is_read_again_is_answered_in_a_third_of_a_second(session):
    request = GenerationRequest(prompt="a", tokens=120, sampling=Sampling(seed=3))
    with Engine(session) as engine:
        list(engine.load())
        past = [(20 + i % 5, 20 + i % 7) for i in range(110)]
        events = engine.generate(request, past=past)
        while not isinstance(event := next(events), protocol.Loading) or event.progress.done < 3:
            pass
        began = time.monotonic()
        engine.stop()
        assert time.monotonic() - began < 0.3
        assert [event.stopped for event in events if isinstance(event, protocol.Done)] == [True]
