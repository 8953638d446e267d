"""A label for a feature from its own statistics, without any model: what it fires on, and where.

    raise                 it fires on one token most of the time
    with, from, 's        on a few tokens, by what each adds: share · ln(lift)
    newline and space     on several tokens, and all of note are blanks or punctuation: what these are, once
    in asyncio            on no token in particular, but in one category

Knows no torch.
"""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.analysis.store import Store
from core.errors import QueryError
from core.labels import Label

ALONE = 0.6
"""From this share of its firings on, one token is what a feature is about."""
FEW = 0.5
"""Below this share a few tokens together say too little."""
MOST = 3
"""Tokens in a label."""
LONGEST = 40
"""Characters of a token in a label."""
BLANKS = {"\n": "newline", "\t": "tab", " ": "space"}
PUNCTUATION = "punctuation"
SOURCE = "tokens"
"""Who says so, in a label's `source`."""
TOKENS = """
    SELECT feature, list({text: t.text, share: t.n / f.n, lift: t.lift}) AS tokens, any_value(f.specialist_category) AS
        category, any_value(f.specialist_score) AS score, any_value(f.category_entropy) AS entropy
    FROM feature_tokens t JOIN features f USING (feature) WHERE feature IN (SELECT unnest([%s]::INTEGER[]))
    GROUP BY feature ORDER BY feature
"""


def proposed(store: Store, features: Sequence[int]) -> Iterator[tuple[int, str]]:
    """A label for each of the features for which its statistics say enough. Raises QueryError for one there is not."""
    wrong = next((f for f in features if not 0 <= f < store.d_sae), None)
    if wrong is not None:
        raise QueryError(f"there is no feature {wrong}", hint=f"they go from 0 to {store.d_sae - 1}")
    result = store.query(TOKENS % ", ".join(map(str, features)), limit=len(features))
    for feature, tokens, category, score, entropy in result.rows:
        words = named(tokens, category if (score or 0) > 0 and entropy is not None else None)
        if words:
            yield feature, words


def labels(store: Store, features: Sequence[int]) -> list[Label]:
    """The same as labels, whose source is `SOURCE`."""
    return [Label(feature=feature, label=label, source=SOURCE) for feature, label in proposed(store, features)]


def named(tokens: Sequence[Mapping[str, Any]], category: str | None) -> str:
    """The label that tokens, each with `text`, `share` of the firings and `lift`, make; "" where they say too little.

    Tokens that differ by case or the spaces around them are one. Blanks and punctuation are named where the feature is
    about one of them alone, or the other tokens say too little. `category` is that of a specialist.
    """
    shares: dict[str, float] = defaultdict(float)
    gains: dict[str, float] = defaultdict(float)
    signs: dict[str, list[str]] = {}
    for token in tokens:
        word, kinds = _word(str(token["text"]))
        if kinds:
            signs[word] = kinds
        shares[word] += token["share"]
        gains[word] += token["share"] * math.log(max(token["lift"], 1e-9))
    order = sorted(shares, key=lambda word: (-gains[word], word))
    found = ""
    if order and shares[order[0]] >= ALONE:
        found = order[0]
    else:
        spoken = [word for word in order if word not in signs][:MOST]
        if sum(shares[word] for word in spoken) >= FEW:
            found = ", ".join(word for word in spoken if gains[word] > 0)
        elif sum(shares[word] for word in signs) >= FEW:
            kinds = dict.fromkeys(kind for word in order if word in signs and gains[word] > 0 for kind in signs[word])
            found = " and ".join(list(kinds)[:MOST])
    if category:
        return f"{found} · {category}" if found else f"in {category}"
    return found


def _word(text: str) -> tuple[str, list[str]]:
    """A token as one names it; and where it is a blank or punctuation, the kinds of these it is made of."""
    word = text.strip().casefold()[:LONGEST]
    if word:
        named = word if word.replace("_", "a").isalnum() else f"'{word}'"
        signs = all(unicodedata.category(character)[0] in "PZC" or _operator(character) for character in word)
        return named, [PUNCTUATION] if signs else []
    kinds = list(dict.fromkeys(BLANKS.get(character, "blank") for character in text)) or ["nothing"]
    return " and ".join(kinds), kinds


def _operator(character: str) -> bool:
    """A sign of arithmetic, a currency or an accent by itself; an emoji is none."""
    return unicodedata.category(character) in ("Sm", "Sc", "Sk")
