"""What the options of `sae-tui steer` ask the engine for: interventions, places, chats, recipes."""

import shlex

import pytest

from core import config
from core.errors import EngineError
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.recipe import Recipe, recipe_path
from core.steering.request import GenerationRequest, Sampling
from sae_tui.commands import steer


@pytest.fixture
def trained(tmp_path):
    """A folder with the session `toy`, and `other` of another hook point."""
    for name, hook in (("toy", "blocks.1.hook_mlp_out"), ("other", "blocks.2.hook_mlp_out")):
        values = {"model": {"name": "gpt2", "hook": hook}, "sae": {"d_sae": 96}}
        Session.create(tmp_path, name, config.parse(values))
    return tmp_path


@pytest.fixture
def asked(cli, monkeypatch):
    """What a command asks an engine for, which dies of it; exit code and stderr where it asks nothing."""
    seen = []

    class Engine:
        def __init__(self, session):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def generate(self, request, *_, **__):
            seen.append(request)
            raise EngineError("it died")

    monkeypatch.setattr(steer, "Engine", Engine)

    def call(*arguments):
        seen.clear()
        code, _, err = cli("steer", "toy", *arguments)
        return seen[0] if seen else (code, err)

    return call


def test_every_kind_of_intervention_has_its_option_in_the_order_given(asked):
    options = "--cap 5=2x --mean-ablate 4 --add 3=-1 --amplify 2=3 --set 1=.5max --ablate 0 --scale 6=2"
    assert asked("--prompt", "x", *shlex.split(options)).interventions == (
        Intervention("cap", 5, 2.0, "p99"),
        Intervention("mean-ablate", 4),
        Intervention("add", 3, -1.0),
        Intervention("scale", 2, 3.0),
        Intervention("set", 1, 0.5, "max"),
        Intervention("ablate", 0),
        Intervention("scale", 6, 2.0),
    )


def test_a_place_is_for_all_that_have_none_of_their_own(asked):
    options = "--where 'generated, firing' --ablate 3 --add '4=2x@until:9,while:88>0.5' --ablate 5@prompt"
    places = [i.where for i in asked("--prompt", "x", *shlex.split(options)).interventions]
    assert places == ["generated,firing", "until:9,while:88>0.5", "prompt"]


def test_without_options_the_likeliest_tokens_of_a_raw_prompt_are_asked_for(asked):
    assert asked("--prompt", "x") == GenerationRequest(prompt="x", tokens=60, sampling=Sampling(temperature=0.0))


def test_all_else_has_its_option(asked):
    options = (
        "--tokens 9 --mode replace --temperature 0.5 --top-p 0.9 --top-k 40 --min-p 0.05 --repetition-penalty 1.1 "
        "--seed 3 --chat --system 'Be kind.'"
    )
    assert asked("--prompt", "x", *shlex.split(options)) == GenerationRequest(
        prompt="x", tokens=9, mode="replace", chat=True, system="Be kind.",
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1, seed=3),
    )  # fmt: skip
    assert asked("--prompt", "x", "--system", "Be kind.").chat


def test_a_recipe_that_is_kept_asks_for_the_same_again(asked, trained):
    options = ("--add", "3=2x@firing", "--temperature", "0.5", "--tokens", "7", "--system", "Be kind.")
    first = asked("--prompt", "it's", *options, "--save-recipe", "kind")
    path = recipe_path(Session(trained / "toy"), "kind")
    assert Recipe.load(path) == Recipe(request=first, model="gpt2", hook="blocks.1.hook_mlp_out")
    assert asked("--recipe", "kind") == asked("--recipe", path) == first


def test_options_come_before_the_recipe(asked):
    options = ("--ablate", "3", "--set", "4=1", "--temperature", "0.5", "--tokens", "7")
    asked("--prompt", "one", *options, "--save-recipe", "kind")
    again = asked("--recipe", "kind", "--prompt", "two", "--cap", "3=1", "--seed", "5", "--tokens", "0007", "--chat")
    assert again == GenerationRequest(
        prompt="two", tokens=7, sampling=Sampling(temperature=0.5, seed=5), chat=True,
        interventions=(Intervention("set", 4, 1.0), Intervention("cap", 3, 1.0)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--prompt TEXT, --recipe FILE or --replay FILE"),
        (("--prompt", "x", "--cap", "3"), "--cap 12=4"),
        (("--prompt", "x", "--mean-ablate", "3=2"), "--mean-ablate 12"),
        (("--prompt", "x", "--ablate", "3", "--where", "generatd"), "did you mean 'generated'?"),
        (("--prompt", "x", "--ablate", "3@while:8"), "while:88>0.5"),
        (("--prompt", "x", "--top-p", "2"), "2.0 is no top-p"),
        (("--recipe", "kind"), "there is no recipe 'kind'"),
        (("--prompt", "x", "--save-recipe", "../kind"), "cannot name a recipe"),
        (("--replay", "x.json", "--recipe", "kind"), "a replay has its own prompt"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(asked, options, says):
    code, err = asked(*options)
    assert code == 2 and says in err and "Traceback" not in err


def test_a_recipe_of_another_hook_point_or_a_torn_one_is_refused(asked, trained):
    Recipe.of(GenerationRequest(prompt="x"), Session(trained / "other")).save(trained / "other.toml")
    code, err = asked("--recipe", trained / "other.toml")
    assert code == 2 and "made for the hook point 'blocks.2.hook_mlp_out'" in err
    (trained / "torn.toml").write_text('prompt = "x')
    code, err = asked("--recipe", trained / "torn.toml")
    assert code == 2 and "recipe 'torn.toml': it is not TOML" in err
    (trained / "empty.toml").write_text("")
    assert "--prompt TEXT" in asked("--recipe", trained / "empty.toml")[1]
