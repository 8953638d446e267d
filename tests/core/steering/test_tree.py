"""Branches, against a model that is a list of whole texts."""

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.errors import UsageError
from core.records import NextToken, TokenChoice, TokenReport
from core.steering.interventions import Intervention
from core.steering.request import Sampling
from core.steering.transcript import Change
from core.steering.tree import Branches


def report(index, token, ended=False):
    choice = TokenChoice(token_id=token, text=f"{token}", logprob_baseline=-1.0, logprob_steered=-2.0)
    top = (NextToken(token_id=1, text="a", logprob_baseline=-1.0, logprob_steered=-2.0),)
    return TokenReport(
        index=index, baseline=None if ended else choice, steered=choice, kl=0.5, same_context=True, top=top
    )


class Texts(RuleBasedStateMachine):
    """Each branch is whole in `texts`: its tokens, and its changes by index. Where it parted is not kept."""

    def __init__(self):
        super().__init__()
        self.tree = Branches()
        self.texts = [([], {})]
        self.parents, self.ats = [None], [0]
        self.n = 0

    @property
    def here(self):
        return self.texts[self.tree.current]

    @rule(n=st.integers(1, 4))
    def grow(self, n):
        for _ in range(n):
            self.n += 1
            self.tree.grow(report(len(self.here[0]), self.n))
            self.here[0].append(self.n)

    @rule(feature=st.integers(0, 9), sampled=st.booleans())
    def change(self, feature, sampled):
        index = len(self.here[0])
        change = Change(index, (Intervention("ablate", feature),), Sampling(seed=feature) if sampled else None)
        self.tree.change(change)
        self.here[1][index] = change

    def forked(self, at):
        tokens, changes = self.here
        parent = self.tree.current
        while at < self.ats[parent]:
            parent = self.parents[parent]
        self.texts.append((tokens[:at], {i: c for i, c in changes.items() if i < at}))
        self.parents.append(parent)
        self.ats.append(at)

    @rule(share=st.floats(0, 1))
    def fork(self, share):
        at = round(share * len(self.here[0]))
        self.forked(at)
        self.tree.fork(at)
        assert self.tree.current == len(self.texts) - 1

    @rule(share=st.floats(0, 1))
    def rewind(self, share):
        tokens, changes = self.here
        at = round(share * len(tokens))
        place = self.tree.current
        kept = at < self.ats[place] or any(p == place and a > at for p, a in zip(self.parents, self.ats, strict=True))
        if kept:
            self.forked(at)
        self.tree.rewind(at)
        if not kept:
            del tokens[at:]
            for index in [i for i in changes if i >= at]:
                del changes[index]

    @rule()
    def parent(self):
        place = self.tree.current
        assert self.tree.parent() == (self.parents[place] is not None)
        assert self.tree.current == (place if self.parents[place] is None else self.parents[place])

    @rule()
    def child(self):
        children = [i for i, parent in enumerate(self.parents) if parent == self.tree.current]
        assert self.tree.child() == bool(children)
        assert not children or self.tree.current == children[0]

    @rule(step=st.sampled_from([1, -1]))
    def sibling(self, step):
        place = self.tree.current
        parent = self.parents[place]
        family = [i for i, p in enumerate(self.parents) if p == parent] if parent is not None else [place]
        assert self.tree.sibling(step) == (len(family) > 1)
        assert self.tree.current == family[(family.index(place) + step) % len(family)]

    @rule()
    def save_and_load(self):
        self.tree = Branches.from_json(json.loads(json.dumps(self.tree.to_json())))

    @invariant()
    def every_branch_is_whole(self):
        current = self.tree.current
        for place, (tokens, changes) in enumerate(self.texts):
            self.tree.current = place
            path = self.tree.path()
            assert [r.steered.token_id for r in path.reports] == tokens
            assert [r.index for r in path.reports] == list(range(len(tokens)))
            assert list(path.changes) == [changes[i] for i in sorted(changes)]
            assert path.past == tuple((token, token) for token in tokens)
        self.tree.current = current


Texts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTexts = Texts.TestCase


def test_an_ended_row_has_no_token_in_the_past():
    tree = Branches()
    tree.grow(report(0, 5))
    tree.grow(report(1, 6, ended=True))
    assert tree.path().past == ((5, 5), (None, 6))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"all": [], "current": 0},
        {"all": [{"parent": 0}], "current": 0},
        {"all": [{}, {"parent": 1}], "current": 0},
        {"all": [{}], "current": 1},
        {"all": [{}], "current": None},
        {"all": [{"reports": 3}], "current": 0},
    ],
)
def test_what_is_no_tree_is_refused(values):
    with pytest.raises(UsageError, match="not a tree of branches"):
        Branches.from_json(values)
