"""A session of images from its preset to its report, on a small data set; and each figure against a slow one."""

import contextlib
import json
import shutil

import duckdb
import numpy as np
import pytest
import torch

from core import config as configs
from core import flow, importing
from core.analysis import feature_report, gallery, grown, pictured, studies
from core.analysis.store import Store
from core.errors import ConfigError, SessionError
from core.fidelity import METRICS
from core.fidelity import evaluate as fidelity_of
from core.plain import returned
from core.sae import files
from core.session import Session
from core.tokens import stacked
from core.training import data
from tests import idx

SMALL = [
    "model.hidden=24", "model.epochs=3", "sae.d_sae=48", "sae.target_l0=6", "budget.activations=500",
    "budget.epochs=12", "training.batch_activations=64", "training.buffer_activations=1024",
    "training.snapshot_every_steps=30", "analysis.top_examples=5",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_TUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return idx.write(tmp_path_factory.mktemp("images") / "digits", train=400, test=120)


def small(folder, *settings, preset="mnist"):
    given = [f"corpus.name={json.dumps(str(folder))}", "device=cpu", *SMALL, *settings]
    return configs.parse(configs.with_settings(configs.preset(preset), given))


@pytest.fixture(scope="module")
def session(folder, tmp_path_factory):
    made = Session.create(tmp_path_factory.mktemp("sessions"), "mnist", small(folder))
    work = flow.stages(made)
    for verb in ("train", "evaluate", "analyze"):
        returned(work(verb))
    return made


@pytest.fixture(scope="module")
def model(session):
    return returned(flow.load_model(session.config()))


@pytest.fixture(scope="module")
def sae(session):
    return files.load(session.weights_dir())


@pytest.fixture(scope="module")
def database(session):
    with duckdb.connect(str(session.database_path), read_only=True) as connection:
        yield connection


def test_the_preset_leaves_what_any_session_has_and_the_target_is_hit(session):
    assert session.checkpoint_steps()[0] == session.metrics()[-1]["steps"] == -(-500 * 12 // 64)
    calibration = json.loads(session.calibration_path.read_text())
    assert calibration["l0"] == pytest.approx(6, abs=0.05) and session.snapshots_path.is_file()
    evaluation = session.evaluation()
    assert evaluation["l0"] == pytest.approx(6, abs=1.5) and evaluation["tokens"]["baseline_acc"] == 120
    assert evaluation["baseline_acc"] > 0.5 and evaluation["fidelity"] > 0.7


def test_the_summary_carries_the_names_that_are_known_and_the_metrics_beside_them(session):
    summary, evaluation = json.loads(session.summary_path.read_text()), session.evaluation()
    names = ["baseline_acc", "recon_acc_jumprelu", "delta_acc_jumprelu", "achieved_actives_val", "target_actives"]
    assert list(summary)[:5] == names
    wanted = [evaluation["baseline_acc"], evaluation["recon_acc"], evaluation["delta_acc"], evaluation["l0"], 6]
    assert [summary[name] for name in names] == wanted
    assert all(summary[name] == evaluation[name] for name in METRICS)


def test_fidelity_is_what_a_slow_pass_over_the_test_split_finds(session, model, sae):
    numbers = torch.from_numpy(model.images.numbers["test"])
    w = {key: value.double() for key, value in model.network.state_dict().items()}
    p = torch.from_numpy(model.images.pixels[numbers.numpy()]).double() / 255
    x = (p @ w["layers.1.1.weight"].T + w["layers.1.1.bias"]).relu()
    x_hat = sae(x.float()).detach().double()
    label = torch.from_numpy(model.images.labels[numbers.numpy()]).long()

    def ends(y):
        log = (y @ w["out.weight"].T + w["out.bias"]).log_softmax(dim=1)
        right = (log.argmax(dim=1) == label).double().mean()
        return log, float(right), float(-log[torch.arange(len(label)), label].mean())

    (clean, baseline, ce), (with_sae, recon, ce_sae) = ends(x), ends(x_hat)
    _, _, ce_zero = ends(torch.zeros_like(x))
    _, _, ce_mean = ends(x.mean(dim=0).expand_as(x))
    kl = float((clean.exp() * (clean - with_sae)).sum(dim=1).mean())
    score = (ce_zero - ce_sae) / (ce_zero - ce)
    wanted = [baseline, recon, baseline - recon, recon / baseline, ce, ce_sae, ce_zero, ce_mean, score, kl]
    found = session.evaluation()
    assert [found[name] for name in METRICS] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_fidelity_takes_as_many_images_as_the_activations_reach(session, model, sae):
    config = session.config()
    batches = lambda n: stacked(data.blocks(config, model, "test"), n)  # noqa: E731
    found = returned(fidelity_of(model, sae, batches, activations=50))
    assert found.tokens["baseline_acc"] == found.tokens["fvu"] == 50


def test_documents_are_the_test_splits_images_and_tokens_read_as_their_labels(model, database):
    rows = database.execute(
        "SELECT doc, image, label, predicted, pixels, category, source, text FROM images JOIN documents USING (doc) "
        "JOIN tokens USING (doc) ORDER BY doc"
    ).fetchall()
    numbers = model.images.numbers["test"]
    assert [row[1] for row in rows] == numbers.tolist() and [row[0] for row in rows] == list(range(120))
    predicted = model.logits(torch.from_numpy(numbers)).argmax(dim=1).tolist()
    for row, guess in zip(rows, predicted, strict=True):
        assert row[4] == model.images.pixels[row[1]].tobytes() and row[3] == guess
        assert str(row[2]) == row[5] == row[7] == str(model.images.labels[row[1]]) and row[6].endswith(f":{row[1]}")


def top(database, feature):
    return database.execute(
        "SELECT image, value FROM examples JOIN tokens USING (token_idx) JOIN images USING (doc) "
        "WHERE feature = ? AND band = 0 ORDER BY rank", [feature]
    ).fetchall()  # fmt: skip


def test_the_input_pattern_equals_finite_differences_over_the_top_images(model, sae, database):
    fired = [f for (f,) in database.execute("SELECT feature FROM features WHERE n > 10 ORDER BY n DESC").fetchall()]
    for feature in fired[:3]:
        rows = [image for image, _ in top(database, feature)]
        assert len(rows) == 5
        wanted = differences(code_of_pixels(model, sae), model.images.pixels[rows], feature)
        found = database.execute("SELECT value FROM patterns WHERE feature = ? ORDER BY y, x", [feature]).fetchall()
        assert np.allclose([v for (v,) in found], wanted, atol=1e-3)


def code_of_pixels(model, sae):
    """The SAE's code of pixels from 0 to 1, in float64."""
    w = {key: value.double() for key, value in model.network.state_dict().items()}
    code = files_double(sae)
    return lambda pixels: code((pixels @ w["layers.1.1.weight"].T + w["layers.1.1.bias"]).relu())


def differences(code, pixels, feature):
    """The mean over images of ∂z_f / ∂p, by moving one pixel after the other."""
    step, pixels, wanted = 1e-6, torch.from_numpy(pixels).double() / 255, []
    for place in range(784):
        moved = torch.zeros(784, dtype=torch.float64)
        moved[place] = step
        wanted.append(float((code(pixels + moved) - code(pixels - moved))[:, feature].mean() / (2 * step)))
    return wanted


def test_each_snapshot_tells_what_features_responded_to_with_the_sae_as_it_was_then(session, model, database):
    steps = [step for (step,) in database.execute("SELECT DISTINCT step FROM snapshots ORDER BY step").fetchall()]
    assert session.snapshot_steps() == steps == [1, 30, 60, 90, 94]
    numbers = model.images.numbers["test"]
    drawn = []
    for step in steps:
        code = code_of_pixels(model, files.load(session.snapshots_dir / str(step)))
        z = code(torch.from_numpy(model.images.pixels[numbers]).double() / 255).numpy()
        rows = database.execute(
            "SELECT feature, doc, value, pattern FROM snapshot_images WHERE step = ? ORDER BY feature", [step]
        ).fetchall()
        assert [row[0] for row in rows] == np.flatnonzero(z.max(axis=0) > 0).tolist()
        for feature, doc, value, _ in rows:
            assert value == pytest.approx(z[:, feature].max(), rel=1e-4) == pytest.approx(z[doc, feature], rel=1e-4)
        feature, _, _, pattern = max(rows, key=lambda row: row[2])
        top5 = [i for i in np.argsort(-z[:, feature], kind="stable")[:5] if z[i, feature] > 0]
        wanted = differences(code, model.images.pixels[numbers[top5]], feature)
        assert np.allclose(pattern, wanted, atol=1e-3 * max(np.abs(wanted)) + 1e-5)
        drawn.append(pattern)
    assert not np.allclose(drawn[0], drawn[-1], atol=1e-3)


def test_emergence_tells_features_one_by_one_with_their_pictures(session, database):
    found = studies.emergence(session)
    assert {one.why for one in found.features} <= {*grown.REASONS} and len({one.feature for one in found.features}) > 5
    for one in found.features:
        rows = database.execute(
            "SELECT step, density, value, pattern, image, label FROM snapshots LEFT JOIN snapshot_images "
            "USING (step, feature) LEFT JOIN images USING (doc) WHERE feature = ? ORDER BY step", [one.feature]
        ).fetchall()  # fmt: skip
        assert one.density == [row[1] for row in rows] and len(one.pictures) == 5
        for picture, (_, _, value, pattern, image, label) in zip(one.pictures, rows, strict=True):
            assert (picture is None) == (value is None)
            if picture:
                assert (picture.value, picture.image, picture.label) == (value, image, label)
                assert np.allclose(np.ravel(picture.pattern), pattern, rtol=1e-3) and np.shape(picture.pixels) == (
                    28,
                    28,
                )
    [asked] = studies.emergence(session, features=[7]).features
    assert (asked.feature, asked.why) == (7, "")


def files_double(sae):
    """The code of a JumpReLU in float64, by hand."""
    w_enc, b_enc, b_dec, theta = (t.detach().double() for t in (sae.W_enc, sae.b_enc, sae.b_dec, sae.threshold))

    def code(x):
        u = (x - b_dec * sae.apply_b_dec_to_input) @ w_enc + b_enc
        return u.relu() * (u > theta)

    return code


def test_the_causal_effects_equal_a_forward_pass_written_by_hand(model, sae, database):
    numbers = model.images.numbers["test"]
    w = {key: value.double() for key, value in model.network.state_dict().items()}
    p = torch.from_numpy(model.images.pixels[numbers]).double() / 255
    x = (p @ w["layers.1.1.weight"].T + w["layers.1.1.bias"]).relu()
    z = files_double(sae)(x)
    clean = x @ w["out.weight"].T + w["out.bias"]
    checked = 0
    for feature, mean in database.execute("SELECT feature, mean FROM features WHERE n > 0").fetchall():
        active = z[:, feature] > 0
        assert mean == pytest.approx(float(z[active, feature].mean()), rel=1e-4)
        direction = sae.W_dec[feature].detach().double()
        on = ((x[~active] + mean * direction) @ w["out.weight"].T + w["out.bias"] - clean[~active]).mean(dim=0)
        off = x[active] - z[active, feature].unsqueeze(1) * direction
        ablated = (off @ w["out.weight"].T + w["out.bias"] - clean[active]).mean(dim=0)
        rows = database.execute(
            "SELECT switched_on, ablated FROM effects WHERE feature = ? ORDER BY class", [feature]
        ).fetchall()
        if None not in rows[0]:
            assert np.allclose(np.array(rows).T, [on.tolist(), ablated.tolist()], atol=1e-4)
            checked += 1
    assert checked > 5


def test_effects_and_patterns_of_a_feature_map_are_those_of_its_places(folder):
    config = small(folder, "model.name=mnist-cnn", "model.hook=blocks.1.hook_post")
    model = returned(flow.load_model(config))
    numbers = torch.arange(6)
    x = model.activations(numbers.unsqueeze(1))
    z = torch.zeros(6, 49)
    z[2, 7], z[2, 8], z[4, 0] = 1.0, 2.0, 3.0
    direction = torch.randn(32)
    on, off = pictured.effect(model, x, model.onward(x), z, direction, 1.5)
    wanted_on, wanted_off = [], []
    for image in range(6):
        silent, active = x[image : image + 1].clone(), x[image : image + 1].clone()
        for place in range(49):
            if z[image, place] == 0:
                silent[0, place] += 1.5 * direction
            else:
                active[0, place] -= z[image, place] * direction
        wanted_on.append(model.onward(silent) - model.onward(x[image : image + 1]))
        if (z[image] > 0).any():
            wanted_off.append(model.onward(active) - model.onward(x[image : image + 1]))
    assert torch.allclose(on, torch.cat(wanted_on).mean(dim=0), atol=1e-5)
    assert len(wanted_off) == 2 and torch.allclose(off, torch.cat(wanted_off).mean(dim=0), atol=1e-5)


def test_the_report_has_every_feature_in_order_and_its_numbers_are_the_databases(session, database):
    report = json.loads(session.report_json_path.read_text())
    assert [one["feature"] for one in report if one["n"] == 0] == [one["feature"] for one in report][
        sum(one["n"] > 0 for one in report) :
    ]
    means = [one["mean_active"] for one in report if one["n"]]
    assert len(report) == 48 and means == sorted(means, reverse=True) and len(means) > 5
    rows = {
        f: rest
        for f, *rest in database.execute("SELECT feature, n, density, mean, category_entropy FROM features").fetchall()
    }
    for one in report:
        feature = one["feature"]
        assert [one["n"], one["density"], one["mean_active"], one["label_entropy"]] == rows[feature]
        labels = dict(
            database.execute("SELECT category::INT, n FROM feature_categories WHERE feature = ?", [feature]).fetchall()
        )
        assert one["label_hist"] == [labels.get(label, 0) for label in range(10)] and sum(one["label_hist"]) == one["n"]
        assert [(e["image"], e["value"]) for e in one["top_examples"]] == top(database, feature)
        effects = database.execute(
            "SELECT switched_on, ablated FROM effects WHERE feature = ? ORDER BY class", [feature]
        ).fetchall()
        assert list(zip(one["switched_on"], one["ablated"], strict=True)) == effects
        pattern = database.execute("SELECT value FROM patterns WHERE feature = ? ORDER BY y, x", [feature]).fetchall()
        assert [v for row in one["input_pattern"] for v in row] == [v for (v,) in pattern]
        if one["n"]:
            histogram = one["label_hist"]
            assert one["label_mode"] == histogram.index(max(histogram)) and one["guess"].startswith("guess: ")
            on = one["switched_on"]
            assert one["boost_logit"] == on[one["boost_class"]] == max(on)
            assert one["suppress_logit"] == on[one["suppress_class"]] == min(on)


def test_the_guess_says_whether_label_and_effect_agree():
    assert feature_report.guess([9, 1, 0], 0, 0) == "guess: fires mostly on 0 (90%) and speaks for it"
    assert (
        feature_report.guess([4, 3, 3], 0, 2) == "guess: fires most often, among others, on 0 (40%), but speaks for 2"
    )
    assert feature_report.guess([0, 0], None, None) == ""


def test_the_gallery_of_a_feature_is_read_without_torch(session, model, database):
    with Store.open([session]) as store:
        assert gallery.there(store)
        feature = store.query("SELECT feature FROM features ORDER BY n DESC", 1).rows[0][0]
        found = gallery.read(store, feature, limit=3)
    assert [(one.image, one.value) for one in found.images] == top(database, feature)[:3]
    first = found.images[0]
    wanted = model.images.pixels[first.image].reshape(28, 28) / 255
    assert np.array_equal(first.pixels, wanted) and np.array(found.pattern).shape == (28, 28)
    assert [effect[0] for effect in found.effects] == list(range(10))


def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(folder, session, tmp_path):
    stopped = Session.create(tmp_path, "stopped", small(folder))
    work = flow.train(stopped)
    with contextlib.closing(work):  # pyright: ignore[reportArgumentType] # a generator
        for record in work:
            if getattr(record, "step", 0) >= 40:
                break
    assert stopped.resumable() is not None
    returned(flow.train(stopped))
    one, other = files.load(session.weights_dir()).state_dict(), files.load(stopped.weights_dir()).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert stopped.snapshot_steps() == session.snapshot_steps()
    assert {p.name for p in stopped.snapshots_dir.iterdir()} == {p.name for p in session.snapshots_dir.iterdir()}
    for step in stopped.snapshot_steps():
        files_of = (s.snapshots_dir / str(step) / "sae_weights.safetensors" for s in (stopped, session))
        assert len({path.read_bytes() for path in files_of}) == 1


def test_pixels_are_activations_without_accuracies_or_effects(folder, tmp_path):
    settings = ["model.epochs=0", "sae.l1_coefficient=0.1"]
    given = [f"corpus.name={json.dumps(str(folder))}", "device=cpu", "budget.epochs=3", "sae.d_sae=24", *settings]
    config = configs.parse(configs.with_settings(configs.preset("mnist-pixels"), given))
    session = Session.create(tmp_path, "pixels", config)
    work = flow.stages(session)
    for verb in ("train", "evaluate", "analyze"):
        returned(work(verb))
    assert "baseline_acc" not in session.evaluation() and session.evaluation()["fvu"] < 1
    report = json.loads(session.report_json_path.read_text())
    assert report[0]["boost_class"] is None and report[0]["switched_on"] == [] and len(report[0]["input_pattern"]) == 28
    encoder = files.load(session.weights_dir()).W_enc[:, report[0]["feature"]].detach().numpy()
    assert np.allclose(np.ravel(report[0]["input_pattern"]), encoder, atol=1e-5), "of pixels the pattern is the encoder"


def test_a_feature_map_is_trained_on_and_analysed_place_by_place(folder, tmp_path):
    settings = ["model.name=mnist-cnn", "model.hook=blocks.1.hook_post", "budget.activations=2000", "budget.epochs=2"]
    session = Session.create(tmp_path, "maps", small(folder, *settings, "analysis.activations=1000"))
    work = flow.stages(session)
    for verb in ("train", "evaluate", "analyze"):
        returned(work(verb))
    assert session.evaluation()["tokens"]["baseline_acc"] == 120 and session.evaluation()["tokens"]["fvu"] == 120 * 49
    with duckdb.connect(str(session.database_path), read_only=True) as database:
        assert database.execute("SELECT count(*), count(DISTINCT doc) FROM tokens").fetchall() == [(1000, 21)]
        assert database.execute("SELECT count(*) FROM images").fetchall() == [(21,)]


def test_an_exported_sae_comes_back_to_the_classifier_it_was_trained_on(session, tmp_path):
    back = returned(importing.import_sae(tmp_path, str(session.sae_dir), "back"))
    config = back.config()
    assert config.model == session.config().model and config.corpus.name == session.config().corpus.name
    returned(flow.evaluate(back))
    assert back.evaluation()["baseline_acc"] == session.evaluation()["baseline_acc"]
    assert back.evaluation()["recon_acc"] == session.evaluation()["recon_acc"]


def test_an_sae_of_images_from_elsewhere_is_taken_to_be_of_the_embedded_ones(session, tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(session.sae_dir, folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"] = {name: value for name, value in cfg["metadata"].items() if name != "classifier"}
    cfg["metadata"]["dataset_path"] = None
    (folder / "cfg.json").write_text(json.dumps(cfg))
    assert returned(importing.import_sae(tmp_path, str(folder), "theirs-2")).config().corpus.name == "mnist"


def test_baselines_are_measured_on_images_with_what_the_classifier_makes_of_them(session, model, sae):
    found = {b.name: b for b in returned(flow.baselines(session))}
    assert list(found) == ["sae", "neurons", "pca", "random"]
    numbers = torch.from_numpy(model.images.numbers["test"][60:])
    x_hat = sae(model.activations(numbers.unsqueeze(1))[:, 0])
    labels = torch.from_numpy(model.images.labels_of(numbers.numpy()))
    right = (model.onward(x_hat.unsqueeze(1)).argmax(dim=1) == labels).double().mean()
    assert found["sae"].recon_acc == pytest.approx(float(right)) and found["sae"].token_entropy <= np.log(10)
    assert found["random"].recon_acc < found["sae"].recon_acc


def test_text_is_not_asked_of_a_session_of_images_which_an_engine_loads(session):
    with pytest.raises(SessionError, match="reads images: it knows no text"):
        returned(flow.load_text(session))
    with pytest.raises(SessionError, match="reads images"):
        returned(flow.ask(session, lambda model, sae: iter(())))
    model, sae = returned(flow.load_engine(session))
    assert model.classifies and sae.d_in == model.d_in


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["model.name=mnist-mlp"], "set it to mnist"),
        (["corpus.name=mnist"], "set model.name to mnist-mlp"),
        (["model.name=mnist-mlp", "corpus.name=mnist", "model.dtype=bfloat16"], "of float32"),
    ],
)
def test_a_model_of_images_and_a_text_do_not_go_together(settings, says):
    with pytest.raises(ConfigError, match=says):
        configs.parse(configs.with_settings({}, settings))
