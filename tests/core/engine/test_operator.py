"""Who works an engine for a screen: in order, without making anyone wait."""

import queue
import threading
import time

from core.engine import protocol
from core.engine.operator import Ended, Operator, Readings
from core.errors import EngineError
from core.image_records import ImageList
from core.records import FiringToken


class Engine:
    """Says what it is asked, one event after another, until it is stopped."""

    def __init__(self):
        self.stops = threading.Event()
        self.changes = []
        self.closed = threading.Event()

    def load(self):
        yield protocol.Done(id=1, stopped=False)

    def generate(self, request, changes=(), *, past=(), steps=None, threads=None):
        if request == "fail":
            raise EngineError("it died")
        self.stops.clear()
        for _ in range(10_000 if request == "long" else 2):
            yield protocol.Pong(id=2)
            if self.stops.wait(0.002 if request == "long" else 0):
                break
        yield protocol.Done(id=2, stopped=self.stops.is_set())

    def firing(self, text, top=10, then=(), **how):
        return (FiringToken(token_id=len(then), text=text, counted=True),)

    def concept(self, texts, contrast=(), *, strong=None, top=20):
        return None if texts == ["stopped"] else (tuple(texts), tuple(contrast), strong, top)

    def attribution(self, text, target=None, *, position=None, rank="gradient", top=20, then=(), chat=False, system=""):
        return text, target, position, rank, top

    def reading(self, texts, feature):
        if feature == 99:
            raise EngineError("it died")
        return tuple((text, feature) for text in texts)

    def listing(self):
        return ImageList(numbers=(4,), labels=(2,), predicted=())

    def classified(self, images, interventions=(), *, mode="error-kept", top=256):
        return () if images == [0] else ((tuple(images), tuple(interventions), mode), "another")

    def change(self, interventions):
        self.changes.append(tuple(interventions))
        return True

    def stop(self):
        self.stops.set()
        time.sleep(0.05)

    def close(self):
        self.stops.set()
        self.closed.set()


def worked():
    engine, told = Engine(), queue.SimpleQueue()
    return engine, told, Operator(engine, lambda *what: told.put(what))


def up_to_end(told, key):
    found = []
    while True:
        who, what = told.get(timeout=5)
        if who == key:
            found.append(what)
            if isinstance(what, Ended):
                return found


def test_requests_are_served_in_order_and_each_ends_once():
    _, told, operator = worked()
    operator.load("l")
    operator.firing("f", "x", 3, [7, 8])
    operator.generate("g", "short")
    operator.generate("bad", "fail")
    assert up_to_end(told, "l") == [Ended()]
    assert up_to_end(told, "f") == [(FiringToken(token_id=2, text="x", counted=True),), Ended()]
    assert up_to_end(told, "g") == [protocol.Pong(id=2), protocol.Pong(id=2), Ended()]
    (ended,) = up_to_end(told, "bad")
    assert isinstance(ended.error, EngineError)
    operator.close()


def test_questions_about_texts_are_told_as_one_answer_or_none_where_stopped():
    _, told, operator = worked()
    operator.concept("c", ["a"], ["b"], strong="5", top=3)
    operator.concept("stopped", ["stopped"], [])
    operator.attribution("a", "the cat", " sat", position=1, rank="direct", top=2)
    operator.reading("r", ["x", "y"], 7)
    operator.reading("bad", ["x"], 99)
    assert up_to_end(told, "c") == [(("a",), ("b",), "5", 3), Ended()]
    assert up_to_end(told, "stopped") == [Ended()]
    assert up_to_end(told, "a") == [("the cat", " sat", 1, "direct", 2), Ended()]
    assert up_to_end(told, "r") == [Readings(7, (("x", 7), ("y", 7))), Ended()]
    (ended,) = up_to_end(told, "bad")
    assert isinstance(ended.error, EngineError)
    operator.close()


def test_questions_about_images_are_told_as_one_list_and_one_image():
    _, told, operator = worked()
    operator.listing("l")
    operator.classified("c", 7, ("edit",), "replace")
    operator.classified("stopped", 0, (), "replace")
    assert up_to_end(told, "l") == [ImageList(numbers=(4,), labels=(2,), predicted=()), Ended()]
    assert up_to_end(told, "c") == [((7,), ("edit",), "replace"), Ended()]
    assert up_to_end(told, "stopped") == [Ended()]
    operator.close()


def test_stopping_and_changing_never_wait_and_what_waits_is_dropped():
    engine, told, operator = worked()
    operator.generate("g", "long")
    told.get(timeout=5)
    operator.generate("later", "short")
    began = time.monotonic()
    operator.change(["edit"])
    operator.stop()
    assert time.monotonic() - began < 0.04
    ends = {}
    while len(ends) < 2:
        key, what = told.get(timeout=5)
        if isinstance(what, Ended):
            ends[key] = what
    assert ends == {"later": Ended(stopped=True), "g": Ended(stopped=True)}
    assert engine.changes == [("edit",)]
    operator.close()


def test_nothing_is_told_after_it_was_closed():
    engine, told, operator = worked()
    operator.generate("g", "long")
    told.get(timeout=5)
    operator.generate("later", "short")
    operator.close()
    assert engine.closed.wait(5)
    time.sleep(0.1)
    while not told.empty():
        assert isinstance(told.get()[1], protocol.Pong)
