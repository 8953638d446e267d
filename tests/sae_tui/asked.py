"""Verbs of the command line without a process: answers that a test gives, at the pace it gives."""

import json
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.errors import RunError


class FakeVerbs:
    """Makes what `Asks.make_verb` makes. Answers are by the first words of what is asked; everything is noted."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []
        self.stopped: list[list[str]] = []
        self.waits = threading.Event()
        """Set: answers come at once."""
        self.waits.set()
        self.done: Callable[[list[str]], object] = lambda words: None
        """Called before an answer."""

    def __call__(self, root: Path, words: Sequence[str]) -> "_Verb":
        self.asked.append(list(words))
        return _Verb(self, list(words))


class _Verb:
    def __init__(self, verbs: FakeVerbs, words: list[str]) -> None:
        self._verbs, self._words = verbs, words
        self._ended = threading.Event()
        self.stopped = False
        self.line = "reading \x1b[31m it"

    def answer(self) -> Any:
        while not self._verbs.waits.wait(0.01):
            if self._ended.is_set():
                raise RunError("stopped")
        self._verbs.done(self._words)
        said = " ".join(self._words)
        found = next(answer for start, answer in self._verbs.answers.items() if said.startswith(start))
        if isinstance(found, Exception):
            raise found
        return json.loads(json.dumps(found))

    def stop(self) -> None:
        self._verbs.stopped.append(self._words)
        self.stopped = True
        self._ended.set()


def compared(names: Sequence[str], hostile: Sequence[str], *, by: str = "direction", pairs: int = 4) -> dict[str, Any]:
    """What `sae-tui compare --json` prints, every text of it as bad as it can be."""
    matches = []
    for i, (one, other) in enumerate(pairwise(names)):

        def way(f: int, first: int) -> list[dict[str, Any]]:
            return [
                {"session": name, "feature": f + place, "score": None if not place else 0.9 - 0.1 * place,
                 "called": hostile[(f + place) % len(hostile)]}
                for place, name in enumerate(names)
            ]  # fmt: skip

        matches.append({
            "one": one, "other": other, "by": by, "tokens": 900 if by == "firing" else 0,
            "documents": 40 if by == "documents" else 0, "alike": 0.7,
            "warning": f"only 40 {hostile[3]}" if by == "documents" else "",
            "features": 12, "features_back": 12, "matched": pairs, "matched_back": pairs, "mutual": pairs + 1,
            "scores": {"low": 0.0, "high": 1.0, "counts": [*[0] * 40, *range(40)], "counts_back": [1] * 80},
            "pairs": [{"feature": f + i, "other": f + i + 1, "score": 0.95 - f / 10, "way": way(f, i)}
                      for f in range(pairs)],
            "only": [{"feature": 7, "way": way(7, i)[:1]}], "only_back": [{"feature": 9, "way": way(8, i)[1:]}],
            "unmatched": [7, 8], "unmatched_back": [9],
        })  # fmt: skip
    figures = {"alive": 12, "dense_share": 0.5, "duplicate_share": 0.0, "token_entropy": 1.5, "category_entropy": None,
               "specialists": 3, "token_stability": 0.5}  # fmt: skip
    about = {"architecture": hostile[0], "model": hostile[1], "hook": hostile[2], "d_sae": 12, "fvu": None, "l0": 3.5}
    sessions = [
        {"name": name, "about": {**about, "l0": 3.5 * (i + 1)}, "figures": figures,
         "specialists": {hostile[3]: 2, hostile[4]: i}}
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"sessions": sessions, "matches": matches}


def studied() -> dict[str, Any]:
    """What both studies print, by their questions."""
    clouds = [
        {"of": of, "x": [-3.0, -0.5], "y": [0.5, 4.5], "columns": 192, "rows": 96,
         "cells": [[i, i // 2, 1 + i % 7] for i in range(0, 192, 3)]}
        for of in ("token_entropy", "category_entropy")
    ]  # fmt: skip
    clouds.append({"of": "specialist_score", "x": None, "y": None, "columns": 192, "rows": 96, "cells": []})
    against = [
        {"of": "token_entropy", "rho": 0.38, "low": 0.35, "high": 0.41, "n": 64},
        {"of": "category_entropy", "rho": 0.18, "low": 0.15, "high": 0.22, "n": 64},
        {"of": "specialist_score", "rho": None, "low": None, "high": None, "n": 0},
    ]
    steps = [
        {"step": step, "alive": alive, "born": born, "died": died, "density": 0.004, "density_rho": rho,
         "jaccard": rho, "drift": rho, "drift_final": 0.1}
        for step, alive, born, died, rho in ((1, 8, 8, 0, None), (50, 11, 4, 1, 0.5), (100, 10, 0, 1, 0.8))
    ]  # fmt: skip
    features = [
        {"feature": feature, "why": why, "label": label, "top_token": " the", "birth": birth, "density": density,
         "drift": [None, 0.5, 0.1], "pictures": []}
        for feature, why, label, birth, density in (
            (7, "strongest", "\x1b[31m", 1, [0.01, 0.02, 0.03]), (9, "came late", "", 50, [0.0, 0.001, 0.01])
        )
    ]  # fmt: skip
    stability = {"median": 0.63, "p10": 0.4, "p90": 0.8}
    return {
        "study frequency": [{"name": "alpha", "density_reliability": 0.987, "density_reliability_full": 0.993,
                             "density_against": against, "clouds": clouds}],
        "study emergence": [{"name": "alpha", "stability": stability, "steps": steps, "features": features}],
    }  # fmt: skip


def studied_of_images() -> dict[str, Any]:
    """The same of a session of images, with a picture for each snapshot but the first."""
    found = studied()
    [frequency], [emergence] = found["study frequency"], found["study emergence"]
    frequency["density_against"] = frequency["density_against"][1:]
    frequency["clouds"] = frequency["clouds"][1:]
    ramp = [[(row + column) / 54 for column in range(28)] for row in range(28)]
    falling = [[0.5 - v for v in row] for row in ramp]
    for one in emergence["features"]:
        picture = {"image": 12, "label": 4, "value": 1.5, "pixels": ramp, "pattern": falling}
        one |= {"label": "", "top_token": "4", "density": [0.0, 0.02, 0.03], "pictures": [None, picture, picture]}
    return found
