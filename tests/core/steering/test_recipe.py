"""Recipes: small TOML files that come back as they were, and what is wrong with one in a sentence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import config
from core.errors import SaeTuiError, UsageError
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.recipe import LARGEST, Recipe, found_recipe, recipe_names, recipe_path
from core.steering.request import GenerationRequest, Sampling

EDITS = (Intervention("add", 9, 2.0, "p99", "generated,firing"), Intervention("ablate", 7, enabled=False))
REQUEST = GenerationRequest(
    prompt="Once upon a time", interventions=EDITS, mode="replace", tokens=12, chat=True, system="Be kind.",
    sampling=Sampling(temperature=0.5, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1, seed=2**63 - 1),
)  # fmt: skip


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path / "toy")


def test_a_recipe_comes_back_from_its_file(session):
    recipe = Recipe(request=REQUEST, model="smollm2", hook="blocks.15.hook_resid_post")
    path = recipe_path(session, "dates")
    recipe.save(path)
    assert Recipe.load(path) == recipe and recipe.interventions == EDITS
    assert recipe_names(session) == ["dates"] and path == session.path / "steering" / "recipes" / "dates.toml"
    recipe.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["dates.toml"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(
    st.builds(
        GenerationRequest,
        prompt=TEXTS,
        chat=st.just(True),
        system=TEXTS,
        tokens=st.integers(1, 10**6),
        sampling=st.builds(Sampling, temperature=st.floats(0, 100), seed=st.integers(0, 2**63 - 1)),
        interventions=st.lists(
            st.builds(
                Intervention,
                st.sampled_from(["scale", "set", "add", "cap"]),
                st.integers(0, 10**17),
                st.floats(allow_nan=False, allow_infinity=False),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_any_request_comes_back(request_):
    assert Recipe.from_toml(Recipe(request=request_).to_toml()) == Recipe(request=request_)


def test_what_a_recipe_leaves_out_is_as_it_is_by_default():
    assert Recipe.from_toml('prompt = "x"') == Recipe(request=GenerationRequest(prompt="x"))
    assert Recipe.from_toml("") == Recipe(request=GenerationRequest(prompt=""))
    text = '[[interventions]]\nkind = "ablate"\nfeature = 3\n[sampling]\ntop_k = 4\n'
    assert Recipe.from_toml(text).request == GenerationRequest(
        prompt="", interventions=(Intervention("ablate", 3),), sampling=Sampling(top_k=4)
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt = ", "it is not TOML"),
        ('prompt = "torn', "it is not TOML"),
        ("a=[" * 3000, "it is not TOML"),
        ('promt = "x"', "a recipe has no 'promt': did you mean 'prompt'?"),
        ("prompt = 3", "3 is no prompt"),
        ("tokens = 0", "cannot generate 0 tokens"),
        ('tokens = "many"', "cannot generate 'many' tokens"),
        ('chat = "yes"', "'yes' is no chat"),
        ("system = 3", "3 is no system"),
        ('system = "x"', "needs a chat"),
        ('mode = "replaced"', "did you mean 'replace'?"),
        ("sampling = 3", "sampling is 3"),
        ("[sampling]\ntop_kk = 3", "[sampling] has no 'top_kk': did you mean 'top_k'?"),
        ('[sampling]\ntop_k = "x"', "'x' is no top-k"),
        ("[sampling]\ntemperature = nan", "nan is no temperature"),
        ("[made_for]\nmodel = 3", "made_for.model is 3"),
        ("[made_for]\nmodle = 'x'", "did you mean 'model'?"),
        ("interventions = 3", "[[interventions]]"),
        ("interventions = [3]", "intervention 1 is 3"),
        ("[[interventions]]\nfeature = 3", "intervention 1 has no kind"),
        ('[[interventions]]\nkind = "ablate"', "intervention 1 has no feature"),
        ('[[interventions]]\nkind = "ablate"\nfeature = 3\nwhen = "x"', "intervention 1 has no 'when'"),
        ('[[interventions]]\nkind = "boost"\nfeature = 3', "there is no intervention 'boost'"),
        ('[[interventions]]\nkind = "set"\nfeature = -3', "-3 is no feature"),
        ('[[interventions]]\nkind = "set"\nfeature = 3\nvalue = inf', "inf is no strength"),
        ('[[interventions]]\nkind = "set"\nfeature = 3\nvalue = "4x"', "'4x' is no strength"),
        ('[[interventions]]\nkind = "set"\nfeature = 3\nwhere = "nowhere"', "'nowhere' is no place"),
        ('[[interventions]]\nkind = "set"\nfeature = 3\nenabled = 3', "3 is neither on nor off"),
        ("[[interventions]]\nkind = []\nfeature = 3", "there is no intervention []"),
        ('[[interventions]]\nkind = "set"\nunit = {}\nfeature = 3', "there is no unit {}"),
    ],
)
def test_a_recipe_that_cannot_be_says_why_and_in_which_file(text, says, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        Recipe.load(path)
    assert says in str(error.value) and "'bad.toml'" in str(error.value)


@given(st.text() | st.binary())
def test_any_file_is_a_recipe_or_is_refused_in_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        Recipe.load(path)
    except UsageError as error:
        assert "'any.toml'" in error.message


def test_a_file_that_is_no_text_too_large_or_missing_is_refused(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(UsageError, match="a recipe is a small file"):
        Recipe.load(path)
    with pytest.raises(UsageError, match="there is no recipe"):
        Recipe.load(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        Recipe.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Recipe(request=REQUEST).save(tmp_path / "file" / "x.toml")


def test_a_name_is_one_of_the_sessions_or_else_a_path(session, tmp_path, monkeypatch):
    for name in ("dates", "names"):
        Recipe(request=REQUEST).save(recipe_path(session, name))
    (session.recipes_dir / "Not A Name.toml").write_text("")
    assert recipe_names(session) == ["dates", "names"]
    assert found_recipe(session, "dates") == recipe_path(session, "dates")
    with pytest.raises(UsageError, match="there is no recipe 'date': did you mean 'dates'?"):
        found_recipe(session, "date")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("")
    assert found_recipe(session, "mine.toml").resolve() == tmp_path / "mine.toml"
    assert found_recipe(session, str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
    for name in ("../dates", "a/b", "", "Dates", ".x"):
        with pytest.raises(SaeTuiError, match="cannot name a recipe"):
            recipe_path(session, name)
    with pytest.raises(UsageError, match="--save-recipe NAME"):
        found_recipe(Session(tmp_path / "other"), "dates")


def of(tmp_path, name, hook):
    values = {"model": {"name": name, "hook": hook}, "sae": {"d_sae": 96}}
    return Session.create(tmp_path, f"s{len(list(tmp_path.iterdir()))}", config.parse(values))


def test_a_recipe_for_another_model_or_hook_point_is_refused(tmp_path):
    session = of(tmp_path, "smollm2", "blocks.3.hook_mlp_out")
    recipe = Recipe.of(REQUEST, session)
    assert (recipe.model, recipe.hook) == ("smollm2", "blocks.3.hook_mlp_out")
    recipe.check(session)
    with pytest.raises(UsageError, match="made for the model 'smollm2', and this SAE is of 'gpt2'"):
        recipe.check(of(tmp_path, "gpt2", "blocks.3.hook_mlp_out"))
    other = of(tmp_path, "smollm2", "blocks.4.hook_mlp_out")
    with pytest.raises(UsageError, match="hook point 'blocks.3.hook_mlp_out', and this SAE is of 'blocks.4"):
        recipe.check(other)
    Recipe(request=REQUEST).check(other)


def test_of_a_models_folder_a_recipe_says_the_name_and_not_the_place(tmp_path):
    recipes = [
        Recipe.of(REQUEST, of(tmp_path, str(tmp_path / place / "mine"), "blocks.3.hook_mlp_out")) for place in "ab"
    ]
    assert recipes[0] == recipes[1] and recipes[0].model == "mine"
