"""From a configuration to an SAE; the one place that knows which architectures there are."""

from core.config import SaeConfig
from core.sae.base import SAE
from core.sae.relu import ReLU
from core.sae.topk import TopK


def build(config: SaeConfig, d_in: int) -> SAE:
    """The SAE that `config` describes, for activations of width d_in, not yet initialised.

    Raises ConfigError where k is larger than the number of features.
    """
    d_sae = config.width(d_in)
    match config.architecture:
        case "topk":
            return TopK(d_in, d_sae, config.k, aux_coefficient=config.aux_coefficient)
        case "relu":
            return ReLU(d_in, d_sae, l1_coefficient=config.l1_coefficient)
