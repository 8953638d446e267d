"""A generation as it grows: its texts as tokens, which words differ, its figures."""

import pytest

from core.engine import protocol
from core.engine.operator import Ended
from core.records import FiringToken, TokenChoice, TokenReport
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest
from core.steering.transcript import Change
from sae_tui.screens.differing import changed
from sae_tui.screens.generation import Generation, fires
from sae_tui.screens.lighting import END, Light, Lighting
from sae_tui.screens.steer_words import figures_line
from tests.sae_tui.fake_engine import TOKENS_MADE


def words(text, marks):
    return [word for word in text.split() if marks[text.index(word)]]


def test_words_that_differ_are_marked_in_both_texts():
    one, other = "a cat sat on the mat", "a dog sat down on the  mat"
    marks = changed(one, other)
    assert (words(one, marks[0]), words(other, marks[1])) == (["cat"], ["dog", "down"])
    in_step = changed(one, other, aligned=False)
    assert words(one, in_step[0]) == ["cat", "on", "the", "mat"]
    assert words(other, in_step[1]) == ["dog", "down", "on", "the", "mat"]
    assert changed("", "a") == ([], [True])
    assert changed("same here", "same here") == ([False] * 9, [False] * 9)


def test_what_is_marked_while_texts_grow_in_step_stays_marked():
    one, other = (text.split(" ") for text in ("so it is what it is", "so it was what we are"))
    before = [], []
    for n in range(1, 7):
        now = changed(" ".join(one[:n]), " ".join(other[:n]), aligned=False)
        assert all(a == b for old, new in zip(before, now, strict=True) for a, b in zip(old, new, strict=False))
        before = now


def choice(text, token=1, steered=-1.0):
    return TokenChoice(token_id=token, text=text, logprob_baseline=-2.0, logprob_steered=steered)


@pytest.fixture
def generation():
    made = Generation(GenerationRequest(prompt="so it", tokens=9))
    made.hear(protocol.Started(id=1, made_with=TOKENS_MADE), now=0.0)
    rows = [(" is", " is", True), (" what", " was", True), (" it", "", False), (" is", None, False)]
    for index, (baseline, steered, same) in enumerate(rows):
        report = TokenReport(
            index=index, baseline=choice(baseline), kl=index / 2, same_context=same,
            steered=None if steered is None else choice(steered, token=index),
        )  # fmt: skip
        made.hear(protocol.Step(id=1, report=report), now=index / 4)
    made.hear(protocol.Changed(id=1, index=2, interventions=(Intervention("ablate", 1),)), now=1.0)
    return made


def test_it_is_shown_as_prompt_and_tokens_and_says_where_a_row_has_ended(generation):
    shown = Lighting().pieces(generation, "steered")
    assert [(p.text, p.quiet) for p in shown] == [("so it", True), (" is", False), (" was", False), (END, False)]
    assert [p.changed for p in shown] == [False, False, True, False] and shown[-1].dim
    assert generation.text("baseline") == " is what it is"
    assert generation.changes == (Change(2, (Intervention("ablate", 1),)),)


def test_its_figures(generation):
    assert generation.tokens_per_s() == 4.0
    assert generation.summary().mean_kl == pytest.approx((0 + 0.5 + 1) / 3)
    assert generation.parted() == 2
    assert generation.likelier() == 1.0
    assert generation.summary().distinct[1:] == (1.0, 1.0, None)
    line = figures_line(generation, 100).plain
    assert line == "mean KL 0.500 nats · part after 2 · Δ ln p +1.00 · distinct 2-grams 100%"
    assert figures_line(generation, 50).plain == "mean KL 0.500 nats · part after 2 · Δ ln p +1.00"
    assert figures_line(Generation(generation.request), 100).plain == ""


def test_tokens_are_lit_by_a_feature_or_by_their_kl_once_it_is_known_what_fires(generation):
    assert {p.strength for p in Lighting().pieces(generation, "steered", Light("feature", 3, 4.0))} == {0.0}
    kl = [p.strength for p in Lighting().pieces(generation, "steered", Light())]
    assert kl[:2] == [0, 0] and 0.3 < kl[2] < kl[3] < 1
    tokens = tuple(
        FiringToken(token_id=i, text=text, counted=i > 0, features=((3, float(i)), (5, 1.0)) if i > 1 else ())
        for i, text in enumerate(["<s>", "so", " it", " is", " was", "</s>"])
    )
    generation.hear(Ended(), now=2.0)
    generation.heard_firing("steered", tokens)
    shown = Lighting().pieces(generation, "steered", Light("feature", 3, 4.0))
    assert [p.text for p in shown[:3]] == ["<s>", "so", " it"] and [p.dim for p in shown[:2]] == [True, False]
    assert [p.strength for p in shown] == [0, 0, 0.5, 0.75, 1.0, 1.0]
    assert generation.begin == 3 and generation.report_at("steered", 3).index == 0
    assert generation.report_at("steered", 2) is None and generation.firing_at("steered", 4).text == " was"
    assert generation.fires(3) == (1, 2) and fires((), 3) is None
    assert generation.drawn_out() == []
    silent = [FiringToken(token_id=1, text="", counted=True) for _ in range(4)]
    generation.heard_firing("baseline", [*tokens[:3], *silent])
    assert generation.drawn_out() == [(3, 4.0), (5, 1.0)]
