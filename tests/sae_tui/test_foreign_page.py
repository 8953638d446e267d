"""The form for an SAE from elsewhere: what its files fill in, what is said while one types, what it starts."""

import contextlib
import json
from pathlib import Path

import psutil
import pytest
from textual.events import Paste

from core import jobs
from core.sae import registry
from core.session import Session
from sae_tui.screens.choose import Choose
from sae_tui.screens.draft import NAME, THEN
from sae_tui.screens.foreign import ForeignPage
from sae_tui.screens.foreign_draft import HOOK, MODEL, PROCESSING, SOURCE
from sae_tui.screens.runs import RunsPage
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.rows import Rows
from tests.sae_tui.waiting import until


def folder_of(path: Path, **changes: object) -> Path:
    """A folder as sae-lens writes it, of which the form reads only the configuration."""
    path.mkdir(parents=True)
    metadata = {"model_name": "smollm2", "hook_name": "blocks.3.hook_resid_pre"}
    values = {"architecture": "topk", "d_in": 576, "d_sae": 4_608, "k": 32, "metadata": metadata | changes}
    (path / "cfg.json").write_text(json.dumps(values))
    return path


async def opened(pilot) -> ForeignPage:
    await pilot.pause(0.2)
    await pilot.press("i")
    await until(lambda: isinstance(pilot.app.screen, ForeignPage))
    return pilot.app.screen


async def typed(pilot, name: str, text: str) -> None:
    """Another value in a row, pasted."""
    form = pilot.app.screen._form
    form.go_to(form.row(name))
    await pilot.pause()
    await pilot.press("end", "ctrl+u")
    form.post_message(Paste(text))
    await until(lambda: form.value(name) == text)


def child_of(name: str) -> bool:
    """Whether an import under this name runs as a child of this process."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has just ended, or other tests left it unread
            if {"import", name} <= set(child.cmdline()):
                return True
    return False


def told(page: ForeignPage) -> str:
    return "\n".join(line.plain for line in page.query_one("#told", Rows).lines)


@pytest.mark.asyncio
async def test_what_its_files_tell_is_filled_in_and_what_does_not_fit_is_said(sessions_root, workbench, tmp_path):
    kept = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    source = folder_of(tmp_path / "theirs" / "Layer 3", **kept)
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(pilot)
        await typed(pilot, SOURCE, str(source))
        await until(lambda: page._form.value(HOOK) == "blocks.3.hook_resid_pre")
        assert page._form.value(MODEL) == "smollm2" and page._form.value(PROCESSING) == "centred"
        assert page._form.value(NAME) == "theirs-layer-3"
        await until(lambda: "ready" in told(page) and "SAELens' topk: 576 → 4,608 features" in told(page))
        await typed(pilot, HOOK, "blocks.3.mlp.hook_post")
        await until(lambda: "takes 576 dimensions, but" in page._form.row(HOOK).wrong)
        await typed(pilot, HOOK, "blocks.99.hook_resid_pre")
        await until(lambda: "there is no blocks.99" in page._form.row(HOOK).wrong)
        await typed(pilot, NAME, "alpha")
        await until(lambda: "there is one of that name already" in page._form.row(NAME).wrong)
        await typed(pilot, SOURCE, str(tmp_path / "nowhere"))
        await until(lambda: "there is no" in page._form.row(SOURCE).wrong)
        await pilot.press("ctrl+s")
        await until(lambda: not page._starting)
        assert not list(sessions_root.glob("theirs*")) and isinstance(app.screen, ForeignPage)


@pytest.mark.asyncio
async def test_the_list_of_releases_is_gone_through(sessions_root, workbench, tmp_path, monkeypatch):
    release = {
        "repo_id": "some/repo", "model": "gpt2-small", "saes": [{"id": "blocks.8.hook_resid_pre", "path": "b8"}],
        "config_overrides": {"model_from_pretrained_kwargs": {"center_writing_weights": True}},
    }  # fmt: skip
    found = {"other": release}
    monkeypatch.setattr(registry, "releases", lambda: found)
    app = workbench(sessions_root)
    async with app.run_test(size=(100, 30)) as pilot:
        page = await opened(pilot)
        await typed(pilot, SOURCE, "res-jb/blocks.8.hook_resid_pre")
        await until(lambda: "no release 'res-jb'" in page._form.row(SOURCE).wrong)
        found["res-jb"] = release
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(app.screen, Choose))
        await pilot.press(*"res")
        await until(lambda: app.screen.query_one(PagedTable).row[0] == "res-jb")
        await pilot.press("enter")
        await until(lambda: app.screen.query_one(PagedTable).row[0] == "blocks.8.hook_resid_pre")
        await pilot.press("enter")
        await until(lambda: page._form.value(PROCESSING) == "centred")
        assert page._form.value(SOURCE) == "res-jb/blocks.8.hook_resid_pre"
        assert page._form.value(MODEL) == "gpt2-small" and page._form.value(HOOK) == "blocks.8.hook_resid_pre"


@pytest.fixture
def theirs(toy_values, tmp_path) -> Path:
    """An SAE of the tiny Llama, as sae-lens writes one."""
    from core.sae import files
    from core.sae.topk import TopK

    model = toy_values["model"]
    folder = tmp_path / "theirs"
    files.save(TopK(32, 96, 8), folder, {"model_name": model["name"], "hook_name": model["hook"]})
    return folder


@pytest.mark.asyncio
async def test_it_is_imported_in_a_process_of_its_own_and_opened(sessions_root, workbench, theirs, toy_values):
    app = workbench(sessions_root)
    async with app.run_test(size=(80, 24)) as pilot:
        page = await opened(pilot)
        await typed(pilot, SOURCE, str(theirs))
        await typed(pilot, NAME, "borrowed")
        await until(lambda: page._form.value(MODEL) == toy_values["model"]["name"])
        assert page._form.value(THEN) == "evaluate and analyse" and page._words()[-2:] == ["--then-all", "--detach"]
        page._form.go_to(page._form.row(THEN))
        await pilot.press("right")
        await until(lambda: page._form.value(THEN) == "evaluate")
        assert page._words()[-1] == "--detach" and "--then-all" not in page._words()
        await pilot.press("right")
        await until(lambda: page._form.value(THEN) == "nothing more" and page._words()[-1] == "--no-measure")
        await pilot.press("ctrl+s")
        await until(lambda: "importing" in told(page))
        await until(lambda: isinstance(app.screen, RunsPage))
        session = Session(sessions_root / "borrowed")
        assert session.config().model.hook == toy_values["model"]["hook"] and session.config().sae.d_sae == 96
        assert app.session.name == "borrowed" and not session.status().job


@pytest.mark.asyncio
async def test_what_follows_an_import_comes_though_the_form_is_left_and_the_workbench_quit(
    sessions_root, workbench, theirs, toy_values
):
    app = workbench(sessions_root)
    session = Session(sessions_root / "borrowed")
    async with app.run_test(size=(100, 30)) as pilot:
        page = await opened(pilot)
        await typed(pilot, SOURCE, str(theirs))
        await typed(pilot, "corpus.name", toy_values["corpus"]["name"])
        await typed(pilot, NAME, "borrowed")
        await until(lambda: page._form.value(MODEL) == toy_values["model"]["name"] and "ready" in told(page))
        await pilot.press("ctrl+s")
        await until(lambda: child_of("borrowed"), "no import was started")
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))
    # Processes of their own, which import torch, on a machine that may do much else.
    await until(lambda: session.status().job, "nothing followed the import", within_s=150)
    try:
        await until(lambda: session.evaluation() and session.status().job == "analyze", within_s=150)
    finally:
        if session.observed().active:
            jobs.stop(session)


async def started_on_what_is_torn(pilot, tmp_path):
    """The form, after the import of an SAE without its weights was started."""
    page = await opened(pilot)
    await typed(pilot, SOURCE, str(folder_of(tmp_path / "theirs" / "torn")))
    await until(lambda: "ready" in told(page))
    await pilot.press("ctrl+s")
    return page


@pytest.mark.asyncio
async def test_an_import_whose_form_was_left_is_told_of(sessions_root, workbench, tmp_path):
    app = workbench(sessions_root)
    async with app.run_test(size=(100, 30)) as pilot:
        page = await started_on_what_is_torn(pilot, tmp_path)
        await until(lambda: "importing" in told(page))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))
        await until(lambda: any("sae_weights.safetensors is missing" in n.message for n in app._notifications))


@pytest.mark.asyncio
async def test_an_import_that_fails_says_why_and_leaves_the_form(sessions_root, workbench, tmp_path):
    app = workbench(sessions_root)
    async with app.run_test(size=(100, 30)) as pilot:
        page = await started_on_what_is_torn(pilot, tmp_path)
        await until(lambda: any("sae_weights.safetensors is missing" in n.message for n in app._notifications))
        assert isinstance(app.screen, ForeignPage) and not page._starting
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))
