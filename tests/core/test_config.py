"""A configuration: round trips, what is refused and how it is said, --set, presets, the printed example."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import config
from core.errors import ConfigError

values = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "strict": st.booleans(),
        "model": st.fixed_dictionaries({"name": st.text(min_size=1, max_size=30), "dtype": st.just("bfloat16")}),
        "sae": st.fixed_dictionaries({"d_sae": st.integers(64, 10**6), "k": st.integers(1, 64)}),
        "corpus": st.fixed_dictionaries({"test_share": st.floats(0.01, 0.49)}),
    },
)


@given(values)
def test_a_configuration_survives_its_own_toml(given_values):
    parsed = config.parse(given_values)
    assert config.parse(tomllib.loads(config.to_toml(parsed))) == parsed


def test_the_example_names_every_field_and_reads_back_as_the_defaults():
    text = config.example()
    assert config.parse(tomllib.loads(text)) == config.RunConfig()
    for name, part in config.RunConfig.model_fields.items():
        fields = getattr(part.annotation, "model_fields", {})
        assert f"[{name}]" in text if fields else f"\n{name} = " in "\n" + text
        for field, info in fields.items():
            assert f"\n{field} = " in text or f"\n# {field} =" in text
            assert info.description and info.description in text


@pytest.mark.parametrize(
    ("given_values", "says"),
    [
        ({"sea": {}}, "unknown key 'sea': did you mean 'sae'"),
        ({"sae": {"kk": 3}}, "unknown key 'sae.kk': did you mean 'sae.k'"),
        ({"training": {"learning_rate": 1}}, "unknown key 'training.learning_rate'"),
        ({"sae": {"k": "many"}}, "sae.k = 'many'"),
        ({"sae": {"k": 50, "d_sae": 40}}, "k = 50 is larger than d_sae = 40"),
        ({"sae": {"d_sae": 40, "expansion": 2}}, "not both"),
        (
            {"sae": {"architecture": "tpok"}},
            "sae.architecture = 'tpok': input should be 'topk', 'batchtopk', 'matryoshka', 'relu', 'gated' or",
        ),
        ({"device": "gpu"}, "device = 'gpu'"),
        ({"budget": {"activations": 0}}, "budget.activations = 0"),
        ({"training": {"batch_activations": 4096, "buffer_activations": 5000}}, "cannot mix batches"),
        ({"corpus": {"test_share": 0.7}}, "corpus.test_share = 0.7"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_that_names_the_field(given_values, says):
    with pytest.raises(ConfigError) as caught:
        config.parse(given_values)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_settings_are_toml_or_plain_text_and_leave_the_rest_alone():
    base = {"sae": {"k": 8}}
    merged = config.with_settings(
        base, ["sae.d_sae=128", "model.name=some/model", "strict=true", "sae.l1_coefficient=1e-3"]
    )
    parsed = config.parse(merged)
    assert (parsed.sae.k, parsed.sae.d_sae, parsed.model.name, parsed.strict) == (8, 128, "some/model", True)
    assert parsed.sae.l1_coefficient == 1e-3
    assert base == {"sae": {"k": 8}}


@pytest.mark.parametrize("setting", ["sae.k", "=3", "seed.x=1"])
def test_a_setting_that_is_none_is_refused(setting):
    with pytest.raises(ConfigError):
        config.parse(config.with_settings({"seed": 1}, [setting]))


def test_every_preset_is_a_valid_configuration():
    presets = sorted(p.stem for p in config.PRESETS.glob("*.toml"))
    assert presets and presets == config.presets()
    for name in presets:
        config.parse(config.preset(name))
    with pytest.raises(ConfigError, match="did you mean 'demo'"):
        config.preset("dmeo")


def test_an_unreadable_file_is_refused_with_the_place(tmp_path):
    path = tmp_path / "run.toml"
    with pytest.raises(ConfigError, match="no configuration at"):
        config.read(path)
    path.write_text("[sae\nk = 3")
    with pytest.raises(ConfigError, match="line 1"):
        config.read(path)


def test_width_is_given_absolutely_or_as_a_multiple_and_is_eightfold_else():
    sae = config.SaeConfig
    assert sae(d_sae=100).width(16) == 100
    assert sae(expansion=4, k=8).width(16) == 64
    assert sae().width(576) == 4608
    with pytest.raises(ConfigError, match="larger than the 8 features"):
        sae(expansion=0.5).width(16)
