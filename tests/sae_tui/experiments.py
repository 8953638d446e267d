"""Outcomes of experiments, made by hand."""

from core.experiments.records import (
    Contrast,
    Curve,
    Dose,
    Effect,
    Interference,
    Interval,
    Moved,
    Outcome,
    Pair,
    Point,
    Shift,
    Side,
    Together,
    Window,
)
from core.experiments.requests import DoseRequest, EffectRequest, PairRequest, Request

HOSTILE = "\x1b[2J[bold]\u202e"


def interval(mean: float, half: float = 0.1) -> Interval:
    return Interval(mean=mean, low=mean - half, high=mean + half, n=4)


def measured(request: Request, *, whole: bool = True) -> Outcome:
    """What a request comes to; half of it where it is not `whole`."""
    if isinstance(request, DoseRequest):
        return _dose(request, len(request.seeds) if whole else len(request.seeds) // 2)
    if isinstance(request, PairRequest):
        return _pair(request, 70 if whole else 35)
    return _effect(request, 70 if whole else 35)


def _dose(request: DoseRequest, seeds: int) -> Dose:
    use = request.strengths[1:-1]
    curves = []
    for feature in request.features:
        points = [Point(strength=None, raw=0.0, target=interval(-5.0), kl=interval(0.0, 0.0), perplexity=interval(6.0),
                        repetition=interval(0.0, 0.0), text="once upon a time")]  # fmt: skip
        for i, strength in enumerate(request.strengths, 1):
            points.append(
                Point(
                    strength=strength, raw=10 * strength, target=interval(-5.0 + i / 2), gain=interval(i / 2),
                    kl=interval(0.1 * i * i), perplexity=interval(6.0 + i), repetition=interval(0.02 * i),
                    usable=strength in use, text=f"text at {strength:g} {HOSTILE}",
                )
            )  # fmt: skip
        window = Window(low=use[0], high=use[-1], best=use[-1]) if use else None
        curves.append(Curve(feature=feature, points=tuple(points), window=window))
    return Dose(request=request, session="alpha", target="ln p, in nats", curves=tuple(curves), seeds=seeds)


def _pair(request: PairRequest, read: int) -> Pair:
    told = Interference(
        tokens=900, texts=read, one=interval(2.0), other=interval(1.0), both=interval(2.5), beyond=interval(0.75),
        share=interval(0.25, 0.05), loss_one=interval(0.2), loss_other=interval(0.05), loss_both=interval(0.5),
        loss_beyond=interval(0.25),
    )  # fmt: skip
    together = Together(n_one=100, n_other=50, n=20, tokens=10_000, jaccard=20 / 130, pmi=3.69)
    return Pair(
        request=request, session="alpha", cosine=-0.125, together=together, everywhere=told, where_both=None, read=read,
        asked=70, notes=("a note " + HOSTILE,),
    )  # fmt: skip


def _effect(request: EffectRequest, read: int) -> Effect:
    def shift(by: float) -> Shift:
        return Shift(
            tokens=40, texts=12, loss=interval(by), kl=interval(0.05, 0.01), target=None,
            gained=(Moved(token_id=1, text=" London" + HOSTILE, by=1.25), Moved(token_id=2, text=" Paris", by=0.5)),
            lost=(Moved(token_id=3, text="\n", by=-0.75),),
        )  # fmt: skip

    def side(feature: int, by: float) -> Side:
        return Side(feature=feature, density=0.01, everywhere=shift(by / 10), where_fires=shift(by))

    contrast = Contrast(loss=interval(0.2), kl=interval(0.0), target=None)
    return Effect(
        request=request, session="alpha", feature=side(request.edit.feature, 0.25), control=side(7, 0.05),
        everywhere=contrast, where_fires=contrast, read=read, asked=70,
    )  # fmt: skip
