"""Questions about texts, answered by a model and an SAE that are in memory."""

from typing import TYPE_CHECKING

from core.analysis import asking, attribution
from core.analysis.given import gathered
from core.analysis.store import strengths
from core.engine import protocol
from core.plain import returned
from core.session import Session
from core.steering import firing
from core.steering.request import GenerationRequest

if TYPE_CHECKING:
    from core.models.language import LanguageModel
    from core.sae.base import SAE


def answer(model: "LanguageModel", sae: "SAE", session: Session, question: protocol.Question) -> protocol.Answer:
    """The event that answers the question. Raises UsageError and QueryError for what cannot be asked."""
    config = session.config().tokens
    match question:
        case protocol.Tokens(id=n):
            request = GenerationRequest(
                prompt=question.text, interventions=question.interventions, mode=question.mode, chat=question.chat,
                system=question.system,
            )  # fmt: skip
            edits = [edit for held in (request, *question.changes) for edit in held.interventions]
            tokens = firing.firing(
                model, sae, request, config, strengths(session, edits), changes=question.changes, then=question.then,
                top=question.top,
            )  # fmt: skip
            return protocol.Firing(id=n, tokens=tuple(tokens))
        case protocol.Concept(id=n):
            texts, contrast = gathered((), question.texts), gathered((), question.contrast)
            found = asking.concept(model, sae, session, texts, contrast, rule=question.strong, top=question.top)
            return protocol.Found(id=n, concept=returned(found))
        case protocol.Attribute(id=n):
            found = attribution.attribute(
                model, sae, question.text, config, target=question.target, position=question.position,
                rank=question.rank, top=question.top, then=question.then, chat=question.chat, system=question.system,
            )  # fmt: skip
            return protocol.Attributed(id=n, attribution=returned(found))
        case protocol.Read(id=n):
            found = asking.feature(model, sae, session, gathered((), question.texts), question.feature)
            return protocol.WasRead(id=n, readings=returned(found))
