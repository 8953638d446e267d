from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.corpus import Document
from core.errors import UsageError
from core.options import TokensConfig
from core.tokens import Block, blocks, prompt_block, stacked

BOS, PAD, END = 900, 901, 902


class Letters:
    """A letter is a token: a = 0, b = 1 and so on; `!` is a special one."""

    pad_id = PAD
    special_ids = frozenset({BOS, PAD, END})

    def __init__(self, bos_id: int | None = BOS) -> None:
        self.bos_id = bos_id

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[END if c == "!" else ord(c) - ord("a") for c in text] for text in texts]


def config(**fields: object) -> TokensConfig:
    return TokensConfig.model_validate({"context": 5, **fields})


def packed(texts: list[str], rules: TokensConfig, tokenizer: Letters | None = None) -> list[Block]:
    return list(blocks([Document(t, "", "") for t in texts], tokenizer or Letters(), rules))


def drawn(block: Block) -> str:
    """The ids as letters, `^` for BOS, `_` for padding."""
    return "".join({BOS: "^", PAD: "_", END: "!"}.get(i) or chr(i + ord("a")) for i in block.ids.tolist())


def marks(block: Block) -> str:
    return "".join("x" if c else "." for c in block.counted)


TEXTS = st.lists(st.text("abcdef!", max_size=30), max_size=150)
CONFIGS = st.builds(
    TokensConfig,
    context=st.integers(2, 17),
    packing=st.sampled_from(["packed", "per_document"]),
    prepend_bos=st.booleans(),
    skip_special=st.booleans(),
    skip_first=st.booleans(),
)
TOKENIZERS = st.sampled_from([Letters(), Letters(bos_id=None)])


@given(TEXTS, CONFIGS, TOKENIZERS)
def test_every_token_comes_once_in_order_with_its_document_and_place(texts, rules, tokenizer) -> None:
    found = packed(texts, rules, tokenizer)
    seen = [
        (doc, pos, token)
        for b in found
        for doc, pos, token in zip(b.doc.tolist(), b.doc_pos.tolist(), b.ids.tolist(), strict=True)
        if pos >= 0
    ]
    encoded = tokenizer.encode(texts)
    assert seen == [(doc, pos, token) for doc, ids in enumerate(encoded) for pos, token in enumerate(ids)]


@given(TEXTS, CONFIGS, TOKENIZERS)
def test_blocks_are_as_a_plain_reference_makes_them(texts, rules, tokenizer) -> None:
    found = [
        list(zip(b.ids.tolist(), b.doc.tolist(), b.doc_pos.tolist(), b.counted.tolist(), strict=True))
        for b in packed(texts, rules, tokenizer)
    ]
    assert found == list(reference(tokenizer.encode(texts), tokenizer.bos_id, rules))


def reference(encoded: list[list[int]], bos_id: int | None, rules: TokensConfig) -> Iterator[list[tuple]]:
    """The rules one token at a time: rows of (id, doc, doc_pos, counted)."""
    bos_id = bos_id if rules.prepend_bos else None
    rows: list[list[tuple[int, int, int]]] = []
    for doc, ids in enumerate(encoded):
        if ids and rules.packing == "per_document":
            rows.append([])
        stream = [(token, doc, pos) for pos, token in enumerate(ids)]
        if ids and bos_id is not None:
            stream.insert(0, (bos_id, doc, -1))
        for item in stream:
            if not rows or len(rows[-1]) == rules.context:
                rows.append([])
            if not rows[-1] and bos_id is not None and item[2] >= 0:
                rows[-1].append((bos_id, doc, -1))
            rows[-1].append(item)
    for row in rows:
        row += [(PAD, -1, -1)] * (rules.context - len(row))
        yield [
            (
                *item,
                item[1] >= 0
                and not (rules.skip_first and at == 0)
                and not (rules.skip_special and (item[2] < 0 or item[0] in Letters.special_ids)),
            )
            for at, item in enumerate(row)
        ]


def test_documents_run_on_across_blocks_when_packed() -> None:
    assert [drawn(b) for b in packed(["abcdef", "ghi"], config())] == ["^abcd", "^ef^g", "^hi__"]


def test_a_block_that_begins_with_a_document_has_one_bos() -> None:
    assert [drawn(b) for b in packed(["abcd", "efgh"], config())] == ["^abcd", "^efgh"]


def test_a_block_that_ends_in_a_bos_hands_its_document_on_to_the_next() -> None:
    assert [drawn(b) for b in packed(["abc", "def"], config())] == ["^abc^", "^def_"]


def test_a_document_begins_a_block_of_its_own_when_asked() -> None:
    found = packed(["abcdef", "g"], config(packing="per_document"))
    assert [drawn(b) for b in found] == ["^abcd", "^ef__", "^g___"]
    assert [b.doc.tolist() for b in found] == [[0] * 5, [0, 0, 0, -1, -1], [1, 1, -1, -1, -1]]
    assert [b.doc_pos.tolist() for b in found][1] == [-1, 4, 5, -1, -1]


def test_without_a_bos_token_none_is_put_in_and_the_first_position_still_does_not_count() -> None:
    found = packed(["abcdefg"], config(), Letters(bos_id=None))
    assert [(drawn(b), marks(b)) for b in found] == [("abcde", ".xxxx"), ("fg___", ".x...")]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [".xx..", ".x..."]),
        ({"skip_first": False}, [".xx..", ".x..."]),
        ({"skip_special": False}, [".xxxx", ".x..."]),
        ({"skip_special": False, "skip_first": False}, ["xxxxx", "xx..."]),
    ],
)
def test_positions_count_as_configured_and_padding_never(rules: dict[str, bool], expected: list[str]) -> None:
    found = packed(["ab", "!c"], config(**rules))
    assert [drawn(b) for b in found] == ["^ab^!", "^c___"]
    assert [marks(b) for b in found] == expected


def test_documents_without_a_token_keep_their_number() -> None:
    [only] = packed(["", "a", "", "b"], config())
    assert (drawn(only), only.doc.tolist()) == ("^a^b_", [1, 1, 3, 3, -1])


def test_no_documents_make_no_block() -> None:
    assert packed([], config()) == []
    assert packed(["", ""], config()) == []


def test_blocks_of_an_endless_corpus_come_as_it_is_drawn() -> None:
    numbers = count()
    endless = (Document("abcdef", "", str(next(numbers))) for _ in iter(int, 1))
    stream = blocks(endless, Letters(), config())
    for _ in range(10):
        next(stream)
    assert next(numbers) <= 64


def test_a_kept_block_keeps_no_other_in_memory() -> None:
    block = packed(["abcdef" * 1_000], config())[0]
    for field in (block.ids, block.doc, block.doc_pos, block.counted):
        assert field.base is None or field.base.size <= 2 * field.size


def test_fields_have_the_stated_types() -> None:
    block = packed(["abc"], config())[0]
    assert [f.dtype for f in (block.ids, block.doc, block.doc_pos, block.counted)] == [
        np.int64, np.int32, np.int32, np.bool_,
    ]  # fmt: skip


def test_a_prompt_is_one_row_of_its_own_length_begun_as_blocks_are() -> None:
    block = prompt_block("abcdefgh!", Letters(), config())
    assert (drawn(block), marks(block)) == ("^abcdefgh!", ".xxxxxxxx.")
    assert block.doc_pos.tolist() == [-1, *range(9)]
    assert drawn(prompt_block("abc", Letters(), config(prepend_bos=False))) == "abc"


def test_an_empty_prompt_is_bos_alone_or_refused_where_there_is_none() -> None:
    assert drawn(prompt_block("", Letters(), config())) == "^"
    with pytest.raises(UsageError, match="no token"):
        prompt_block("", Letters(bos_id=None), config())


@given(TEXTS, st.integers(1, 7))
def test_batches_hold_every_block_once_and_only_the_last_is_smaller(texts: list[str], n: int) -> None:
    rows = packed(texts, config())
    batches = list(stacked(rows, n))
    assert all(b.ids.shape == (n, 5) for b in batches[:-1])
    for field in ("ids", "doc", "doc_pos", "counted"):
        joined = [row.tolist() for b in batches for row in getattr(b, field)]
        assert joined == [getattr(r, field).tolist() for r in rows]
