"""The embedded model as a HookedTransformer, for peers that take nothing else. Two environments import it."""

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def hooked(folder: str) -> HookedTransformer:
    """A Llama from a folder, as TransformerLens 2 holds it: its name is on none of that version's lists."""
    hf = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    c = hf.config
    cfg = HookedTransformerConfig(
        n_layers=c.num_hidden_layers, d_model=c.hidden_size, d_head=c.hidden_size // c.num_attention_heads,
        n_heads=c.num_attention_heads, n_key_value_heads=c.num_key_value_heads, d_mlp=c.intermediate_size,
        d_vocab=c.vocab_size, n_ctx=2048, act_fn="silu", normalization_type="RMS", final_rms=True, gated_mlp=True,
        positional_embedding_type="rotary", rotary_dim=c.hidden_size // c.num_attention_heads,
        rotary_base=int(getattr(c, "rope_theta", 10_000)), eps=c.rms_norm_eps, default_prepend_bos=False,
    )  # fmt: skip
    ends = "<|im_end|>"
    tokenizer = PreTrainedTokenizerFast(  # its class was named by a later transformers
        tokenizer_file=f"{folder}/tokenizer.json", bos_token=ends, eos_token=ends, pad_token=ends, unk_token=ends
    )
    model = HookedTransformer(cfg)
    model.tokenizer, cfg.tokenizer_prepends_bos = tokenizer, False
    model.load_state_dict(convert_llama_weights(hf, cfg), strict=False)
    return model.eval()
