"""The texts that were generated from one prompt, as a tree: each parts from another at some token.

Owns which tokens a branch shares with those above it. Generates nothing: what to ask for next is in `path()`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from core.errors import UsageError
from core.plain import made
from core.records import TokenReport
from core.steering.transcript import Change, Past, as_past


@dataclass
class Branch:
    """One text, from where it parts from its parent on."""

    parent: int | None = None
    """Its parent's place among the branches; None for the first."""
    at: int = 0
    """The index of its first own token."""
    reports: tuple[TokenReport, ...] = ()
    """Its own, from `at` on."""
    changes: tuple[Change, ...] = ()
    """Its own, from `at` on."""

    @property
    def end(self) -> int:
        """How many tokens it has, those it shares included."""
        return self.at + len(self.reports)


class Path(NamedTuple):
    """The whole of a branch, what it shares with those above it included."""

    reports: tuple[TokenReport, ...]
    changes: tuple[Change, ...]

    @property
    def past(self) -> Past:
        """The tokens as `Generate.past` takes them."""
        return as_past(self.reports)


@dataclass
class Branches:
    """The tree, and the branch one is on."""

    all: list[Branch] = field(default_factory=lambda: [Branch()])
    """In the order they were begun; the first is the trunk."""
    current: int = 0

    @property
    def here(self) -> Branch:
        """The branch one is on."""
        return self.all[self.current]

    def path(self) -> Path:
        """All of the branch one is on."""
        reports, changes, end, place = (), (), self.here.end, self.current
        while True:
            branch = self.all[place]
            reports = branch.reports[: end - branch.at] + reports
            # A change at the very end of what is shared is the parent's: it has no token there that this one has.
            shared = place != self.current
            changes = tuple(c for c in branch.changes if not shared or c.index < end) + changes
            if branch.parent is None:
                return Path(reports, changes)
            place, end = branch.parent, branch.at

    def grow(self, report: TokenReport) -> None:
        """The next token of the branch one is on."""
        self.here.reports += (report,)

    def change(self, change: Change) -> None:
        """What holds on this branch from an index on, in the place of what there is from there on."""
        kept = tuple(c for c in self.here.changes if c.index < change.index)
        self.here.changes = (*kept, change)

    def fork(self, at: int) -> None:
        """Begin a branch that shares the first `at` tokens, and go there; all of the old one stays."""
        parent = self.current
        while at < self.all[parent].at:
            parent = self._parent(parent)
        self.all.append(Branch(parent, at))
        self.current = len(self.all) - 1

    def rewind(self, at: int) -> None:
        """Forget what comes from token `at` on. Where another branch has that too, fork, which forgets nothing."""
        branch = self.here
        if at < branch.at or any(b.parent == self.current and b.at > at for b in self.all):
            self.fork(at)
            return
        branch.reports = branch.reports[: at - branch.at]
        branch.changes = tuple(c for c in branch.changes if c.index < at)

    def parent(self) -> bool:
        """Go to the branch this one parts from; whether there is one."""
        if self.here.parent is None:
            return False
        self.current = self.here.parent
        return True

    def child(self) -> bool:
        """Go to the first branch that parts from this one; whether there is one."""
        children = self.children(self.current)
        if children:
            self.current = children[0]
        return bool(children)

    def sibling(self, step: int = 1) -> bool:
        """Go to the next branch with the same parent, or with -1 to the one before, around; whether there is one."""
        siblings = [] if self.here.parent is None else self.children(self.here.parent)
        if len(siblings) < 2:
            return False
        self.current = siblings[(siblings.index(self.current) + step) % len(siblings)]
        return True

    def children(self, place: int) -> list[int]:
        """The places of the branches that part from the one at a place, in the order they were begun."""
        return [i for i, branch in enumerate(self.all) if branch.parent == place]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Branches":
        """The inverse of `to_json`. Raises UsageError."""
        try:
            branches = [made(Branch, branch) for branch in values["all"]]
            tree = cls(branches, values["current"])
            parents = [branch.parent for branch in branches]
            known = parents[0] is None and all(p is not None and 0 <= p < i for i, p in enumerate(parents) if i)
            if not known or not 0 <= tree.current < len(branches):
                raise ValueError("a branch parts from none")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise UsageError("not a tree of branches", hint=repr(error)) from None
        return tree

    def _parent(self, place: int) -> int:
        parent = self.all[place].parent
        assert parent is not None, "the trunk shares nothing"
        return parent
