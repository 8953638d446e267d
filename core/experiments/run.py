"""An experiment from a session's model, SAE and database to its outcome: what the command line and the engine run."""

import random
from collections.abc import Generator, Sequence
from dataclasses import replace

from core.analysis.attribution import one_token
from core.analysis.given import standard
from core.analysis.store import Store, strengths
from core.analysis.together import jaccard, pmi
from core.errors import UsageError
from core.experiments.dose import dose
from core.experiments.effect import Drawn, effect
from core.experiments.pair import pair
from core.experiments.records import Outcome, Together
from core.experiments.requests import DoseRequest, EffectRequest, PairRequest, Request
from core.models.language import LanguageModel
from core.records import Progress
from core.sae.base import SAE
from core.session import Session
from core.steering.interventions import Intervention, Resolved, resolve


def run(
    model: LanguageModel, sae: SAE, session: Session, request: Request
) -> Generator[Progress | Outcome, None, Outcome]:
    """Progress, and an outcome whenever more of it is whole; the last, which is all of it, is returned.

    Raises UsageError and QueryError for what cannot be asked, RunError where an edit makes the model's output not a
    number.
    """
    match request:
        case DoseRequest():
            return (yield from _dose(model, sae, session, request))
        case PairRequest():
            return (yield from _pair(model, sae, session, request))
        case EffectRequest():
            return (yield from _effect(model, sae, session, request))


def _dose(
    model: LanguageModel, sae: SAE, session: Session, request: DoseRequest
) -> Generator[Progress | Outcome, None, Outcome]:
    edits = [[request.intervention(feature, s) for s in request.strengths] for feature in request.features]
    resolved = [_resolved(session, sae, of) for of in edits]
    return (yield from dose(model, sae, request, resolved, session.config().tokens, session=session.name))


def _pair(
    model: LanguageModel, sae: SAE, session: Session, request: PairRequest
) -> Generator[Progress | Outcome, None, Outcome]:
    one, other = _resolved(session, sae, [request.one, request.other])
    notes = [] if session.database_path.is_file() else ["no feature database: how they fire together is not known"]
    return (
        yield from pair(
            model, sae, request, _texts(request.texts), session.config().tokens, session=session.name, one=one,
            other=other, together=None if notes else _together(session, one.feature, other.feature), notes=notes,
        )
    )  # fmt: skip


def _effect(
    model: LanguageModel, sae: SAE, session: Session, request: EffectRequest
) -> Generator[Progress | Outcome, None, Outcome]:
    [edit] = _resolved(session, sae, [request.edit])
    control, density, notes = None, {}, ["no feature database: there is no control"]
    if session.database_path.is_file():
        with Store.open([session]) as store:
            others = store.alike_in_density(edit.feature, request.like)
            notes = [] if others else [f"no other feature's density is within a factor of {request.like:g}: no control"]
            if others:
                control = random.Random(request.seed).choice(others)
            density = {f: store.feature(f)["density"] for f in (edit.feature, control) if f is not None}
    drawn = None
    if control is not None:
        [same] = _resolved(session, sae, [replace(request.edit, feature=control)])
        drawn = Drawn(same, density[control])
    target = None if request.target is None else one_token(request.target, model)
    return (
        yield from effect(
            model, sae, request, _texts(request.texts), session.config().tokens, session=session.name,
            feature=Drawn(edit, density.get(edit.feature)), control=drawn, target=target, notes=notes,
        )
    )  # fmt: skip


def _texts(texts: Sequence[str]) -> list[str]:
    return list(texts) or [text.text for text in standard()]


def _resolved(session: Session, sae: SAE, edits: Sequence[Intervention]) -> list[Resolved]:
    """The edits in raw units, in their order. Raises QueryError; UsageError for one that is switched off."""
    if not all(edit.enabled for edit in edits):
        raise UsageError("an intervention that is switched off has no effect", hint="switch it on")
    return resolve(edits, strengths(session, edits), sae.d_sae)


def _together(session: Session, one: int, other: int) -> Together:
    with Store.open([session]) as store:
        counts = store.together(one, other)
        tokens = int(store.meta()["tokens_counted"])
    fired = counts["n_one"], counts["n_other"], counts["n"]
    return Together(
        **counts, tokens=tokens, jaccard=float(jaccard(*fired)) if any(fired) else None,
        pmi=float(pmi(*fired, tokens)) if counts["n"] else None,
    )  # fmt: skip
