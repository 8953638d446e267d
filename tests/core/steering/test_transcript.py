"""Transcripts: saved, loaded, and replayed to the same tokens."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from core.config import RunConfig
from core.errors import SessionError, UsageError
from core.session import Session
from core.steering.generate import generate, made_with
from core.steering.interventions import GenerationRequest, Intervention
from core.steering.transcript import Recorder, Transcript, collect

PROMPT = "import os\n"


@pytest.fixture
def request_(active):
    one, two = active(PROMPT)[:2]
    edits = (Intervention("add", one, 3.0, "p99"), Intervention("ablate", two, enabled=False))
    return GenerationRequest(prompt=PROMPT, interventions=edits, tokens=12, temperature=0.8, seed=4)


@pytest.fixture
def scales(request_):
    return {i.feature: {"p99": 2.5, "max": 9.0} for i in request_.interventions} | {99: {"p99": 1.0, "max": 1.0}}


@pytest.fixture
def make(model, sae, config, request_, scales):
    def make(now=None, n=None):
        recorder = Recorder(now) if now else None
        stream = generate(model, sae, request_, config, scales, recorder)
        reports = stream if n is None else [next(stream) for _ in range(n)]
        changes = recorder.changes if recorder else ()
        return collect(reports, request_, made_with(model, "demo"), scales=scales, changes=changes)

    return make


@pytest.fixture
def again(model, sae, config):
    def again(transcript):
        return tuple(generate(model, sae, transcript.request(), config, transcript.scales, transcript.replay()))

    return again


@pytest.fixture
def session(tmp_path):
    return Session.create(tmp_path, "demo", RunConfig())


def test_a_transcript_has_both_texts_their_tokens_and_the_mean_kl(make, model):
    transcript = make()
    for name in ("baseline", "steered"):
        row = getattr(transcript, name)
        assert row.tokens == tuple(getattr(r, name).token_id for r in transcript.reports)
        assert row.text == model.tokens.decode(row.tokens)
    assert transcript.mean_kl == pytest.approx(sum(r.kl for r in transcript.reports) / 12)


def test_the_mean_kl_leaves_out_tokens_after_a_row_has_ended(make):
    transcript = make()
    ended = replace(transcript.reports[-1], steered=None, kl=1e6)
    assert replace(transcript, reports=(*transcript.reports, ended)).mean_kl == transcript.mean_kl
    assert replace(transcript, reports=()).mean_kl is None


def test_the_json_has_the_keys_that_scripts_rely_on(make, request_):
    values = json.loads(json.dumps(make().to_json(), allow_nan=False))
    assert values["prompt"] == PROMPT
    assert values["seed"] == 4
    assert values["interventions"][0] == {
        "kind": "add", "feature": request_.interventions[0].feature, "value": 3.0, "unit": "p99",
        "where": "everywhere", "enabled": True,
    }  # fmt: skip
    assert set(values["baseline"]) == set(values["steered"]) == {"text", "tokens"}
    assert isinstance(values["mean_kl"], float)
    assert values["made_with"] == {
        "model": "bytes", "session": "demo", "dtype": "float32", "device": "cpu", "threads": 1,
        "torch": values["made_with"]["torch"], "rows": 2, "cache": True,
    }  # fmt: skip


def test_a_saved_transcript_comes_back_as_it_was_with_only_the_scales_it_needs(make, session, request_):
    transcript = make()
    loaded = Transcript.load(transcript.save(session))
    assert loaded == transcript
    assert set(loaded.scales) == {i.feature for i in request_.interventions}


def test_a_loaded_transcript_replays_to_the_same_tokens_and_figures(make, again, session):
    transcript = make()
    assert transcript.baseline.tokens != transcript.steered.tokens
    assert again(Transcript.load(transcript.save(session))) == transcript.reports


def test_changes_made_while_it_streamed_come_at_their_tokens_again(make, again, active, request_, session):
    other = (Intervention("set", active(PROMPT)[3], 9.0),)
    calls = iter([request_.interventions] * 3 + [other] * 4 + [()] * 5)
    transcript = make(now=lambda: next(calls))
    assert transcript.interventions == request_.interventions
    assert [(c.index, c.interventions) for c in transcript.changes] == [(3, other), (7, ())]
    loaded = Transcript.load(transcript.save(session))
    assert loaded == transcript
    assert again(loaded) == transcript.reports
    without = replace(loaded, changes=())
    assert again(without) != transcript.reports


def test_a_generation_that_was_stopped_replays_as_far_as_it_came(make, again, request_):
    stopped = make(now=lambda: request_.interventions, n=5)
    tokens = [r.steered.token_id for r in again(stopped)]
    assert tokens == list(stopped.steered.tokens)
    assert len(tokens) == 5


def test_saved_names_sort_by_time_and_none_is_written_over(make, session):
    transcript = make()
    paths = [transcript.save(session) for _ in range(3)]
    later = replace(transcript, at=transcript.at.replace(year=transcript.at.year + 1)).save(session)
    assert sorted(session.steering_dir.iterdir()) == [*paths, later]


def test_a_missing_or_torn_file_is_answered_with_a_sentence(make, session):
    path = make().save(session)
    path.write_text(path.read_text()[:200])
    with pytest.raises(SessionError, match="cannot be read"):
        Transcript.load(path)
    path.write_text("{}")
    with pytest.raises(SessionError, match="not a transcript"):
        Transcript.load(path)
    with pytest.raises(SessionError, match=r"no transcript 'nothing\.json'"):
        Transcript.load(path.with_name("nothing.json"))
    with pytest.raises(UsageError, match="not a transcript"):
        Transcript.from_json({"scales": 3})


def test_interventions_and_transcripts_are_read_without_torch():
    code = "import sys, core.steering.interventions, core.steering.transcript; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
