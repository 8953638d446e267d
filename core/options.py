"""The parts of a run's configuration: every field with its meaning, default and bounds. Values only.

This is the only definition. The TOML file, `--set`, the printed example, the form and the error messages are drawn
from it: see `core.config`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.architectures import SPARSITY
from core.errors import ConfigError

EMBEDDED = ("smollm2", "stdlib")
Share = Annotated[float, Field(gt=0, lt=0.5)]
Count = Annotated[int, Field(gt=0)]


def _only(*architectures: str, description: str, **options: Any) -> Any:
    """A field that some architectures alone have a use for."""
    extra: dict[str, Any] = {"only": list(architectures)}
    return Field(description=f"{', '.join(architectures)}: {description}", json_schema_extra=extra, **options)


class Part(BaseModel):
    """What all parts share: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=False)


class ModelConfig(Part):
    """The network under study and the point where its activations are read."""

    name: str = Field(
        default="smollm2",
        min_length=1,
        description="`smollm2` (the embedded one), a folder written by `save_pretrained`, "
        "a name on the hub, or a TransformerLens alias such as `gpt2-small`",
    )
    revision: str = Field(default="", description="branch, tag or commit on the hub; empty: the newest")
    hook: str = Field(
        default="blocks.10.hook_resid_post",
        min_length=1,
        description="hook point in TransformerLens' names; `sae-tui hooks MODEL` lists them",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="precision of the model's own weights; the SAE stays in float32"
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with a hub model: only for authors you trust"
    )


class CorpusConfig(Part):
    """Where the text comes from, and how it is divided."""

    name: str = Field(
        default="stdlib",
        min_length=1,
        description="`stdlib` (this Python's standard library), a .txt, .jsonl or .jsonl.gz file, "
        "a folder of them, a folder of `datasets.save_to_disk`, or a data set on the hub",
    )
    subset: str = Field(default="", description="the hub data set's configuration name")
    split: str = Field(default="train", description="the hub data set's split")
    streaming: bool = Field(default=True, description="read a hub data set as it comes, not all first")
    text_column: str = Field(default="text", min_length=1, description="the column that holds the text")
    category_column: str = Field(
        default="", description="a column to group documents by; empty: the corpus' own, or none"
    )
    document_chars: Count = Field(
        default=1_200,
        description="a longer text is cut at line ends into documents of at most this many "
        "characters (some three blocks of the default context), which all fall into the same split; "
        "short ones mix better and show a feature in more places",
    )
    calibration_share: Share = Field(
        default=0.05, description="share of the texts kept for choices (thresholds, coefficients)"
    )
    test_share: Share = Field(default=0.10, description="share of the texts kept for what is reported")


class TokensConfig(Part):
    """How documents become blocks of token ids, and which positions count."""

    context: int = Field(default=128, ge=2, description="tokens in a block")
    packing: Literal["packed", "per_document"] = Field(
        default="packed",
        description="`packed` fills blocks with one document after another (attention sees across "
        "them); `per_document` begins a block with each document and pads its last",
    )
    prepend_bos: bool = Field(
        default=True, description="begin every block and every document with the tokenizer's BOS token"
    )
    skip_special: bool = Field(
        default=True, description="leave BOS and padding out of training, statistics and steering"
    )
    skip_first: bool = Field(
        default=True,
        description="leave the first position of a block out too: without BOS it takes its place as the attention sink",
    )


class SaeConfig(Part):
    """The sparse autoencoder."""

    architecture: Literal["topk", "batchtopk", "matryoshka", "relu", "gated", "jumprelu"] = Field(
        default="topk",
        description="`topk`: the k largest; `batchtopk`: k on average over a batch; `matryoshka`: batchtopk whose "
        "first features reconstruct by themselves; `relu`: an L1 penalty weighted by decoder norms; "
        "`gated`: relu with a gate of its own; `jumprelu`: a learned threshold for each feature, with a penalty on "
        "their number",
    )
    d_sae: Count | None = Field(default=None, description="number of features; this or `expansion`")
    expansion: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="number of features as a multiple of the activation's width"
    )
    k: Count = _only(
        "topk", "batchtopk", "matryoshka", default=32, description="features active on each activation, or on average"
    )
    l1_coefficient: float = _only(
        "relu", "gated", default=1.0, ge=0, description="lambda, the weight of the mean of sum_j z_j * ||W_dec[j]||"
    )
    l0_coefficient: float = _only(
        "jumprelu", default=1.0, ge=0, description="lambda, the weight of the penalty on the number of active features"
    )
    penalty_warmup_steps: int = _only(
        "relu", "gated", "jumprelu", default=100, ge=0, description="steps over which lambda rises from 0"
    )
    l0_penalty: Literal["step", "tanh", "quadratic"] = _only(
        "jumprelu",
        default="step",
        description="`step` counts features; `tanh` counts strong ones more; `quadratic` pulls to `target_l0`",
    )
    target_l0: Annotated[float, Field(gt=0)] | None = _only(
        "jumprelu", default=None, description="the number of active features that the quadratic penalty pulls to"
    )
    bandwidth: float = _only(
        "jumprelu", default=0.05, gt=0, description="width of the window through which thresholds learn"
    )
    threshold_init: float = _only("jumprelu", default=0.01, ge=0, description="the thresholds to begin with")
    pre_act_coefficient: float = _only(
        "jumprelu", default=0.0, ge=0, description="weight of what lifts dead features to their thresholds; try 3e-6"
    )
    matryoshka_levels: Count = _only(
        "matryoshka", default=5, description="nested prefixes, each half as wide as the next"
    )
    aux_coefficient: float = _only(
        "topk", "batchtopk", "matryoshka", default=1 / 32, ge=0,
        description="weight of the auxiliary loss that revives dead features",
    )  # fmt: skip
    apply_b_dec_to_input: bool = Field(
        default=True, description="subtract the decoder's bias from an activation before it is encoded"
    )
    normalize: Literal["none", "average_norm"] = Field(
        default="average_norm",
        description="`average_norm` scales activations to a mean norm of sqrt(d_in) for training; "
        "the scale is folded into the weights that are saved, which take raw activations",
    )

    @model_validator(mode="after")
    def _one_width(self) -> "SaeConfig":
        if self.d_sae is not None and self.expansion is not None:
            raise ValueError("give `d_sae` or `expansion`, not both")
        if self.fixed_k and self.d_sae is not None and self.k > self.d_sae:
            raise ValueError(f"k = {self.k} is larger than d_sae = {self.d_sae}: lower `sae.k`")
        if self.architecture == "jumprelu" and self.l0_penalty == "quadratic" and self.target_l0 is None:
            raise ValueError("the quadratic penalty needs a target: give `sae.target_l0`")
        return self

    @property
    def fixed_k(self) -> bool:
        """Whether k sets the number of active features."""
        return SPARSITY[self.architecture] == ("k", "k")

    @property
    def sparsity(self) -> str:
        """What sets its sparsity, for a person: `k=32`."""
        symbol, field = SPARSITY[self.architecture]
        return f"{symbol}={getattr(self, field):g}"

    def width(self, d_in: int) -> int:
        """The number of features for activations of width `d_in`; 8 times as many by default."""
        width = self.d_sae or round((self.expansion or 8) * d_in)
        if self.fixed_k and self.k > width:
            raise ConfigError(
                f"sae.k = {self.k} is larger than the {width} features of this SAE",
                hint="lower `sae.k` or raise `sae.d_sae`",
            )
        return width


class BudgetConfig(Part):
    """How much to train on."""

    activations: Count = Field(
        default=1_000_000, description="activation vectors to train on: one for each counted token"
    )
    epochs: Count = Field(
        default=1, description="passes over them, each in another order; more than one needs `training.cache`"
    )

    @property
    def total(self) -> int:
        """Activations over all passes."""
        return self.activations * self.epochs


class TrainingConfig(Part):
    """The optimiser and its schedule. Measured defaults: a few hundred steps reach most of the way."""

    batch_activations: Count = Field(default=2_048, description="activations in an optimiser step")
    buffer_activations: Count = Field(
        default=131_072, description="activations held in memory to be mixed; bounds the memory used"
    )
    model_batch_blocks: Count = Field(default=16, description="blocks in one forward pass of the model")
    cache: Literal["off", "float16", "bfloat16", "float32"] = Field(
        default="off",
        description="keep the activations on disk in this precision, for later runs too; `sae-tui cache` lists them",
    )
    lr: float = Field(default=3e-3, gt=0, description="Adam's learning rate after the warm-up")
    warmup_steps: int = Field(default=20, ge=0, description="steps over which the rate rises from 0")
    decay_share: float = Field(
        default=0.3, ge=0, le=1, description="last share of the steps, over which the rate falls to 0"
    )
    dead_after_activations: Count = Field(
        default=200_000, description="a feature silent for this many activations is dead"
    )
    log_every_steps: Count = Field(default=1, description="steps between two lines of metrics.jsonl")
    checkpoint_minutes: float = Field(default=5.0, gt=0, description="minutes between two checkpoints")


class EvaluationConfig(Part):
    """What `evaluate` measures on, always of the test split."""

    activations: Count = Field(default=30_000, description="activations for FVU, L0, density and the like")
    ce_tokens: Count = Field(
        default=4_096, description="tokens for the cross-entropy figures, which need whole forward passes"
    )


class AnalysisConfig(Part):
    """What `analyze` reads and keeps."""

    activations: Count = Field(default=100_000, description="counted tokens of the test split to analyse")
    top_examples: Count = Field(default=20, description="strongest examples kept for each feature")
    bands: int = Field(
        default=4, ge=0, description="bands of equal width in activation, below the top, with examples of their own"
    )
    band_examples: Count = Field(default=5, description="examples kept for each of those bands")
    histogram_bins: Count = Field(default=20, description="bins of a feature's activation histogram")
    top_tokens: Count = Field(default=10, description="tokens kept for each feature, and logits each way")
    neighbours: Count = Field(default=10, description="nearest decoder directions kept for each feature")
    keep_activations: bool = Field(default=False, description="keep the Parquet shards after they are in the database")
