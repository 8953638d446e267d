"""What is asked for: values without sense are refused in a sentence."""

import pytest

from core.errors import UsageError
from core.steering.request import GREEDY, SAMPLING, GenerationRequest, Sampling


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"temperature": -0.1}, r"-0\.1 is no temperature: give a number from 0 to 100"),
        ({"temperature": float("inf")}, "inf is no temperature"),
        ({"temperature": "warm"}, "'warm' is no temperature"),
        ({"temperature": True}, "True is no temperature"),
        ({"top_p": 1.5}, r"1\.5 is no top-p: give a number from 0 to 1"),
        ({"top_p": 0}, "a top-p of 0 leaves no token"),
        ({"top_k": -1}, "-1 is no top-k"),
        ({"top_k": 2.0}, r"2\.0 is no top-k: give a whole number"),
        ({"min_p": float("nan")}, "nan is no min-p"),
        ({"repetition_penalty": 0}, "0 is no repetition penalty"),
        ({"seed": -1}, "-1 is no seed"),
        ({"seed": 2**63}, "is no seed"),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(values, says):
    with pytest.raises(UsageError, match=says):
        Sampling(**values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mode": "replaced"}, "'replaced'.*replace"),
        ({"tokens": 0}, "0 tokens"),
        ({"tokens": 1.5}, "1.5"),
        ({"prompt": None}, "None"),
        ({"system": 3, "chat": True}, "3 is no system prompt"),
        ({"system": "be brief"}, "a system prompt needs a chat template"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(values, says):
    with pytest.raises(UsageError, match=says):
        GenerationRequest(**{"prompt": "a", **values})


def test_greedy_differs_from_what_is_usual_in_its_temperature_alone():
    usual = Sampling()
    assert [name for name in SAMPLING if getattr(GREEDY, name) != getattr(usual, name)] == ["temperature"]
    assert Sampling(seed=2**63 - 1).seed == 2**63 - 1
