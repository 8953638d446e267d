"""Questions about texts and images, answered by a model and an SAE that are in memory."""

from typing import TYPE_CHECKING, Any

from core.analysis import asking, attribution
from core.analysis.given import gathered
from core.analysis.store import strengths
from core.analysis.stores import Stores
from core.engine import protocol
from core.plain import returned
from core.session import Session
from core.steering import classify, firing
from core.steering.request import GenerationRequest

if TYPE_CHECKING:
    from core.models.digits import ImageClassifier
    from core.models.language import LanguageModel
    from core.sae.base import SAE


def answer(
    model: Any, sae: "SAE", session: Session, question: protocol.Question, stores: Stores
) -> protocol.Answer:  # fmt: skip
    """The event that answers the question; the model is a LanguageModel or an ImageClassifier.

    Raises UsageError and QueryError for what cannot be asked, SessionError where the model knows no text, or no images.
    """
    if isinstance(question, protocol.ListImages | protocol.Classify):
        session.require(images=True)
        return _of_images(model, sae, session, question, stores)
    session.require(images=False)
    return _of_texts(model, sae, session, question, stores)


def _of_images(
    model: "ImageClassifier", sae: "SAE", session: Session, question: protocol.ListImages | protocol.Classify,
    stores: Stores,
) -> protocol.Answer:  # fmt: skip
    if isinstance(question, protocol.ListImages):
        return protocol.Listed(id=question.id, images=classify.listed(model))
    edits = question.interventions
    scales = strengths(session, edits, stores.get)
    images = classify.classified(model, sae, question.images, edits, scales, question.mode, top=question.top)
    return protocol.Classified(id=question.id, images=tuple(images))


def _of_texts(
    model: "LanguageModel", sae: "SAE", session: Session,
    question: protocol.Tokens | protocol.Concept | protocol.Attribute | protocol.Read, stores: Stores,
) -> protocol.Answer:  # fmt: skip
    config = session.config().tokens
    match question:
        case protocol.Tokens(id=n):
            request = GenerationRequest(
                prompt=question.text, interventions=question.interventions, mode=question.mode, chat=question.chat,
                system=question.system,
            )  # fmt: skip
            edits = [edit for held in (request, *question.changes) for edit in held.interventions]
            scales = strengths(session, edits, stores.get)
            tokens = firing.firing(
                model, sae, request, config, scales, changes=question.changes, then=question.then, top=question.top
            )
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
