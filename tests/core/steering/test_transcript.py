"""Transcripts: saved, loaded, and replayed to the same tokens."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch
import transformers

from core.config import RunConfig
from core.errors import SessionError, UsageError
from core.session import Session
from core.steering.generate import digest, generate, made_with
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest, Sampling
from core.steering.transcript import Change, Recorder, Transcript, as_past, collect, distinct

PROMPT = "import os\n"


@pytest.fixture
def request_(active):
    one, two = active(PROMPT)[:2]
    edits = (Intervention("add", one, 3.0, "p99"), Intervention("ablate", two, enabled=False))
    return GenerationRequest(prompt=PROMPT, interventions=edits, tokens=12, sampling=Sampling(temperature=0.8, seed=4))


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
        return collect(reports, request_, made_with(model, "demo", "0123"), scales=scales, changes=changes)

    return make


@pytest.fixture
def again(model, sae, config):
    def again(transcript):
        request, changes = transcript.request(), transcript.changes
        return tuple(generate(model, sae, request, config, transcript.scales, changes=changes))

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
        "torch": torch.__version__, "rows": 2, "cache": True, "transformers": transformers.__version__,
        "transformer_lens": version("transformer-lens"), "sae": "0123",
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


def test_a_transcript_of_before_loads_with_what_was_then(make):
    values = json.loads(json.dumps(make().to_json()))
    new = ("top_p", "top_k", "min_p", "repetition_penalty", "chat", "system", "logprobs", "seconds", "parent", "parted")
    old = {name: value for name, value in values.items() if name not in new}
    for name in ("transformers", "transformer_lens", "sae"):
        del old["made_with"][name]
    for report in old["reports"]:
        del report["top"]
    loaded = Transcript.from_json(old)
    assert loaded.sampling == Sampling(temperature=0.8, seed=4)
    assert (loaded.chat, loaded.logprobs, loaded.parent, loaded.made_with.sae) == (False, None, "", "")
    assert loaded.made_with.differences(make().made_with) == []


def test_what_differs_is_told_in_words(make):
    made = make().made_with
    now = replace(made, sae="4567", threads=7)
    assert made.differences(now) == [
        "the number of threads was 1, is 7", "the SAE (a digest of its weights) was '0123', is '4567'",
    ]  # fmt: skip


def test_a_branch_replays_from_the_start_and_knows_where_it_parted(make, again, model, sae, config, session, active):
    trunk = make()
    fork = Change(5, (Intervention("set", active(PROMPT)[2], 9.0),), Sampling(temperature=1.3, seed=9, top_k=50))
    request, scales = trunk.request(), trunk.scales
    past = as_past(trunk.reports[:5])
    new = [r for r in generate(model, sae, request, config, scales, changes=[fork], past=past) if hasattr(r, "kl")]
    branch = collect(
        [*trunk.reports[:5], *new], request, trunk.made_with, scales=scales, changes=[fork], parent="a.json", parted=5
    )
    loaded = Transcript.load(branch.save(session))
    assert loaded == branch and (loaded.parent, loaded.parted) == ("a.json", 5)
    assert again(loaded) == branch.reports and branch.reports[5:] != trunk.reports[5:]


def test_the_summary_is_of_the_steered_text(make):
    transcript = make()
    assert transcript.summary().perplexity is None and transcript.summary().tokens_per_s is None
    tokens = transcript.steered.tokens
    summary = replace(transcript, logprobs=(-1.0, -3.0), seconds=2.0).summary()
    assert summary.perplexity == pytest.approx(math.exp(2.0))
    assert summary.tokens_per_s == pytest.approx(11 / 2)
    for n, share in enumerate(summary.distinct, 1):
        grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
        assert share == len(set(grams)) / len(grams)
    assert distinct((1, 2, 1, 2, 1), 2) == 0.5 and distinct((1,), 2) is None


def test_a_digest_tells_two_saes_apart(sae):
    before = digest(sae)
    assert digest(sae) == before
    sae.W_dec.data[0, 0] += 1e-3
    assert digest(sae) != before
