import json
import math
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from core import curves
from core.curves import GAP, Curves, bucketed, changes, smoothed


def line(step, **values):
    return json.dumps({"step": step, "steps": 1000, "activations": step * 10, "elapsed_s": step / 2, **values}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def read(path: Path) -> Curves:
    found = Curves(path)
    found.read()
    return found


def column(found: Curves, name="loss", axis="step", weight=0.0):
    xs, ys = found.series(axis, name, weight)
    return list(xs), list(ys)


def append(path: Path, text: str):
    with path.open("a") as file:
        file.write(text)


def test_a_torn_line_waits_for_its_rest(path):
    second = line(2, loss=2.0)
    path.write_text(line(1, loss=3.0) + second[:-9])
    found = read(path)
    assert column(found) == ([1], [3.0])
    assert not found.read()
    append(path, second[-9:-1])
    assert not found.read()
    append(path, "\n" + line(3, loss=1.0))
    assert found.read()
    assert column(found) == ([1, 2, 3], [3.0, 2.0, 1.0])


def test_what_was_read_is_not_read_again(path):
    path.write_text("".join(line(i, loss=float(i)) for i in range(1, 50)))
    found = read(path)
    size, at = path.stat().st_size, path.stat().st_mtime_ns
    text = path.read_text()
    # The middle of the file changes under it, which nobody who reads on from the end can see.
    path.write_text(text[:1_000] + "x" * (size - 1_000))
    append(path, "\n" + line(50, loss=0.5))
    os.utime(path, ns=(at, at + 10**9))
    assert found.read()
    assert column(found)[0] == list(range(1, 51))


def test_a_shorter_file_another_inode_and_another_head_begin_anew(path, tmp_path):
    path.write_text("".join(line(i, loss=float(i)) for i in range(1, 9)))
    found = read(path)
    path.write_text(line(1, loss=7.0))
    assert found.read() and column(found) == ([1], [7.0]) and found.restarts == 1

    other = tmp_path / "other"
    other.write_text(line(1, loss=7.0) + line(2, loss=8.0))
    other.replace(path)
    assert found.read() and column(found) == ([1, 2], [7.0, 8.0]) and found.restarts == 2

    path.write_text("".join(line(i, loss=9.0) for i in range(1, 30)))
    assert found.read() and column(found)[1] == [9.0] * 29 and found.restarts == 3

    path.unlink()
    assert found.read() and len(found) == 0 and found.restarts == 4
    assert not found.read()


def test_no_file_is_no_curve(path):
    found = read(path)
    assert len(found) == 0 and found.version == 0 and found.steps is None
    assert found.latest("loss") is None and not found.has("loss") and found.rate(60) is None


def test_what_is_no_finite_number_is_a_gap_and_counted(path):
    bad = [None, math.nan, math.inf, -math.inf, "3", True, [1], 10**400]
    path.write_text("".join(line(i, loss=v) for i, v in enumerate([1.0, *bad, 2.0], 1)) + line(11) + "{torn\n[1]\n")
    found = read(path)
    xs, ys = column(found)
    assert xs == list(range(1, 12))
    assert [y for y in ys if y == y] == [1.0, 2.0]
    assert found.gaps("loss") == len(bad) + 1
    assert found.gaps("fvu") == 0 and not found.has("fvu")  # never said is no gap


def test_lines_of_before_steps_and_dead_share_were_said(path):
    path.write_text(json.dumps({"step": 1, "loss": 2.0, "dead": 4}) + "\n")
    found = read(path)
    assert found.steps is None and found.planned("step") is None
    assert found.has("dead") and not found.has("dead_share")


def test_planned_and_rate(path):
    path.write_text("".join(line(i) for i in range(1, 301)))
    found = read(path)
    assert found.planned("step") == 1000 and found.planned("activations") == 10_000
    assert found.planned("elapsed_s") is None
    assert found.rate(60) == pytest.approx(20)


def test_a_run_taken_up_again_replaces_what_it_does_anew(path):
    path.write_text("".join(line(i, loss=1.0) for i in range(1, 10)))
    found = read(path)
    append(path, "".join(line(i, loss=2.0) for i in range(5, 8)))
    found.read()
    assert column(found) == ([1, 2, 3, 4, 5, 6, 7], [1.0] * 4 + [2.0] * 3)


@pytest.fixture
def small(monkeypatch):
    """Limits that a small file passes."""
    monkeypatch.setattr(curves, "HELD", 256)
    monkeypatch.setattr(curves, "SAMPLED", 128)
    monkeypatch.setattr(curves, "WHOLE_BYTES", 16_384)


def test_a_long_file_is_sampled_evenly_and_ends_at_its_newest_line(path, small):
    path.write_text("".join(line(i, loss=float(i)) for i in range(1, 2_001)))
    found = read(path)
    xs, ys = column(found)
    assert xs == ys and 125 <= len(found) <= 256
    assert xs[0] == 1 and xs[-1] == 2_000
    assert found.every == pytest.approx(2_000 / 128, rel=0.1)
    apart = [b - a for a, b in pairwise(xs[:-1])]
    assert max(apart) <= 2 * min(apart)


def test_appended_lines_thin_out_and_keep_the_newest(path, small):
    path.write_text("")
    found = Curves(path)
    for i in range(1, 2_001):
        append(path, line(i, loss=float(i)))
        if i % 7 == 0 or i == 2_000:
            found.read()
            assert column(found)[0][-1] == i
            assert len(found) <= 257
    xs, _ = column(found)
    apart = [b - a for a, b in pairwise(xs[:-1])]
    assert xs[0] == 1 and max(apart) <= 3 * min(apart)
    assert found.every > 5


def test_much_that_came_at_once_is_sampled(path, small):
    path.write_text("".join(line(i, loss=float(i)) for i in range(1, 11)))
    found = read(path)
    append(path, "".join(line(i, loss=float(i)) for i in range(11, 3_001)))
    found.read()
    xs, _ = column(found)
    assert xs[0] == 1 and xs[-1] == 3_000 and len(xs) <= 256


def test_a_part_is_read_in_more_detail(path, small):
    path.write_text("".join(line(i, loss=float(i)) for i in range(1, 2_001)))
    found = read(path)
    part = found.part("step", 500, 520)
    part.read()
    inside = [x for x in column(part)[0] if 500 <= x <= 520]
    assert inside == list(range(500, 521)) and part.every == 1
    assert column(part)[0][0] < 500  # some before, for the smoothing to start on
    assert not part.read()

    tail = found.part("activations", 19_500, 20_000)
    tail.read()
    append(path, line(2_001, loss=1.0))
    assert tail.read() and column(tail)[0][-1] == 2_001
    assert part.part("step", 505, 510) is part  # there is no more


def naive(values, weight):
    found = []
    for t in range(len(values)):
        terms = [(weight ** (t - i), v) for i, v in enumerate(values[: t + 1])]
        found.append(sum(w * v for w, v in terms) / sum(w for w, _ in terms))
    return found


@pytest.mark.parametrize("weight", [0.0, 0.6, 0.9, 0.99])
def test_smoothing_is_the_debiased_average(weight):
    values = [random.Random(0).gauss(3, 1) for _ in range(300)]
    expected = naive(values, weight) if weight else values
    assert list(smoothed(values, weight)) == pytest.approx(expected)
    assert smoothed([5.0], weight)[0] == 5.0


def test_smoothing_passes_over_gaps():
    found = smoothed([1.0, math.nan, 3.0], 0.5)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(naive([1.0, 3.0], 0.5)[1])


def test_a_figure_that_is_held_was_measured_where_it_changes():
    xs, ys = changes([1, 2, 3, 4, 5, 6], [GAP, 0.4, 0.4, 0.5, GAP, 0.4])
    assert (list(xs), list(ys)) == ([2, 4, 6], [0.4, 0.5, 0.4])


def test_buckets_keep_the_least_and_the_greatest_of_each_column_in_order():
    rng = random.Random(1)
    xs = sorted(rng.uniform(0, 100) for _ in range(1_000))
    ys = [rng.gauss(0, 1) for _ in xs]
    got_x, got_y = bucketed(xs, ys, 0, 100, 20)
    assert got_x == sorted(got_x) and len(got_x) <= 40
    for i in range(20):
        inside = [y for x, y in zip(xs, ys, strict=True) if 5 * i <= x < 5 * i + 5]
        kept = [y for x, y in zip(got_x, got_y, strict=True) if 5 * i <= x < 5 * i + 5]
        assert (min(kept), max(kept)) == (min(inside), max(inside))


def test_a_column_of_gaps_is_one_gap_and_one_with_a_value_is_none():
    xs = [float(i) for i in range(40)]
    ys = [math.nan if 10 <= x < 22 else x for x in xs]
    got_x, got_y = bucketed(xs, ys, 0, 40, 4)  # columns 0-10, 10-20, 20-30, 30-40
    assert [x for x, y in zip(got_x, got_y, strict=True) if y != y] == [10]
    assert [y for y in got_y if y == y] == [0, 9, 22, 29, 30, 39]


def test_a_window_between_points_has_its_edges_on_the_line():
    assert bucketed([0.0, 10.0], [0.0, 100.0], 4, 6, 10) == ([4, 6], [40, 60])
    assert bucketed([0.0, 10.0], [math.nan, 100.0], 4, 6, 10) == ([], [])
    assert bucketed([], [], 0, 1, 10) == ([], [])
