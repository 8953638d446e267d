"""Which score belongs to a label: that of the model that gave it, in these words."""

import json

import pytest

from core import explanations
from core.labels import Label
from core.session import Session


@pytest.mark.parametrize(
    ("label", "source", "score"),
    [
        ("months", "m", 0.75),  # the last of two
        ("months", "person", None),
        ("months", "other", None),
        ("Months", "m", None),
        ("", "m", None),
        ("untested", "m", None),
        ("torn", "m", None),
    ],
)
def test_a_score_belongs_to_a_label_in_the_words_of_the_model_that_gave_it(tmp_path, label, source, score):
    session = Session(tmp_path)
    tests = [("months", 0.5), ("months", 0.75), ("", 1.0), ("untested", None), ("torn", float("nan")), ("torn", "1")]
    lines = [json.dumps({"feature": 3, "label": said, "model": "m", "score": given}) for said, given in tests]
    lines += ['{"feature": [3], "label": "months", "model": "m", "score": 1}', '{"label": "months"}', "no JSON"]
    session.explanations_path.write_text("\n".join(lines))
    found = explanations.tested(session, {3: Label(feature=3, label=label, source=source)})
    assert {feature: line["score"] for feature, line in found.items()} == ({} if score is None else {3: score})


def test_a_session_without_explanations_has_no_scores(tmp_path):
    assert explanations.tested(Session(tmp_path), {3: Label(feature=3, label="months", source="m")}) == {}
