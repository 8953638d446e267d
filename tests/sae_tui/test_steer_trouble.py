"""What the engine runs into, as the Steer screen tells it: in the engine's own words, and one goes on."""

import pytest
import torch

from core import config, flow
from core.engine import protocol
from core.engine.client import _as_error
from core.engine.server import _told
from core.errors import SaeTuiError
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.sae import files
from core.sae.topk import TopK
from core.session import Session
from core.steering.generate import generate
from core.steering.interventions import Intervention
from core.steering.request import GREEDY, GenerationRequest
from core.steering.transcript import Change
from tests.conftest import finished
from tests.sae_tui.fake_engine import FakeEngine, paced
from tests.sae_tui.steering import PROMPT, SIZE, command, generated, note, state
from tests.sae_tui.waiting import until

NARROW = (80, 24)


def raised(work):
    """What the real work raises, as it comes out of the engine's pipe."""
    with pytest.raises((SaeTuiError, torch.OutOfMemoryError)) as found:
        work()
    line = protocol.encode(protocol.Failed(id=1, **_told(found.value)))
    failed = protocol.decode(line)
    assert isinstance(failed, protocol.Failed)
    return _as_error(failed)


def work(model, prompt="the cat sat", changes=(), tokens=8):
    """A generation of the tiny model with a random SAE, to its end."""
    sae = TopK(model.d_in, 96, 8)
    sae.initialise(torch.zeros(model.d_in), torch.Generator().manual_seed(2))
    request = GenerationRequest(prompt=prompt, tokens=tokens, sampling=GREEDY)
    return list(generate(model, sae, request, TokensConfig(), None, changes=changes))


async def streaming(pilot, page):
    """Text that comes, and has some tokens already."""
    page.prompt.text = PROMPT
    page.edits.table.focus()
    await pilot.pause()
    await command(pilot, "/add 5 1e30")
    await command(pilot, "/tokens 1900")
    await pilot.press("r")
    await until(lambda: page.generation and len(page.generation.reports) > 3)


async def goes_on(pilot, page, engine):
    """n goes on from where it broke off."""
    came = page.generation.text("steered")
    engine.made.error = None
    await pilot.press("n")
    await until(lambda: len(page.generation.text("steered")) > len(came))
    assert page.generation.text("steered").startswith(came)


@pytest.fixture
def full(toy_language_model, monkeypatch):
    """The tiny model on a GPU whose memory is used up."""

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(LanguageModel, "next_logits", out_of_memory)
    return toy_language_model


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [SIZE, NARROW])
async def test_a_gpu_without_memory_is_told_in_a_sentence_and_one_goes_on(steer, engine, full, size):
    engine.like = lambda: paced(0.02)
    error = raised(lambda: work(full))
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await streaming(pilot, page)
        engine.made.error = error
        await until(lambda: "the GPU's memory does not hold 2 rows of" in note(page), note(page))
        assert "Tried to allocate" not in note(page)
        assert page.prompt.text == PROMPT and page.generation.reports
        await goes_on(pilot, page, engine)


@pytest.mark.asyncio
async def test_a_gpu_that_does_not_hold_the_model_is_told_and_the_next_key_tries_again(steer, engine):
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    made = FakeEngine()
    made.error = raised(full)
    engine.like = lambda: made
    app = steer()
    async with app.run_test(size=NARROW) as pilot:
        page = app.screen
        page.prompt.text = PROMPT
        page.edits.table.focus()
        await pilot.press("r")
        await until(lambda: "the GPU's memory is full" in note(page) and "nvidia-smi" in note(page), note(page))
        assert "✗ no engine" in state(page) and page.prompt.text == PROMPT
        made.error = None
        await pilot.press("r")
        await until(lambda: page.generation.ended and len(page.generation.reports) > 3)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [SIZE, NARROW])
async def test_a_prompt_that_is_too_long_is_told_in_numbers_and_stays_to_be_cut(
    steer, engine, toy_language_model, size
):
    long = "the cat sat on a green mat " * 30
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await generated(pilot, page)
        engine.made.error = raised(lambda: work(toy_language_model, long))
        page.prompt.text = long
        await pilot.press("r")
        await until(lambda: "are more than the 128 that" in note(page) and "shorten the text" in note(page), note(page))
        assert page.prompt.text == long
        engine.made.error = None
        page.prompt.text = PROMPT
        await pilot.press("r")
        await until(lambda: page.generation.ended and not page.generation.ended.error and page.generation.reports)


@pytest.mark.asyncio
async def test_an_sae_that_does_not_fit_the_model_is_told_with_both_sizes(steer, engine, tmp_path, toy_values):
    session = Session.create(tmp_path / "other", "odd", config.parse(toy_values))
    sae = TopK(24, 96, 8)
    sae.initialise(torch.zeros(24), torch.Generator().manual_seed(2))
    files.save(sae, session.sae_dir, {"model_name": "toy", "hook_name": "blocks.1.hook_resid_post"})
    made = FakeEngine()
    made.error = raised(lambda: finished(flow.load_engine(session)))
    engine.like = lambda: made
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.text = PROMPT
        page.edits.table.focus()
        await pilot.press("r")
        await until(lambda: "the SAE takes 24 dimensions" in note(page) and "has 32" in note(page), note(page))
        assert page.prompt.text == PROMPT and "✗ no engine" in state(page)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [SIZE, NARROW])
async def test_a_strength_without_numbers_is_named_with_its_token_and_a_lower_one_goes_on(
    steer, engine, toy_language_model, size
):
    engine.like = lambda: paced(0.02)
    huge = Change(3, (Intervention("add", 5, 1e38), Intervention("add", 5, 3e38)))
    error = raised(lambda: work(toy_language_model, changes=[huge]))
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await streaming(pilot, page)
        engine.made.error = error
        await until(lambda: "at token 3 the model's output is no longer a number" in note(page), note(page))
        await until(lambda: "feature 5" in note(page) and "lower its strength" in note(page), note(page))
        await command(pilot, "/add 5 1")
        assert [edit.value for edit in page.edits.plan.interventions] == [1.0]
        await goes_on(pilot, page, engine)
