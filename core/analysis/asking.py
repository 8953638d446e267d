"""What an SAE is asked about given texts, from model and texts to an answer in plain values.

Each is a generator of Progress and Notices that returns its answer; what the Notices say is in the answer too. A `rule`
says from where on an activation is strong (see strong.py); None is the configuration's `analysis.strong`. What a
question means is said in the module that answers it: probe.py, concepts.py, attribution.py.
"""

from collections.abc import Generator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.analysis import concepts, probed, strong
from core.analysis import probe as probing
from core.analysis.coded import CodedText, Pool, pooled
from core.analysis.given import Given
from core.analysis.reading import read
from core.errors import QueryError, UsageError
from core.models.language import LanguageModel
from core.records import ConceptFound, ContextToken, Notice, Progress, TextFeature, TextReading
from core.sae.base import SAE
from core.session import Session
from core.storage import replacing

Asked = Progress | Notice
FEATURES = 20
"""Of those that are active on a text, how many are told of: the strongest."""


def probe(
    model: LanguageModel,
    sae: SAE,
    session: Session,
    texts: Sequence[Given],
    *,
    name: str,
    rule: str | None = None,
    pool: Pool = "max",
    top: int = probing.MOST,
) -> Generator[Asked, None, probed.Probed]:
    """The session's features on a set of texts; the answer is kept in its folder. Raises UsageError."""
    rule = rule or session.config().analysis.strong
    strong.checked(rule)
    codes, notes = yield from _read(model, sae, session, texts)
    matrix = pooled(codes, sae.d_sae, pool)
    thresholds = strong.thresholds(rule, strong.p99s(session), codes, sae.d_sae)
    found = probing.probe(
        texts, codes, matrix, thresholds, session=session.name, name=name, pool=pool, top=top, notes=notes
    )
    path = probed.path_of(session, texts, pool, rule)
    probed.keep(path, found)
    text, feature = matrix.nonzero()
    table = pa.table({"text": text.astype("int32"), "feature": feature.astype("int32"), "value": matrix[text, feature]})
    with replacing(path.with_suffix(".parquet")) as beside:
        pq.write_table(table, beside)
    return found


def concept(
    model: LanguageModel,
    sae: SAE,
    session: Session,
    texts: Sequence[Given],
    contrast: Sequence[Given] = (),
    *,
    rule: str | None = None,
    top: int = concepts.TOP,
) -> Generator[Asked, None, ConceptFound]:
    """The features that stand for what the texts have in common, and the contrast texts have not. Raises UsageError."""
    rule = rule or session.config().analysis.strong
    strong.checked(rule)
    if not texts:
        raise UsageError("no text was given", hint="a concept is found from some texts that share it")
    codes, notes = yield from _read(model, sae, session, [*texts, *contrast])
    matrix = pooled(codes, sae.d_sae)
    thresholds = strong.thresholds(rule, strong.p99s(session), codes, sae.d_sae)
    return ConceptFound(
        texts=len(texts),
        contrast=len(contrast),
        rule=thresholds.rule,
        rows=concepts.search(matrix[: len(texts)], matrix[len(texts) :] if contrast else None, thresholds, top),
        notes=notes,
    )


def feature(
    model: LanguageModel, sae: SAE, session: Session, texts: Sequence[Given], feature: int
) -> Generator[Asked, None, tuple[TextReading, ...]]:
    """One feature on each of the texts, in their order. Raises QueryError where there is no such feature."""
    if not 0 <= feature < sae.d_sae:
        raise QueryError(f"there is no feature {feature}", hint=f"they go from 0 to {sae.d_sae - 1}")
    codes, _ = yield from _read(model, sae, session, texts)
    return tuple(_reading(text, code, sae.d_sae, feature) for text, code in zip(texts, codes, strict=True))


def _reading(text: Given, code: CodedText, d_sae: int, feature: int) -> TextReading:
    values = code.on(feature)
    counted = int(code.counted.sum())
    fires = bool(len(values)) and float(values.max()) > 0
    found, at, on = np.unique(code.feature, return_inverse=True, return_counts=True)
    most = np.zeros(len(found), dtype=np.float32)
    np.maximum.at(most, at, code.value)
    strongest = np.argsort(-most, kind="stable")[:FEATURES]
    return TextReading(
        text=text.text,
        category=text.category,
        source=text.source,
        tokens=tuple(
            ContextToken(token_idx=i, token_id=int(code.ids[i]), text=code.words[i], value=float(values[i]))
            for i in range(code.first, len(code.ids))
        ),
        max=float(values.max()) if fires else 0.0,
        at=int(values.argmax()) if fires else None,
        x_nonzero=code.x_nonzero,
        z_nonzero=len(code.value) / (counted * d_sae) if counted else None,
        active=tuple(np.bincount(code.position, minlength=len(code.ids))[code.counted].tolist()),
        cut=code.cut,
        features=tuple(TextFeature(feature=int(found[i]), max=float(most[i]), tokens=int(on[i])) for i in strongest),
        features_active=len(found),
        x_ranked=code.x_ranked,
        z_ranked=code.z_ranked,
    )


def _read(
    model: LanguageModel, sae: SAE, session: Session, texts: Sequence[Given]
) -> Generator[Asked, None, tuple[list[CodedText], tuple[str, ...]]]:
    """The texts' codes, and what was noticed on the way."""
    notes: list[str] = []
    reading = read(model, sae, [text.text for text in texts], session.config().tokens)
    while True:
        try:
            record = next(reading)
        except StopIteration as ended:
            return ended.value, tuple(notes)
        if isinstance(record, Notice):
            notes.append(record.message)
        yield record
