import math

from core.pace import Pace


def watched(*seen, phase="training"):
    pace = Pace()
    for now, done in seen:
        pace.note(now, phase, done)
    return pace


def test_time_left_is_of_the_last_minute_or_so_not_of_the_whole():
    slow_then_fast = [(t, t) for t in range(300)] + [(300 + t, 300 + 10 * t) for t in range(120)]
    pace = watched(*slow_then_fast)
    assert abs(pace.per_second - 10) < 0.01
    assert abs(pace.left(2_490) - 100) < 1


def test_nothing_is_said_before_it_was_watched_for_a_while():
    assert watched().left(100) is None
    assert watched((0, 5)).left(100) is None
    assert watched((0, 5), (1, 6)).left(100) is None
    assert watched((0, 5), (5, 10)).left(None) is None
    assert watched((0, 5), (5, 10)).left(10) == 0


def test_a_job_that_stalls_takes_longer_and_longer():
    pace = watched(*[(t, 10 * t) for t in range(60)])
    lefts = []
    for t in range(60, 240, 30):
        pace.note(t, "training", 590)
        lefts.append(pace.left(1_000))
    assert lefts == sorted(lefts) and lefts[-1] == math.inf


def test_another_phase_begins_anew():
    pace = watched(*[(t, 10 * t) for t in range(60)])
    pace.note(60, "evaluating", 0)
    assert pace.left(100) is None
    pace.note(70, "evaluating", 50)
    assert pace.left(100) == 10
    pace.note(71, "evaluating", 20)  # the same phase, from the beginning
    assert pace.per_second is None
    pace.forget()
    assert pace.left(100) is None
