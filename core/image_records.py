"""What steering on images reports: plain values, no tensors, ready for JSON."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageList:
    """The images one may walk through, in their order."""

    numbers: tuple[int, ...]
    """In the data set."""
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    """The class that the network takes each for; empty where it does not classify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a classifier says of one image."""

    logits: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def predicted(self) -> int:
        """The likeliest class."""
        return max(range(len(self.logits)), key=self.logits.__getitem__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringFeature:
    """One feature on one image, before interventions and behind them."""

    feature: int
    before: float
    """Its activation, the strongest where the hook point has several places; 0 where it is silent."""
    after: float
    places: int
    """At how many places of the hook point it is active."""
    places_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifiedImage:
    """One image under interventions. See `core.steering.classify`."""

    image: int
    """Its number in the data set."""
    label: int
    split: str
    """`train`, `calibration` or `test`; empty for one that is in none."""
    pixels: str
    """Row by row, a byte each in hexadecimal digits: 0 is the ground."""
    behind: str
    """The same of what the interventions make of it, where the hook point is the pixels; else empty."""
    baseline: Scores | None
    """None where there is no classifier, as all that follows from it."""
    steered: Scores | None
    kl: float | None
    """KL(steered ‖ baseline) of the classes, in nats."""
    gain: float | None
    """Δ ln p of the label: steered less baseline."""
    places: int
    """Activations of the image at the hook point."""
    features: tuple[FiringFeature, ...]
    """Those that fire before or behind the interventions, the strongest first."""
