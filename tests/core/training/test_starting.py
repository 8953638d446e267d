"""A training that begins with the weights of another SAE: a session's, a checkpoint's, sae-lens'."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import config, flow
from core.errors import ConfigError, ModelError
from core.records import Notice, StepReport
from core.sae import build, files
from core.session import Session
from core.training import own

ARCHITECTURES = ["topk", "batchtopk", "matryoshka", "relu", "gated", "jumprelu"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(40, 16, generator=generator)
    code = torch.rand(2_000, 40, generator=generator) * (torch.rand(2_000, 40, generator=generator) < 0.05)
    path = tmp_path_factory.mktemp("rows") / "x.safetensors"
    save_file({"x": 3 * (code @ directions + 1)}, path)
    return path


def session_with(root, source, name, *, sae=None, **training):
    values = {
        "device": "cpu", "sae": {"d_sae": 64, "k": 4, "penalty_warmup_steps": 0, **(sae or {})},
        "budget": {"activations": 1_000},
        "training": {
            "source": str(source), "batch_activations": 100, "buffer_activations": 400, "warmup_steps": 2, **training,
        },
    }  # fmt: skip
    return Session.create(root, name, config.parse(values))


def first_step(session):
    """The first report, and the batch it is of."""
    work = flow.train(session)
    report = next(r for r in work if isinstance(r, StepReport))
    work.close()
    return report


@pytest.mark.parametrize("normalize", ["average_norm", "none"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_its_first_loss_is_that_of_the_sae_it_begins_with(tmp_path, source, architecture, normalize, monkeypatch):
    sae = {"architecture": architecture, "normalize": normalize}
    list(flow.train(session_with(tmp_path, source, "first", sae=sae)))
    start = files.load(tmp_path / "first" / "sae")
    seen = []
    from core.training import run

    step = run.Run.step
    monkeypatch.setattr(run.Run, "step", lambda self, x: (seen.append((x, self.inputs)), step(self, x))[1])
    second = session_with(tmp_path, source, "second", sae=sae, init_from="first")
    report = first_step(second)
    x, inputs = seen[0]
    reference = build.build(second.config().sae, 16)  # as in training: batchtopk's threshold plays no part there
    with torch.no_grad():
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", *reference.names[4:]):
            theirs, ours = getattr(start, name), getattr(reference, name)
            ours.copy_(theirs[0] if ours.ndim < theirs.ndim else theirs)
    mse = reference.losses(x, dead=torch.zeros(64, dtype=torch.bool), warmth=1.0).mse
    scale = float(inputs.apply(x).norm() / x.norm())
    assert report.mse == pytest.approx(scale**2 * float(mse.detach()), rel=1e-4)
    assert (scale == pytest.approx(1)) == (normalize == "none")


def test_a_folder_and_a_checkpoint_serve_as_a_session_does(tmp_path, source):
    first = session_with(tmp_path, source, "first")
    list(flow.train(first))
    reports = []
    for i, given in enumerate(("first", first.sae_dir, first.checkpoints_dir / "10", first.path)):
        session = session_with(tmp_path, source, f"from-{i}", init_from=str(given))
        said = [r.message for r in flow.train(session) if isinstance(r, Notice)]
        assert f"its weights begin as those of {given}" in said
        reports.append(session.metrics()[0]["loss"])
    assert len(set(reports)) == 1


def test_a_foreign_sae_whose_rows_have_other_norms_begins_as_it_is(tmp_path, source):
    first = session_with(tmp_path, source, "first", sae={"architecture": "jumprelu"})
    list(flow.train(first))
    folder = tmp_path / "theirs"
    folder.mkdir()
    values = json.loads((first.sae_dir / "cfg.json").read_text())
    values["metadata"] = {"model_name": "gpt2", "hook_name": "blocks.0.hook_resid_pre"}
    (folder / "cfg.json").write_text(json.dumps(values))
    tensors = load_file(first.sae_dir / "sae_weights.safetensors")
    by = torch.linspace(0.5, 3, 64)
    tensors |= {"W_dec": tensors["W_dec"] * by.unsqueeze(1), "W_enc": tensors["W_enc"] / by}
    tensors |= {"b_enc": tensors["b_enc"] / by, "threshold": tensors["threshold"] / by}
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "sae_weights.safetensors")
    ours = session_with(tmp_path, source, "ours", sae={"architecture": "jumprelu"}, init_from="first")
    theirs = session_with(tmp_path, source, "from-theirs", sae={"architecture": "jumprelu"}, init_from=str(folder))
    for session in (ours, theirs):
        list(flow.train(session))
    for a, b in zip(ours.metrics(), theirs.metrics(), strict=True):
        assert a["mse"] == pytest.approx(b["mse"], rel=1e-3)


def test_a_resumed_training_does_not_begin_again(tmp_path, source):
    list(flow.train(session_with(tmp_path, source, "first")))
    whole = session_with(tmp_path, source, "whole", init_from="first")
    list(flow.train(whole))
    stopped = session_with(tmp_path, source, "stopped", init_from="first")
    work = flow.train(stopped)
    next(r for r in work if isinstance(r, StepReport) and r.step == 4)
    work.close()
    (tmp_path / "first" / "sae" / "cfg.json").write_text("gone")
    list(flow.train(stopped))
    one, other = (load_file(s.sae_dir / "sae_weights.safetensors") for s in (whole, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("sae", "given", "error", "says"),
    [
        ({"d_sae": 32}, "first", ConfigError, "first is 16 -> 64 features, the run 16 -> 32: set sae.d_sae = 64"),
        ({"architecture": "relu"}, "first", ConfigError, "first is a topk SAE, and sae.architecture is relu"),
        ({"apply_b_dec_to_input": False}, "first", ConfigError, "first has sae.apply_b_dec_to_input = true"),
        ({}, "frist", ConfigError, "there is no session and no folder 'frist'"),
        ({}, "{root}/nowhere", ConfigError, "there is no session and no folder"),
        ({}, "{root}", ModelError, "holds no cfg.json"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, source, sae, given, error, says):
    list(flow.train(session_with(tmp_path, source, "first")))
    second = session_with(tmp_path, source, "second", sae=sae, init_from=given.format(root=tmp_path))
    with pytest.raises(error, match=says) as raised:
        list(flow.train(second))
    assert "\n" not in str(raised.value) and not second.checkpoints_dir.exists()


def test_one_of_other_activations_is_told_apart(tmp_path, source):
    list(flow.train(session_with(tmp_path, source, "first")))
    save_file({"x": torch.randn(500, 8)}, tmp_path / "narrow.safetensors")
    second = session_with(tmp_path, tmp_path / "narrow.safetensors", "second", init_from="first")
    with pytest.raises(ConfigError, match="16 -> 64 features, the run 8 -> 64: they are of other activations"):
        list(flow.train(second))
    assert own.OwnActivations(second.config(), "train").d_in == 8
