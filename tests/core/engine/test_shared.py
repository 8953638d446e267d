"""Several who ask one engine: one process, one request at a time, everybody's own to stop."""

import threading

from core.engine.shared import Engines
from core.session import Session
from core.steering.request import GenerationRequest
from tests.sae_tui.fake_engine import FakeEngine, paced, wait_for

REQUEST = GenerationRequest(prompt="the", interventions=(), tokens=1_000)


def two(tmp_path, engine):
    engines, session = Engines(), Session(tmp_path / "s")
    made = []

    def make(of):
        made.append(of)
        return engine

    return engines.share(session, make), engines.share(Session(tmp_path / "s"), make), made


def test_two_shares_of_a_session_have_one_engine_which_ends_with_the_last(tmp_path):
    engine = FakeEngine()
    one, other, made = two(tmp_path, engine)
    assert len(made) == 1 and len(list(one.load())) == 3 and other.reading(["a b"], 3)[0].max == 2
    one.close()
    one.close()
    assert not engine.closed
    other.close()
    assert engine.closed


def test_an_engine_is_made_anew_after_the_last_share_was_closed(tmp_path):
    engines, session, made = Engines(), Session(tmp_path / "s"), []
    for _ in range(2):
        engines.share(session, lambda of: made.append(FakeEngine()) or made[-1]).close()
    assert len(made) == 2 and all(one.closed for one in made)


def test_a_question_waits_for_a_generation_of_another_and_to_stop_it_ends_the_waiting_alone(tmp_path):
    engine = paced(0.01)
    one, other, _ = two(tmp_path, engine)
    stream, answers = one.generate(REQUEST), []
    next(stream)
    asks = threading.Thread(target=lambda: answers.append(other.concept(["a"])))
    asks.start()
    wait_for(lambda: other._waits)
    other.stop()
    asks.join(5)
    assert answers == [None] and "stop" not in engine.asked
    asks = threading.Thread(target=lambda: answers.append(other.concept(["a"])))
    asks.start()
    next(stream)
    assert len(answers) == 1
    assert other.change([]) is False and one.change([]) is True
    one.stop()
    assert list(stream)[-1].stopped
    asks.join(5)
    assert answers[1] is not None and answers[1].texts == 1


def test_a_stream_that_is_let_go_of_gives_the_turn_back(tmp_path):
    one, other, _ = two(tmp_path, paced(0.01))
    stream = one.generate(REQUEST)
    next(stream)
    stream.close()
    assert other.firing("a")[1].features
