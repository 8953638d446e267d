import gzip
import json
import random
import string
import subprocess
import sys
from collections import Counter
from itertools import chain, count, pairwise
from pathlib import Path

import datasets
import httpx
import pytest
from huggingface_hub.errors import GatedRepoError
from hypothesis import given, settings
from hypothesis import strategies as st

from core.corpus import SHUFFLE_DOCUMENTS, Document, cut, documents, shuffled, split_of
from core.errors import CorpusError
from core.options import CorpusConfig

SPLITS = ("train", "calibration", "test")
TEXTS = [f"text number {i}" for i in range(400)]


def read(name: object, **fields: object) -> list[Document]:
    """Every document of a corpus, of all three splits."""
    config = CorpusConfig.model_validate({"name": str(name), **fields})
    found = []
    for split in SPLITS:
        try:
            found += documents(config, split, seed=0)
        except CorpusError as error:
            if "fell into" not in error.message:
                raise
    return found


def write_rows(path: Path, rows: list[dict]) -> Path:
    text = "".join(json.dumps(r) + "\n" for r in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", [{"text": t} for t in TEXTS])


def test_the_splits_are_disjoint_and_together_hold_every_text_once(rows_file: Path) -> None:
    config = CorpusConfig(name=str(rows_file))
    by_split = {s: [d.text for d in documents(config, s, seed=0)] for s in SPLITS}
    assert sorted(chain(*by_split.values())) == sorted(TEXTS)


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1), st.floats(0.01, 0.49), st.floats(0.01, 0.49))
def test_a_larger_calibration_share_takes_texts_from_training_alone(texts: list[str], a: float, b: float) -> None:
    small, large = (CorpusConfig(test_share=0.2, calibration_share=s) for s in sorted((a, b)))
    for text in texts:
        before, after = split_of(text, small), split_of(text, large)
        assert before == after or (before, after) == ("train", "calibration")


def test_the_shares_are_kept_closely_on_many_texts() -> None:
    config = CorpusConfig(test_share=0.1, calibration_share=0.05)
    counts = Counter(split_of(str(i), config) for i in range(20_000))
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["calibration"] / 20_000 == pytest.approx(0.05, abs=0.01)


def test_the_split_of_a_text_is_the_same_in_another_process() -> None:
    code = (
        "from core.config import CorpusConfig; from core.corpus import split_of;"
        "print(*(split_of(str(i), CorpusConfig()) for i in range(200)))"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert there.stdout.split() == [split_of(str(i), CorpusConfig()) for i in range(200)]


def test_growth_and_reordering_of_a_corpus_move_no_text(tmp_path: Path) -> None:
    def tests_of(texts: list[str]) -> set[str]:
        path = write_rows(tmp_path / "rows.jsonl", [{"text": t} for t in texts])
        return {d.text for d in documents(CorpusConfig(name=str(path)), "test", seed=0)}

    before = tests_of(TEXTS)
    after = tests_of([f"new {i}" for i in range(100)] + TEXTS[::-1])
    assert after & set(TEXTS) == before


def test_every_piece_of_a_long_text_stays_in_its_texts_split(tmp_path: Path) -> None:
    texts = ["".join(f"text {i} line {n}\n" for n in range(50)) for i in range(60)]
    path = write_rows(tmp_path / "rows.jsonl", [{"text": t} for t in texts])
    config = CorpusConfig(name=str(path), document_chars=100, test_share=0.3)
    pieces = list(documents(config, "test", seed=0))
    assert {d.source.split(":")[1] for d in pieces} == {
        str(i + 1) for i, t in enumerate(texts) if split_of(t, config) == "test"
    }
    assert len(pieces) > 60


def test_pieces_name_the_line_at_which_they_begin(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"text": "one\ntwo\nthree\nfour\n", "source": "book"}])
    assert sorted((d.source, d.text) for d in read(path, document_chars=8)) == [
        ("book:1", "one\ntwo\n"),
        ("book:3", "three\n"),
        ("book:4", "four\n"),
    ]


@settings(deadline=None)
@given(st.text(alphabet="ab\n", max_size=200), st.integers(1, 20))
def test_pieces_join_to_the_text_and_break_inside_long_lines_only(text: str, limit: int) -> None:
    pieces = list(cut(text, limit))
    assert "".join(p for _, p in pieces) == text
    for (line, piece), (after, _) in pairwise(pieces):
        assert after == line + piece.count("\n")
        assert len(piece) <= limit
        assert piece.endswith("\n") or ("\n" not in piece and len(piece) == limit)


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(1, 50), st.integers())
def test_shuffling_loses_and_repeats_nothing_and_follows_its_seed(items: list[int], size: int, seed: int) -> None:
    once, again = (list(shuffled(items, size, random.Random(seed))) for _ in range(2))
    assert Counter(once) == Counter(items)
    assert once == again


def test_shuffling_never_draws_further_ahead_than_its_size() -> None:
    drawn = count()
    mixed = shuffled(drawn, 10, random.Random(0))
    given_out = [next(mixed) for _ in range(500)]
    assert next(drawn) == 500 + 10
    assert given_out != sorted(given_out)


def test_another_seed_mixes_the_same_documents_otherwise(rows_file: Path) -> None:
    config = CorpusConfig(name=str(rows_file))
    first, same, other = ([d.text for d in documents(config, "train", seed=s)] for s in (1, 1, 2))
    assert first == same
    assert first != other
    assert sorted(first) == sorted(other)


def test_neighbours_in_a_file_are_far_apart_when_mixed(tmp_path: Path) -> None:
    assert SHUFFLE_DOCUMENTS >= 500
    path = write_rows(tmp_path / "rows.jsonl", [{"text": f"{i}"} for i in range(3_000)])
    drawn = [int(d.text) for d in documents(CorpusConfig(name=str(path)), "train", seed=0)]
    near = sum(abs(a - b) <= 10 for a, b in pairwise(drawn))
    assert near / len(drawn) < 0.03


def test_the_standard_library_comes_by_module_and_without_its_test_suites() -> None:
    found = read("stdlib")
    sources = {d.source for d in found}
    categories = {d.category for d in found}
    assert {"json", "argparse", "asyncio"} <= categories
    assert any(s.startswith("json/decoder.py") for s in sources)
    assert not {"test", "tests", "idle_test", "site-packages"} & {p for s in sources for p in s.split("/")}
    assert all(len(d.text) <= 4_000 for d in found)
    assert sum(len(d.text) for d in found) > 5_000_000


def test_paragraphs_of_a_text_file_are_grouped_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\none\nstill one\n\n\n\ntwo\n \nthree is longer than the rest\n\nfour", encoding="utf-8")
    assert sorted((d.source, d.text) for d in read(path, document_chars=30)) == [
        ("book.txt:11", "four"),
        ("book.txt:2", "one\nstill one\n\ntwo"),
        ("book.txt:9", "three is longer than the rest"),
    ]


@settings(deadline=None)
@given(st.lists(st.text(string.ascii_letters + " \n", min_size=1), min_size=1), st.integers(1, 40))
def test_a_text_file_gives_every_word_character_once_within_the_limit(
    tmp_path_factory: pytest.TempPathFactory, paragraphs: list[str], limit: int
) -> None:
    path = tmp_path_factory.mktemp("corpus") / "book.txt"
    path.write_text("\n\n".join(paragraphs) + "\nx", encoding="utf-8")
    found = read(path, document_chars=limit)
    assert max(len(d.text) for d in found) <= limit
    letters = Counter("".join(d.text for d in found))
    expected = Counter(path.read_text())
    assert {c: letters[c] for c in string.ascii_letters} == {c: expected[c] for c in string.ascii_letters}


def test_a_file_of_one_endless_line_is_cut_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "line.txt"
    path.write_text("".join(str(i % 10) for i in range(100_000)), encoding="utf-8")
    assert {len(d.text) for d in read(path, document_chars=1_000)} == {1_000}


def test_rows_take_category_and_source_from_their_columns(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "rows.jsonl", [{"text": "a", "category": "x", "source": "s"}, {"text": "b", "category": 3}]
    )
    assert sorted((d.text, d.category, d.source) for d in read(path)) == [
        ("a", "x", "s"),
        ("b", "3", "rows.jsonl:2"),
    ]


def test_named_columns_are_read_instead(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl.gz", [{"body": "a", "topic": "t", "category": "x"}])
    [found] = read(path, text_column="body", category_column="topic")
    assert found == Document("a", "t", "rows.jsonl.gz:1")


def test_empty_rows_are_left_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"text": ""}, {"text": None}, {"text": " \n"}, {"text": "a"}])
    assert [d.source for d in read(path)] == ["rows.jsonl:4"]


def test_what_cannot_be_encoded_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a\\ud800b"}\n', encoding="utf-8")
    assert [d.text for d in read(path)] == ["a?b"]


def test_a_folder_is_read_in_the_order_of_its_names_and_text_files_name_the_category(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "cats.txt").write_text("miaow")
    (tmp_path / "dogs.txt").write_text("woof")
    write_rows(tmp_path / "rows.jsonl", [{"text": "moo"}])
    (tmp_path / "notes.md").write_text("not read")
    assert sorted((d.source, d.category, d.text) for d in read(tmp_path)) == [
        ("deep/cats.txt:1", "cats", "miaow"),
        ("dogs.txt:1", "dogs", "woof"),
        ("rows.jsonl:1", "", "moo"),
    ]


def test_the_only_text_file_of_a_folder_names_no_category(tmp_path: Path) -> None:
    (tmp_path / "dogs.txt").write_text("woof")
    assert [d.category for d in read(tmp_path)] == [""]


def saved(tmp_path: Path) -> Path:
    labels = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, -1]}, features=labels)
    datasets.DatasetDict({"train": rows, "extra": rows.select([1])}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_saved_data_set_is_read_with_the_names_of_its_labels(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert sorted((d.text, d.category) for d in read(path, category_column="label")) == [
        ("a", "no"),
        ("b", "yes"),
        ("c", ""),
    ]
    assert [d.source for d in read(path, split="extra")] == [f"{path}[0]"]
    assert {d.text for d in read(path / "train")} == {"a", "b", "c"}


def test_an_unknown_split_of_a_saved_data_set_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no split 'trian'.*did you mean 'train'\?"):
        read(saved(tmp_path), split="trian")


@pytest.mark.parametrize("column", ["text_column", "category_column"])
def test_a_column_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path, column: str) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "a", "title": "t"}])
    for path in (rows, saved(tmp_path)):
        with pytest.raises(CorpusError, match=rf"no column 'txt'.*corpus\.{column}; did you mean 'text'\?"):
            read(path, **{column: "txt"})


@pytest.mark.parametrize("name", ["stdlib", "book.txt"])
def test_a_category_column_is_refused_where_there_are_no_columns(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("a")
    with pytest.raises(CorpusError, match="has no columns"):
        read(name, category_column="topic")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{torn", r"rows\.jsonl:3 is not JSON"),
        ("[1]", "3 is no JSON object"),
        ('{"text": 5}', "3 holds int, not text"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "a"}}\n\n{line}\n')
    with pytest.raises(CorpusError, match=message):
        read(path)


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(CorpusError, match="not UTF-8"):
        read(tmp_path / "book.txt")


def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    whole = write_rows(tmp_path / "rows.jsonl.gz", [{"text": t} for t in TEXTS]).read_bytes()
    for torn in (whole[:-20], b"plain", whole[:40] + b"\xff" * 40 + whole[80:]):
        (tmp_path / "rows.jsonl.gz").write_bytes(torn)
        with pytest.raises(CorpusError, match=r"cannot be read|is not JSON"):
            read(tmp_path / "rows.jsonl.gz")


@pytest.mark.parametrize("name", ["missing.jsonl", "./missing", "~/missing-corpus", "a/b/c", "/missing"])
def test_a_path_that_is_missing_is_not_looked_for_on_the_hub(name: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="there is no corpus at"):
        read(name)


def test_an_unsupported_file_is_answered_with_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b")
    for path in (tmp_path / "table.csv", tmp_path):
        with pytest.raises(CorpusError, match=r"supported are a \.txt, \.jsonl"):
            read(path)


def test_an_empty_corpus_and_an_empty_split_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("\n\n")
    with pytest.raises(CorpusError, match="holds no text"):
        next(documents(CorpusConfig(name=str(tmp_path / "book.txt")), "train", seed=0))
    (tmp_path / "book.txt").write_text("a word")
    config = CorpusConfig(name=str(tmp_path / "book.txt"))
    empty = next(s for s in SPLITS if s != split_of("a word", config))
    with pytest.raises(CorpusError, match=rf"none of the 1 texts .* fell into the {empty} split"):
        next(documents(config, empty, seed=0))


def test_reading_the_standard_library_imports_neither_torch_nor_datasets() -> None:
    code = (
        "import sys; from core.config import CorpusConfig; from core import corpus, tokens;"
        "next(corpus.documents(CorpusConfig(), 'test', seed=0));"
        "sys.exit(', '.join({'torch', 'datasets'} & set(sys.modules)) or 0)"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (there.returncode, there.stderr) == (0, "")


def test_a_hub_data_set_is_asked_for_as_configured(monkeypatch) -> None:
    asked = {}

    def load_dataset(name: str, subset: str | None, **options: object) -> datasets.IterableDataset:
        asked.update(name=name, subset=subset, **options)
        return datasets.Dataset.from_dict({"text": ["a"], "category": ["x"]}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read("org/name", subset="en", split="validation") == [Document("a", "x", "org/name[0]")]
    expected = {"name": "org/name", "subset": "en", "split": "validation", "streaming": True, "revision": None}
    assert asked == expected
    read("org/name", subset="en", split="validation", revision="v2")
    assert asked == expected | {"revision": "v2"}


def gated() -> Exception:
    response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))
    error = datasets.exceptions.DatasetNotFoundError("Dataset 'org/name' is a gated dataset on the Hub.")
    error.__cause__ = GatedRepoError("403", response=response)
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            gated(),
            r"licence or a login: .*https://huggingface\.co/datasets/org/name.*hf auth login.*HF_TOKEN",
        ),
        (gated().__cause__, r"licence or a login"),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset doesn't exist"),
            "there is no data set 'org/name'",
        ),
        (ConnectionError("Couldn't reach"), "out of reach: check the network and HF_HUB_OFFLINE"),
        (
            ValueError("Bad split: x.\nAvailable splits: ['train']"),
            r"Bad split: x\. Available.*set corpus\.split",
        ),
        (
            RuntimeError("Dataset scripts are\nno longer supported"),
            "cannot be read: Dataset scripts are no longer",
        ),
    ],
)
def test_a_failure_at_the_hub_becomes_a_sentence_that_says_what_to_do(monkeypatch, error, sentence: str) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(CorpusError, match=sentence) as caught:
        read("org/name")
    assert "\n" not in str(caught.value)


def test_a_network_that_breaks_off_midway_is_a_corpus_error_too(monkeypatch) -> None:
    def rows():
        yield {"text": "a"}
        raise ConnectionError("gone")

    def load_dataset(*_: object, **__: object) -> datasets.IterableDataset:
        return datasets.IterableDataset.from_generator(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(CorpusError, match="out of reach"):
        read("org/name")
