"""Who takes part, and in what."""

from collections.abc import Callable
from typing import NamedTuple

from core.sae.base import SAE
from tests.benchmarks.peers import dictionary_learning, saelens, sparsify
from tests.benchmarks.peers.contender import Contender, Task


class Peer(NamedTuple):
    """A peer's trainer: `of` are the architectures it has, by our names."""

    of: tuple[str, ...]
    make: Callable[[Task, SAE | None], Contender]

    def __call__(self, task: Task, start: SAE | None) -> Contender:
        return self.make(task, start)


PEERS = {
    "sparsify": Peer(sparsify.ARCHITECTURES, sparsify.contender),
    "dictionary_learning": Peer(dictionary_learning.ARCHITECTURES, dictionary_learning.contender),
    "SAELens": Peer(saelens.ARCHITECTURES, saelens.contender),
}
