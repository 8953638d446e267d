"""A configuration as a form shows it: drawn from its definition, read back to the same, wrong in the right place."""

import pytest

from core import config, fields
from core.config import RunConfig


def test_there_is_a_field_for_each_one_with_what_is_known_of_it():
    found = {field.name: field for field in fields.fields()}
    flat = {f"{p}.{k}" if p else k for p, v in nested(RunConfig().model_dump()) for k in v}
    assert found.keys() == flat
    assert all(field.description for field in found.values())
    k, dtype, d_sae = found["sae.k"], found["model.dtype"], found["sae.d_sae"]
    assert (k.kind, k.bounds, k.default, k.part) == ("int", "> 0", "32", "sae")
    assert dtype.choices == ("float32", "bfloat16") and dtype.kind == "choice"
    assert d_sae.optional and d_sae.default == "" and not k.optional
    assert found["strict"].choices == ("yes", "no") and found["strict"].default == "no"
    assert found["corpus.test_share"].bounds == "> 0, < 0.5" and found["seed"].bounds == "≥ 0"
    assert fields.parts().keys() == {field.part for field in found.values()} - {""}


def nested(values, prefix=""):
    yield prefix, [k for k, v in values.items() if not isinstance(v, dict)]
    for name, value in values.items():
        if isinstance(value, dict):
            yield from nested(value, name)


@pytest.mark.parametrize("name", ["demo", "relu"])
def test_what_is_shown_reads_back_as_the_same_configuration(name):
    texts = fields.shown(config.preset(name))
    assert texts["budget.activations"] == "120,000"
    assert config.parse(fields.read(texts)) == config.parse(config.preset(name))
    assert config.parse(fields.read({})) == RunConfig()


@pytest.mark.parametrize("text", ["20000", "20_000", "20,000", " 2e4 ", "20000.0"])
def test_numbers_may_be_written_as_people_write_them(text):
    assert config.parse(fields.read({"budget.activations": text})).budget.activations == 20_000


def test_text_stays_text():
    values = fields.read({"model.name": " 0123 ", "corpus.subset": "true", "sae.expansion": "4"})
    cfg = config.parse(values)
    assert (cfg.model.name, cfg.corpus.subset, cfg.sae.expansion) == ("0123", "true", 4.0)


@pytest.mark.parametrize(
    ("texts", "field", "words"),
    [
        ({"sae.k": "0"}, "sae.k", "greater than 0"),
        ({"sae.k": "many"}, "sae.k", "valid integer"),
        ({"sae.k": "true"}, "sae.k", "valid integer"),
        ({"training.lr": ""}, "training.lr", "valid number"),
        ({"sae.k": "9", "sae.d_sae": "8"}, "sae.k", "larger than d_sae"),
        ({"sae.d_sae": "8", "sae.expansion": "4"}, "sae.d_sae", "not both"),
        ({"training.buffer_activations": "600"}, "training.buffer_activations", "at least twice"),
        ({"device": "gpu"}, "device", "`cuda:N`"),
        ({"model.name": ""}, "model.name", "at least 1 character"),
        ({"corpus.test_share": "1,5"}, "corpus.test_share", "valid number"),
    ],
)
def test_what_is_wrong_is_said_of_the_field_to_mend(texts, field, words):
    assert words in fields.problems(fields.read(texts))[field]


def test_an_unknown_key_is_named_with_the_nearest_one():
    found = fields.problems({"sae": {"kk": 1}})
    assert "did you mean 'sae.k'?" in found["sae.kk"]
    assert fields.problems(config.preset("demo")) == {}
