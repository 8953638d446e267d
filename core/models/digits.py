"""A network of images under study: a small classifier, trained here in seconds and kept, or the pixels themselves.

    p [784], pixels in [0, 1]
    mnist-mlp      h = relu(W₁ p + b₁)                    logits = W₂ h + b₂
    mnist-geglu    h = gelu(W_g p + b_g) ⊙ (W_l p + b_l)  logits = W₂ h + b₂
    mnist-cnn      two convolutions of 3 × 3 with stride 2 and ReLU; then as mnist-mlp

As far as training, evaluation and analysis are concerned an image is a document of as many positions as its hook point
has places, whose ids are all the image's number. Alone knows how these networks are made; knows no SAE.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional

from core import images as pictures
from core.cache import cache_dir
from core.config import RunConfig
from core.corpus import Document
from core.device import one_thread
from core.errors import ModelError
from core.image_facts import CHANNELS, CLASSES, MAPS, PIXELS, ImageFacts
from core.images import MOVES, SIDE, Images
from core.options import ModelConfig
from core.records import Progress
from core.storage import replacing
from core.tokens import Block

BATCH, RATE, WEIGHT_DECAY = 64, 1e-3, 1e-4
"""Images in a step of the classifier's training, Adam's rate and decay of weights."""
MANY, EPOCHS = 50_000, 3
"""From as many images on, three passes are enough to begin with; of fewer, as many as the validation asks for."""
PATIENCE, MOST_EPOCHS = 8, 100
"""Passes without a better accuracy on the calibration split after which training ends; passes at most."""
CHUNK = 1_024
"""Images in a forward pass."""

Edit = Callable[[Float[Tensor, "n p d_in"]], Float[Tensor, "n p d_in"]]
"""Maps activations to what takes their place."""


class Network(nn.Module):
    """Layers one behind the other, each with a hook point behind it, and the classes' logits at the end."""

    def __init__(self, facts: ImageFacts) -> None:
        super().__init__()
        self.hooks = list(facts.hooks)
        layers: list[nn.Module] = [nn.Identity()]
        inputs, hidden = PIXELS, facts.hidden
        if facts.name == "mnist-cnn":
            one, two = CHANNELS
            map_of = nn.Unflatten(1, (1, SIDE, SIDE))
            layers += [nn.Sequential(map_of, nn.Conv2d(1, one, 3, stride=2, padding=1)), nn.ReLU()]
            layers += [nn.Conv2d(one, two, 3, stride=2, padding=1), nn.ReLU()]
            inputs = two * MAPS[1] ** 2
        self.out: nn.Linear | None = None
        if facts.name != "mnist-pixels":
            gated = facts.name == "mnist-geglu"
            layers += [
                nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden * (1 + gated))),
                GeGlu() if gated else nn.ReLU(),
            ]
            self.out = nn.Linear(hidden, CLASSES)
        self.layers = nn.ModuleList(layers)

    def to_hook(self, hook: str, pixels: Float[Tensor, "n pixels"]) -> Float[Tensor, "n p d_in"]:
        """The activations at a hook point: of p places where it is a feature map, else of one."""
        x = pixels
        for layer in self.layers[: self.hooks.index(hook) + 1]:
            x = layer(x)
        return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x.unsqueeze(1)

    def from_hook(self, hook: str, x: Float[Tensor, "n p d_in"]) -> Float[Tensor, "n classes"]:
        """The logits, from activations at a hook point on."""
        assert self.out is not None, "it does not classify"
        places = x.shape[1]
        y = x.squeeze(1) if places == 1 else x.transpose(1, 2).unflatten(2, (round(places**0.5), -1))
        for layer in self.layers[self.hooks.index(hook) + 1 :]:
            y = layer(y)
        return self.out(y)

    def forward(self, pixels: Float[Tensor, "n pixels"]) -> Float[Tensor, "n classes"]:
        """The logits."""
        return self.from_hook(self.hooks[0], self.to_hook(self.hooks[0], pixels))


class GeGlu(nn.Module):
    """`gelu(g) ⊙ l` of `[g l]`."""

    def forward(self, x: Float[Tensor, "n twice"]) -> Float[Tensor, "n hidden"]:
        """Half as wide."""
        gate, linear = x.chunk(2, dim=1)
        return functional.gelu(gate) * linear


class Labels:
    """What stands for a tokenizer: a position of an image reads as the image's label."""

    def text(self, token_id: int) -> str:
        """A class by its name."""
        return str(token_id)


class ImageClassifier:
    """A network, the images it reads, and the hook point at which it is read and edited.

    Raises ModelError where there is no such hook point.
    """

    def __init__(self, name: str, network: Network, images: Images, facts: ImageFacts, hook: str, device: torch.device):
        if refusal := facts.refusal(hook):
            raise ModelError(refusal, hint=f"`sae-tui hooks {name}` lists them")
        self.name, self.images, self.hook, self.device = name, images, hook, device
        self.network = network.to(device).eval().requires_grad_(False)
        self.d_in, self.places, _ = facts.hooks[hook]
        self.classifies = network.out is not None
        self.n_vocab, self.dtype, self.tokens = CLASSES, torch.float32, Labels()

    def blocks(self, documents: Iterable[Document]) -> Iterator[Block]:
        """A block for each image: as many positions as the hook point has places, all with the image's number."""
        for doc, document in enumerate(documents):
            yield Block(
                ids=np.full(self.places, int(document.text), dtype=np.int64),
                doc=np.full(self.places, doc, dtype=np.int32),
                doc_pos=np.arange(self.places, dtype=np.int32),
                counted=np.ones(self.places, dtype=np.bool_),
            )

    def token_ids(self, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """What statistics count by: of an image's number its label."""
        return self.images.labels_of(ids)

    @torch.no_grad()
    def activations(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t d_in"]:
        """The activations at the hook point of the images whose numbers are in the rows."""
        return torch.cat([self.at_hook(self.pixels(part)) for part in ids[:, 0].split(CHUNK)])

    @torch.no_grad()
    def logits(self, numbers: Int[Tensor, " n"], edit: Edit | None = None) -> Float[Tensor, "n classes"]:
        """The classes' logits, where `edit` is given with edited activations at the hook point.

        Raises ModelError where there is no classifier.
        """
        self.require_classes()
        x = torch.cat([self.at_hook(self.pixels(part)) for part in numbers.split(CHUNK)])
        return self.onward(x if edit is None else edit(x))

    def pixels(self, numbers: Int[Tensor, " n"]) -> Float[Tensor, "n pixels"]:
        """Images as the network reads them, in [0, 1]."""
        return torch.from_numpy(self.images.pixels_of(numbers.cpu().numpy())).to(self.device).float() / 255

    def at_hook(self, pixels: Float[Tensor, "n pixels"]) -> Float[Tensor, "n p d_in"]:
        """The activations that images make; gradients pass."""
        return self.network.to_hook(self.hook, pixels)

    def onward(self, x: Float[Tensor, "n p d_in"]) -> Float[Tensor, "n classes"]:
        """The logits that activations make; gradients pass."""
        return self.network.from_hook(self.hook, x)

    def require_classes(self) -> None:
        """Raise ModelError where it does not classify."""
        if not self.classifies:
            raise ModelError(
                f"{self.name} has no classifier", hint="set model.name = mnist-mlp, model.hook = hook_input"
            )

    @torch.no_grad()
    def unembed(self, directions: Float[Tensor, "n d_in"]) -> Float[Tensor, "n classes"]:
        """What adding each direction to the hidden layer does to the logits: `d W₂ᵀ`, less its mean over the classes.

        Raises ModelError at other hook points, behind which something is not linear.
        """
        if self.hook != "mlp.hook_post" or self.network.out is None:
            raise ModelError(f"what is behind {self.hook} is not linear", hint="logit effects exist for mlp.hook_post")
        logits = directions @ self.network.out.weight.T
        return logits - logits.mean(dim=1, keepdim=True)


def load(config: RunConfig, device: torch.device) -> Generator[Progress, None, ImageClassifier]:
    """The configured network with its images, trained on the first call; a generator whose return value it is.

    It is trained on the CPU, so that a seed gives the same network on every device, and kept in the user's cache under
    a key of all that decides it. Raises CorpusError, ModelError.
    """
    model = config.model
    facts = ImageFacts(name=model.name, hidden=model.hidden)
    if refusal := facts.refusal(model.hook):  # before it is trained for nothing
        raise ModelError(refusal, hint=f"`sae-tui hooks {model.name}` lists them")
    yield Progress(phase="reading the images")
    images = pictures.load(config.corpus, config.seed)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(config.seed)
        network = Network(facts)
        path = cache_dir() / "models" / f"{model.name}-{_key(model, config.seed, images)}.safetensors"
        if network.out is not None and not _kept(network, path):
            found = yield from trained(network, images, epochs=model.epochs, seed=config.seed)
            with replacing(path) as beside:
                save_model(network, str(beside), metadata={"validation_acc": str(found)})
    return ImageClassifier(model.name, network, images, facts, model.hook, device)


def trained(network: Network, images: Images, *, epochs: int, seed: int) -> Generator[Progress, None, float]:
    """Train on the train split by cross-entropy, each image at a random move in each pass.

    Returns the accuracy on the calibration split of what is kept. With `epochs` 0 there are `EPOCHS` where the split
    is large; else passes go on until `PATIENCE` of them have not raised that accuracy, and the network is left as it
    was at its best.
    """
    numbers = torch.from_numpy(images.numbers["train"])
    held = torch.from_numpy(images.numbers["calibration"])
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    passes = epochs or (EPOCHS if len(numbers) >= MANY else 0)
    best, since, kept = -1.0, 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, (passes or MOST_EPOCHS) + 1):
        network.train()
        for part in numbers[torch.randperm(len(numbers), generator=generator)].split(BATCH):
            move = torch.randint(len(MOVES), part.shape, generator=generator)
            pixels, labels = _read(images, part + len(images.labels) * move)
            loss = functional.cross_entropy(network(pixels), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        yield Progress(phase="training the classifier", done=epoch, total=passes or None, unit="epochs")
        found = _accuracy(network, images, held)
        if passes or found > best:
            best, since, kept = found, 0, copy.deepcopy(network.state_dict())
        else:
            since += 1
        if since == PATIENCE:
            break
    network.load_state_dict(kept)
    return best


@torch.no_grad()
def _accuracy(network: Network, images: Images, numbers: Tensor) -> float:
    network.eval()
    right = 0
    for part in numbers.split(CHUNK):
        pixels, labels = _read(images, part)
        right += int((network(pixels).argmax(dim=1) == labels).sum())
    return right / len(numbers)


def _read(images: Images, numbers: Tensor) -> tuple[Tensor, Tensor]:
    some = numbers.numpy()
    return torch.from_numpy(images.pixels_of(some)).float() / 255, torch.from_numpy(images.labels_of(some))


def _kept(network: Network, path: Path) -> bool:
    """Whether the file is there and whole; then the network has its weights."""
    try:
        load_model(network, path)
    except (OSError, SafetensorError, RuntimeError):
        return False
    return True


def _key(model: ModelConfig, seed: int, images: Images) -> str:
    parts = [
        model.name, model.hidden, model.epochs, seed, images.digest, BATCH, RATE, WEIGHT_DECAY, MANY, EPOCHS, PATIENCE,
        MOST_EPOCHS, torch.__version__,
    ]  # fmt: skip
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()
