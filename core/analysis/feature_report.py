"""`feature_report.json`: every feature of an image model, read from its database, the most active first. No torch.

One object a feature, in the order of `mean_active`, those that never fired last:

    feature, n, density         its number; images it was active on, and the share of them (places, in a feature map)
    mean_active                 mean of its active values
    label_hist                  ten counts: how often it was active on each label
    label_mode, label_entropy   the label it was active on most, the smaller of equals; the labels' entropy, in nats
    boost_class, boost_logit    the class whose logit rises most when it is switched on, and by how much
    suppress_class, suppress_logit    and the one whose logit falls most
    switched_on, ablated        the change of each logit; see the table `effects`
    top_examples                image, label, predicted and value of its top images
    input_pattern               28 rows of 28 numbers; see the table `patterns`
    guess                       what it may stand for, from label_mode and boost_class: a guess

What does not exist (no classifier, never fired) is null, or an empty list.
"""

import contextlib
import json
from typing import Any

import duckdb

from core.session import Session
from core.storage import replace_file

CLASSES = 10

Row = dict[str, Any]


def write(session: Session) -> None:
    """Leave the file in the session's folder."""
    rows = [json.dumps(row) for row in read(session)]
    replace_file(session.report_json_path, "[\n" + ",\n".join(rows) + "\n]\n")


def read(session: Session) -> list[Row]:
    """Its objects."""
    with contextlib.closing(duckdb.connect(str(session.database_path), read_only=True)) as connection:

        def grouped(query: str) -> dict[int, list[tuple[Any, ...]]]:
            found: dict[int, list[tuple[Any, ...]]] = {}
            for feature, *rest in connection.execute(query).fetchall():
                found.setdefault(feature, []).append(tuple(rest))
            return found

        labels = grouped("SELECT feature, category, n FROM feature_categories")
        effects = grouped("SELECT feature, switched_on, ablated FROM effects ORDER BY feature, class")
        patterns = grouped("SELECT feature, value FROM patterns ORDER BY feature, y, x")
        examples = grouped("""
            SELECT feature, image, label, predicted, value
            FROM examples JOIN tokens USING (token_idx) JOIN images USING (doc)
            WHERE band = 0
            ORDER BY feature, rank
        """)
        features = connection.execute("""
            SELECT feature, n, density, mean, category_entropy FROM features ORDER BY mean DESC NULLS LAST, feature
        """).fetchall()
    return [
        _object(
            one, labels.get(one[0], []), effects.get(one[0], []), patterns.get(one[0], []), examples.get(one[0], [])
        )
        for one in features
    ]


def _object(
    feature: tuple[Any, ...], labels: list[Any], effects: list[Any], pattern: list[Any], examples: list[Any]
) -> Row:
    number, n, density, mean, entropy = feature
    histogram = [0] * CLASSES
    for label, count in labels:
        histogram[int(label)] = count
    mode = histogram.index(max(histogram)) if n else None
    on = [one[0] for one in effects]
    boosted = suppressed = None
    if on and None not in on:
        boosted, suppressed = on.index(max(on)), on.index(min(on))
    values = [one[0] for one in pattern]
    return {
        "feature": number,
        "n": n,
        "density": density,
        "mean_active": mean,
        "label_hist": histogram,
        "label_mode": mode,
        "label_entropy": entropy,
        "boost_class": boosted,
        "boost_logit": None if boosted is None else on[boosted],
        "suppress_class": suppressed,
        "suppress_logit": None if suppressed is None else on[suppressed],
        "switched_on": on,
        "ablated": [one[1] for one in effects],
        "top_examples": [dict(zip(("image", "label", "predicted", "value"), one, strict=True)) for one in examples],
        "input_pattern": [values[row : row + 28] for row in range(0, len(values), 28)],
        "guess": guess(histogram, mode, boosted),
    }


def guess(histogram: list[int], mode: int | None, boosted: int | None) -> str:
    """What a feature may stand for, in words: how much of its firing is on one label, and what it speaks for."""
    if mode is None:
        return ""
    share = histogram[mode] / sum(histogram)
    kind = "mostly" if share >= 0.5 else "most often, among others,"
    words = f"guess: fires {kind} on {mode} ({share:.0%})"
    if boosted is None:
        return words
    return f"{words} and speaks for it" if boosted == mode else f"{words}, but speaks for {boosted}"
