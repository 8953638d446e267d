"""An engine of a session of images, as a real process: what it answers, what it refuses, that it loads once."""

import json

import pytest
import torch

from core import config as configs
from core import flow
from core.analysis.stores import Stores
from core.config import RunConfig
from core.engine import answers, protocol
from core.engine.client import Engine
from core.errors import SessionError, UsageError
from core.experiments.requests import EffectRequest
from core.plain import returned
from core.sae import files
from core.sae.jumprelu import JumpReLU
from core.session import Session
from core.steering.classify import classified, listed
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest
from tests import idx

EDITS = (Intervention("ablate", 3), Intervention("add", 5, 2.0, where="firing"))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session with a small network and an SAE that was not trained; it was not analysed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_TUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = idx.write(tmp_path_factory.mktemp("images") / "digits", train=200, test=40)
        settings = [f"corpus.name={json.dumps(str(folder))}", "device=cpu", "model.hidden=16", "model.epochs=1"]
        config = configs.parse(configs.with_settings(configs.preset("mnist"), [*settings, "sae.d_sae=24"]))
        made = Session.create(tmp_path_factory.mktemp("sessions"), "digits", config)
        sae = JumpReLU(16, 24)
        sae.initialise(torch.zeros(16), torch.Generator().manual_seed(2))
        files.save(sae, made.sae_dir, {"model_name": "mnist-mlp", "hook_name": "mlp.hook_post"})
        yield made


def test_it_lists_and_classifies_images_and_loads_once(session):
    model, sae = returned(flow.load_engine(session))
    with Engine(session) as engine:
        events = list(engine.load())
        assert isinstance(events[-1], protocol.Done) and any(isinstance(e, protocol.Started) for e in events)
        found = engine.listing()
        assert found == listed(model) and len(found.numbers) == 40
        for mode in ("error-kept", "replace"):
            asked = engine.classified(found.numbers[:2], EDITS, mode=mode, top=6)
            wanted = classified(model, sae, found.numbers[:2], EDITS, None, mode, top=6)
            assert [(one.image, one.label, one.pixels) for one in asked] == [
                (one.image, one.label, one.pixels) for one in wanted
            ]
            for one, other in zip(asked, wanted, strict=True):
                assert one.steered.logits == pytest.approx(other.steered.logits, abs=1e-5)
                assert [f.feature for f in one.features] == [f.feature for f in other.features]
        pid = engine.pid
        with pytest.raises(UsageError, match="there is no image 240"):
            engine.classified([240])
        refused = (
            lambda: engine.firing("a text"),
            lambda: engine.attribution("a text"),
            lambda: list(engine.generate(GenerationRequest(prompt="a text"))),
            lambda: list(engine.experiment(EffectRequest(edit=Intervention("ablate", 3), texts=("a",)))),
        )
        for ask in refused:
            with pytest.raises(SessionError, match="'digits' reads images: it knows no text"):
                ask()
        assert engine.classified(found.numbers[:1])[0].kl == 0 and engine.pid == pid, "it is the same process"


def test_a_session_of_text_is_asked_for_no_images(tmp_path):
    session = Session.create(tmp_path, "toy", RunConfig())
    for question in (protocol.ListImages(id=1), protocol.Classify(id=2, images=(1,), top=3)):
        with pytest.raises(SessionError, match="'toy' reads text: it knows no images"):
            answers.answer(None, None, session, question, Stores())
