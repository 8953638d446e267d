"""A label for a feature from a language model behind any OpenAI-compatible address, and how well it tells the feature.

The model reads contexts in which the feature's tokens are marked, and says in a few words what they share. Then it is
shown others, unmarked and mixed, in half of which the feature fires, and says by the label alone which those are:

    score = (true positives / positives + true negatives / negatives) / 2

1 for a label that tells all, 0.5 for one that tells nothing. Off unless an address is given; knows no torch.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import httpx

from core.analysis.store import Store
from core.errors import RunError, UsageError
from core.explanations import Explanation
from core.records import ContextToken, Example

SHOWN, TESTED = 10, 5
"""Contexts that are shown with the label asked for; and of each kind, firing and silent, in the test."""
REACH = 16
"""Tokens of a context on each side."""
MARKED = 0.3
"""From this share of the feature's maximum on a token is marked."""
TIMEOUT_S = 120.0
ASK = (
    "Below are passages from a text corpus. In each, the tokens on which one feature of a neural network is active are "
    "between << and >>. Say in at most eight words what these tokens, or what leads up to them, have in common. Be "
    'specific. Answer with JSON alone: {"label": "..."}'
)
TEST = (
    "A feature of a neural network is described as: {label}\n\nBelow are numbered passages. Give the numbers of those "
    'in which this feature should be active. Answer with JSON alone: {{"active": [numbers]}}'
)


class Speaker(Protocol):
    """Whoever answers."""

    name: str

    def ask(self, prompt: str) -> str:
        """The answer to a prompt."""
        ...


class Address:
    """A model behind an OpenAI-compatible address."""

    def __init__(self, url: str, model: str, *, key: str = "") -> None:
        """`url` is that of the API's root, as `http://localhost:8000/v1`. Raises UsageError where it is none."""
        if not re.match(r"https?://[^/]", url):
            raise UsageError(f"{url!r} is no address", hint="give the API's root, as http://localhost:8000/v1")
        self.name = model
        self._url = url.rstrip("/") + "/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, prompt: str) -> str:
        """The answer to a prompt, at temperature 0. Raises RunError: no connection, a refusal, a senseless answer."""
        body = {"model": self.name, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        try:
            response = httpx.post(self._url, json=body, headers=self._headers, timeout=TIMEOUT_S)
            response.raise_for_status()
            return str(response.json()["choices"][0]["message"]["content"])
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            hint = "is the key right?" if code in (401, 403) else error.response.text[:200].strip() or "try again later"
            raise RunError(f"{self._url} refused with {code}", hint=hint) from error
        except httpx.HTTPError as error:
            raise RunError(f"{self._url} cannot be reached", hint=str(error) or type(error).__name__) from error
        except (ValueError, LookupError, TypeError) as error:
            raise RunError(
                f"{self._url} does not answer as an OpenAI-compatible server does", hint=str(error)
            ) from error


def explained(store: Store, speaker: Speaker, feature: int, *, seed: int = 0) -> Explanation:
    """Ask for a label, and test it on contexts that were not shown with it.

    Shown are the strongest contexts of even rank; tested is on those of odd rank and of the lower bands, and on places
    drawn from those around which the feature is silent. Raises RunError; QueryError where there is no such feature.
    """
    examples = store.examples(feature, context=REACH)
    top = [e for e in examples if e.band == 0]
    shown = top[::2][:SHOWN]
    if not shown:
        raise UsageError(f"feature {feature} fires nowhere in the analysed text", hint="there is nothing to read")
    most = top[0].value
    prompt = "\n\n".join([ASK, *(f"{i}. {_marked(e, most)}" for i, e in enumerate(shown, 1))])
    answer = speaker.ask(prompt)
    label = _label(answer)
    rng = random.Random(seed + feature)
    others = top[1::2] + [e for e in examples if e.band > 0]
    seen = {e.token_idx for e in shown}
    positives = [_text(e.tokens) for e in others if e.token_idx not in seen]
    positives = rng.sample(positives, min(TESTED, len(positives)))
    negatives = [_text(tokens) for tokens in store.silent(feature, TESTED, reach=REACH, seed=seed)]
    if not positives or not negatives:
        return _made(feature, label, None, (0, 0), speaker, (prompt, answer, "", ""))
    mixed = [(text, True) for text in positives] + [(text, False) for text in negatives]
    rng.shuffle(mixed)
    test = "\n\n".join([TEST.format(label=label), *(f"{i}. {text}" for i, (text, _) in enumerate(mixed, 1))])
    said = speaker.ask(test)
    score = balanced(_numbers(said), [fires for _, fires in mixed])
    return _made(feature, label, score, (len(positives), len(negatives)), speaker, (prompt, answer, test, said))


def balanced(said: set[int], fires: Sequence[bool]) -> float:
    """The mean of the share of firing contexts that were named and the share of silent ones that were not.

    `said` are numbers from 1; there is at least one context of each kind.
    """
    hits = sum(i in said for i, there in enumerate(fires, 1) if there) / sum(fires)
    passed = sum(i not in said for i, there in enumerate(fires, 1) if not there) / (len(fires) - sum(fires))
    return (hits + passed) / 2


def _made(
    feature: int, label: str, score: float | None, counts: tuple[int, int], speaker: Speaker, said: tuple[str, ...]
) -> Explanation:
    prompt, answer, test_prompt, test_answer = said
    return Explanation(
        feature=feature, label=label, score=score, positives=counts[0], negatives=counts[1], model=speaker.name,
        prompt=prompt, answer=answer, test_prompt=test_prompt, test_answer=test_answer,
    )  # fmt: skip


def _marked(example: Example, most: float) -> str:
    return _text(example.tokens, at=example.token_idx, least=MARKED * most)


def _text(tokens: Sequence[ContextToken], *, at: int | None = None, least: float = 0.0) -> str:
    """The text of a context; with a place, the tokens that are strong enough and the one there are marked."""
    marked = (f"<<{t.text}>>" if t.token_idx == at or t.value >= least else t.text for t in tokens)
    return "".join(t.text for t in tokens) if at is None else "".join(marked)


def _label(answer: str) -> str:
    """The label in an answer. Raises RunError where there is none."""
    label = _json(answer).get("label")
    if not isinstance(label, str) or not label.strip():
        raise RunError("the model gave no label", hint=f"it said: {answer.strip()[:200]}")
    return " ".join(label.split())[:200]


def _numbers(answer: str) -> set[int]:
    found = _json(answer).get("active")
    return {n for n in found if isinstance(n, int)} if isinstance(found, list) else set()


def _json(answer: str) -> Mapping[str, Any]:
    """The first object in an answer, which may stand among other words; empty without one."""
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        value = json.loads(found[0]) if found else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
