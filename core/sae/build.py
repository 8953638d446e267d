"""From a configuration to an SAE; the one place that knows which architectures there are."""

from core.options import SaeConfig
from core.sae.base import SAE
from core.sae.batchtopk import BatchTopK
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.matryoshka import Matryoshka
from core.sae.relu import ReLU
from core.sae.topk import TopK


def build(config: SaeConfig, d_in: int) -> SAE:
    """The SAE that `config` describes, for activations of width d_in, not yet initialised.

    Raises ConfigError where k is larger than the number of features.
    """
    sae = _built(config, d_in)
    sae.tied = config.tied
    return sae


def _built(config: SaeConfig, d_in: int) -> SAE:
    d_sae = config.width(d_in)
    subtract = config.apply_b_dec_to_input
    match config.architecture:
        case "topk":
            return TopK(d_in, d_sae, config.k, aux_coefficient=config.aux_coefficient, apply_b_dec_to_input=subtract)
        case "batchtopk":
            return BatchTopK(
                d_in, d_sae, config.k, aux_coefficient=config.aux_coefficient, apply_b_dec_to_input=subtract
            )
        case "matryoshka":
            return Matryoshka(
                d_in, d_sae, config.k, levels=config.matryoshka_levels, aux_coefficient=config.aux_coefficient,
                apply_b_dec_to_input=subtract,
            )  # fmt: skip
        case "relu":
            return ReLU(
                d_in, d_sae, l1_coefficient=config.l1_coefficient, l1=config.l1, p_end=config.p_end,
                apply_b_dec_to_input=subtract,
            )  # fmt: skip
        case "gated":
            return Gated(d_in, d_sae, l1_coefficient=config.l1_coefficient, apply_b_dec_to_input=subtract)
        case "jumprelu":
            return JumpReLU(
                d_in, d_sae, penalty=config.l0_penalty, l0_coefficient=config.l0_coefficient,
                target_l0=config.target_l0 or 1.0, bandwidth=config.bandwidth, surrogate=config.surrogate,
                threshold=config.threshold_init,
                pre_act_coefficient=config.pre_act_coefficient, apply_b_dec_to_input=subtract,
            )  # fmt: skip
