"""SAEs by name: what is asked of the hub, where it lies then, and the hub's failures in a sentence."""

import shutil
from fnmatch import fnmatch
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from core.errors import ModelError
from core.records import Progress
from core.sae import download, registry


def fetched(name):
    """What `fetch` returns, and the phases it reports."""
    phases, work = [], download.fetch(name)
    while True:
        try:
            record = next(work)
        except StopIteration as ended:
            return ended.value, phases
        assert isinstance(record, Progress)
        phases.append(record.phase)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one repository, in a folder: what a download asks for is copied."""
    repository = tmp_path / "there"
    for name in ("layer_20/width_16k/params.npz", "layer_20/width_16k/deeper/params.npz", "one.pt", "config.json"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(name)

    def snapshot_download(repo_id, allow_patterns):
        assert repo_id == "some/repo"
        here = tmp_path / "here"
        for file in [p.relative_to(repository) for p in repository.rglob("*") if p.is_file()]:
            if any(fnmatch(str(file), pattern) for pattern in allow_patterns):
                (here / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(repository / file, here / file)
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return tmp_path / "here"


def test_only_the_files_of_one_sae_are_fetched(hub):
    found, phases = fetched("some/repo:layer_20/width_16k/")
    assert found.source == hub / "layer_20" / "width_16k" and phases == ["fetching some/repo:layer_20/width_16k"]
    assert found.place == "some/repo:layer_20/width_16k" and not found.overrides and found.model is None
    assert [p.name for p in found.source.iterdir()] == ["params.npz"]
    assert fetched("some/repo:one.pt")[0].source.read_text() == "one.pt"
    assert (fetched("some/repo:")[0].source / "config.json").is_file()


def test_a_folder_that_is_not_there_is_said(hub):
    with pytest.raises(ModelError, match=r"has no SAE in 'layer_21'.*/some/repo/tree/main"):
        fetched("some/repo:layer_21")


RELEASES = """
res-jb:
  config_overrides: {model_from_pretrained_kwargs: {center_writing_weights: true}}
  model: gpt2-small
  repo_id: some/repo
  saes: [{id: blocks.8.hook_resid_pre, path: layer_20/width_16k, norm_scaling_factor: 2.5, l0: 3,
    neuronpedia: gpt2-small/8-res-jb}]
"""


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """A package `sae_lens` that is nothing but its list."""
    package = tmp_path / "site" / "sae_lens"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('nobody needs to import it')")
    (package / registry.REGISTRY).write_text(RELEASES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")


def test_a_release_is_looked_up_in_what_an_installed_sae_lens_brings(hub, releases):
    found, _ = fetched("res-jb/blocks.8.hook_resid_pre")
    assert found.source == hub / "layer_20" / "width_16k" and found.model == "gpt2-small"
    assert found.neuronpedia == "gpt2-small/8-res-jb" and fetched("some/repo:layer_20/width_16k")[0].neuronpedia is None
    assert found.overrides == {
        "model_from_pretrained_kwargs": {"center_writing_weights": True}, "norm_scaling_factor": 2.5,
    }  # fmt: skip
    assert found.recorded == {"l0": 3.0} and fetched("some/repo:layer_20/width_16k")[0].recorded == {}
    with pytest.raises(ModelError, match=r"no SAE 'blocks.8.hook_resid'.*did you mean 'blocks.8.hook_resid_pre'"):
        fetched("res-jb/blocks.8.hook_resid")
    with pytest.raises(
        ModelError, match="no file or folder runs/mine, and no release 'runs'.*: name it as REPO:FOLDER"
    ):
        fetched("runs/mine")


@pytest.mark.parametrize(
    ("name", "asked", "recorded"),
    [
        ("gpt2-small-res-jb/blocks.8.hook_resid_pre",
         ("jbloom/GPT2-Small-SAEs-Reformatted", "blocks.8.hook_resid_pre"), {"l0": 60, "explained_variance": 0.9}),
        ("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
         ("google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"), {"l0": 71}),
    ],
)  # fmt: skip
def test_without_sae_lens_a_release_is_looked_up_in_the_copy_that_comes_along(
    monkeypatch, tmp_path, name, asked, recorded
):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    repository, folder = asked
    (tmp_path / folder).mkdir(parents=True)

    def snapshot_download(repo_id, allow_patterns):
        assert repo_id == repository and folder in allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    found, _ = fetched(name)
    assert found.source == tmp_path / folder and found.recorded == recorded
    with pytest.raises(ModelError, match="did you mean 'gpt2-small-res-jb'"):
        fetched("gpt2-small-res-jbb/blocks.8.hook_resid_pre")


def test_a_hub_that_is_switched_off_is_said():
    with pytest.raises(ModelError, match="out of reach or switched off.*hf download google/gemma-scope-2b-pt-res"):
        fetched("google/gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_71")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.GatedRepoError("401", response=SimpleNamespace(headers={}, request=None)), "is gated.*hf auth login"),
        (
            errors.RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None)),
            "no repository 'some/repo'",
        ),
        (OSError(28, "No space left on device"), "cannot be fetched.*No space left"),
    ],
)
def test_the_hubs_failures_are_sentences(monkeypatch, error, says):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=says):
        fetched("some/repo:folder")


@pytest.mark.parametrize(
    ("source", "name"),
    [("some/repo:folder", True), ("res-jb/id", True), ("./a/b", False), ("~/a", False), ("/a:b", False), ("a", False)],
)
def test_what_may_be_a_name_and_what_is_a_path(source, name):
    assert registry.is_name(source) is name
