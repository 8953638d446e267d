"""Steering beside `transformers`' own `generate`, on the embedded model: medians of runs taken in turn.

    python -m tests.benchmarks.steering [--tokens N] [--runs N] [--threads N]

All that a report has is in the time: both texts, KL, the likeliest tokens. Ours is loaded as the engine loads it,
theirs as `transformers` does, in one process with the same settings of PyTorch. Ratios mean something beside other
work, tokens per second only on a quiet machine; with one thread it is processor time, which other work changes least.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch

from core import flow
from core.config import ModelConfig, parse
from core.models.language import LanguageModel
from core.models.load import load
from core.options import TokensConfig
from core.plain import returned
from core.sae.topk import TopK
from core.steering.generate import generate
from core.steering.interventions import Intervention, Resolved
from core.steering.prompts import read
from core.steering.request import GREEDY, GenerationRequest
from core.steering.rows import Rows

HOOK, D_SAE, K = "blocks.10.hook_resid_post", 4608, 32
PROMPT = "Today I want to talk about the"
STRENGTHS = 8


class Parts:
    """The model twice, once as `transformers` has it and once read at a hook, and an SAE of random weights."""

    def __init__(self, tokens: int) -> None:
        values = {"device": "cpu", "model": {"name": "smollm2", "hook": HOOK}}
        model = returned(flow.load_model(parse(values)))
        assert isinstance(model, LanguageModel)
        self.model = model
        self.alone, _ = returned(load(ModelConfig(name="smollm2"), torch.device("cpu")))
        self.sae = TopK(self.model.d_in, D_SAE, K)
        self.sae.initialise(torch.zeros(self.model.d_in), torch.Generator().manual_seed(0))
        self.config, self.tokens = TokensConfig(), tokens
        self.prompt = read(PROMPT, self.model, self.config)
        self.model.tokens.eos_ids = frozenset()  # neither stops early

    def steered(self) -> float:
        """Seconds a token, baseline and steered."""
        edits = (Intervention("add", 7, 0.5),)
        request = GenerationRequest(prompt=PROMPT, interventions=edits, tokens=self.tokens, sampling=GREEDY)
        began = _clock()
        n = sum(1 for _ in generate(self.model, self.sae, request, self.config, None))
        return (_clock() - began) / n

    def first_token(self) -> float:
        """Seconds to the first report."""
        request = GenerationRequest(prompt=PROMPT, interventions=(Intervention("add", 7, 0.5),), sampling=GREEDY)
        began = _clock()
        next(generate(self.model, self.sae, request, self.config, None))
        return _clock() - began

    def theirs(self, rows: int) -> float:
        """Seconds a token of `transformers`' generate."""
        ids = torch.from_numpy(self.prompt.block.ids).repeat(rows, 1)
        began = _clock()
        self.alone.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=self.tokens, min_new_tokens=self.tokens,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        return (_clock() - began) / self.tokens

    def strengths(self, n: int) -> float:
        """Seconds a token of a baseline and n strengths of one feature, as rows."""
        rows = Rows(self.model, self.sae, self.prompt, n + 1)
        edits = [None, *((Resolved("add", 7, 0.1 * i, "everywhere"),) for i in range(n))]
        began = _clock()
        for _ in range(self.tokens):
            rows.take(rows.logits(edits).argmax(dim=1).tolist())
        return (_clock() - began) / self.tokens


def _clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def _line(what: str, value: float, unit: str, limit: str, met: bool | None = None) -> None:
    verdict = "" if met is None else "ok" if met else "MISSED"
    print(f"{what:<60} {value:>9.2f} {unit:<9} {limit:>7}  {verdict}", flush=True)


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    parts = Parts(args.tokens)
    timed: dict[str, Callable[[], float]] = {
        "steered": parts.steered,
        "theirs": lambda: parts.theirs(2),
        "apart": lambda: 2 * parts.theirs(1),
        "one": lambda: parts.strengths(1),
        "eight": lambda: parts.strengths(STRENGTHS),
        "first": parts.first_token,
    }
    for measure in timed.values():
        measure()
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(args.runs):
        for name, measure in timed.items():
            taken[name].append(measure())
    s = {name: statistics.median(values) for name, values in taken.items()}
    print(f"SmolLM2, {torch.get_num_threads()} threads of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    _line("baseline and steered, one intervention", 1 / s["steered"], "tokens/s", "")
    _line("transformers' generate, batch 2", 1 / s["theirs"], "tokens/s", "")
    share = s["theirs"] / s["steered"]
    _line("  of its speed", share, "", ">= 0.9", share >= 0.9)
    gain = s["apart"] / s["steered"]
    _line("  of two generations one after the other", gain, "", ">= 1.6", gain >= 1.6)
    cost = s["eight"] / s["one"]
    _line(f"{STRENGTHS} strengths in one batch, a token's time beside one", cost, "", "<= 2.5", cost <= 2.5)
    _line("first token, once loaded", s["first"], "s", "< 0.5", s["first"] < 0.5)


if __name__ == "__main__":
    main()
