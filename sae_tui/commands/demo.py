"""The verb demo: a first SAE on the embedded model, watched in the workbench while it is trained.

Headless, from nothing to a steered sentence, and a summary of what was found.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from core import config as configs
from core import demo
from core.analysis.store import Store
from core.engine.client import Engine
from core.session import Session, free_name, unused_name
from core.steering.interventions import Intervention
from core.steering.request import GREEDY, GenerationRequest
from core.steering.transcript import Transcript
from sae_tui.commands.output import as_json, cell
from sae_tui.commands.steer import generated, side_by_side
from sae_tui.commands.work import foreground
from sae_tui.commands.workbench import require_terminal, workbench
from sae_tui.text import lit, safe

HEADLINES = ("fvu", "l0", "dead_share", "ce_loss_score")
PROMPT = "Today I want to talk about the"
CLEAR = """
    WITH top AS (
        SELECT e.feature, t.doc, lower(trim(t.text)) AS word
        FROM examples e JOIN tokens t USING (token_idx) WHERE e.band = 0 AND e.rank <= 10
    ), summed AS (
        SELECT feature, mode(word) AS word, count(DISTINCT word) AS words, count(DISTINCT doc) AS docs
        FROM top GROUP BY feature
    )
    SELECT feature, word FROM summed JOIN features USING (feature)
    WHERE docs >= 5 AND words <= 4 AND density < 0.02 AND regexp_full_match(word, '[a-z]{4,}')
    QUALIFY row_number() OVER (PARTITION BY word ORDER BY max DESC) = 1
    ORDER BY max DESC LIMIT 5
"""
"""Features whose strongest examples, in several documents, are on few different words."""
STRENGTHS = (1.0, 2.0)
"""Multiples of a feature's largest activation, tried in turn."""


def run(args: argparse.Namespace) -> int:
    """`sae-tui demo`."""
    return _headless(args) if args.headless or args.json else _watched(args)


def _watched(args: argparse.Namespace) -> int:
    """Open the workbench on the demo, which is started first where it was not begun."""
    require_terminal()
    session, job = demo.begin(args.sessions, args.name or demo.NAME)
    mode = "features" if session.database_path.is_file() else "train"
    return workbench(args.sessions, session=session, mode=mode, started=[job] if job else [])


def _headless(args: argparse.Namespace) -> int:
    """The same work here, and a summary."""
    began = time.monotonic()
    name = unused_name(args.sessions, args.name or free_name(args.sessions, demo.NAME))
    session = Session.create(args.sessions, name, demo.configuration())
    code = foreground(session, ("train", "evaluate", "analyze"), measure=True)
    if code:
        return code
    config = session.config()
    summary = _summary(session, config)
    summary["seconds"] = round(time.monotonic() - began, 1)
    if args.json:
        features = [{**f["row"], "examples": [asdict(e) for e in f["examples"]]} for f in summary["features"]]
        steering = summary["steering"].to_json() if summary["steering"] else None
        as_json({**summary, "features": features, "steering": steering})
    else:
        for line in _lines(session, config, summary):
            print(line)
    return 0


def _summary(session: Session, config: configs.RunConfig) -> dict[str, Any]:
    """What was found, as plain values."""
    with Store.open([session]) as store:
        words = dict(store.query(CLEAR).rows)
        features = [
            {"word": words[f], "row": store.feature(f), "examples": store.examples(f, band=0, limit=3)} for f in words
        ]
    return {
        "session": session.name,
        "budgets": {part: getattr(config, part).model_dump() for part in ("budget", "evaluation", "analysis")},
        "evaluation": session.evaluation(),
        "features": features,
        "steering": _steered(session, words),
    }


def _steered(session: Session, words: dict[int, str]) -> Transcript | None:
    """The first edit whose text gains the word its feature fires on, or else the mildest that changes the text.

    A text that mostly repeats itself counts for nothing.
    """
    best: tuple[tuple[bool, bool, float], Transcript] | None = None
    with Engine(session) as engine:
        for strength, (feature, word) in itertools.product(STRENGTHS, words.items()):
            edit = Intervention("add", feature, strength, "max")
            request = GenerationRequest(prompt=PROMPT, interventions=(edit,), tokens=16, sampling=GREEDY)
            transcript, _ = generated(engine, request)
            plain, steered = (row.text.lower().split() for row in (transcript.baseline, transcript.steered))
            varied = plain != steered and len(set(steered)) > 0.6 * len(steered)
            gained = any(word in w for w in set(steered) - set(plain))
            score = varied, gained, -(transcript.mean_kl or 0.0)
            if best is None or score > best[0]:
                best = score, transcript
            if varied and gained:
                break
    return best[1] if best else None


def _lines(session: Session, config: configs.RunConfig, summary: dict[str, Any]) -> Iterator[str]:
    """The summary for a person."""
    evaluation = summary["evaluation"]
    sae, model = config.sae, config.model
    yield f"\n{session.name}: {sae.architecture} k={sae.k} on {model.hook} of {model.name} (4 bit)"
    yield (
        f"  trained on {config.budget.activations:,} activations, analysed {config.analysis.activations:,}, "
        f"{config.model.dtype}: budgets measured for this machine"
    )
    for name in HEADLINES:
        yield f"  {name:<15}{cell(evaluation[name]):>9}   on {evaluation['tokens'][name]:,} tokens of the test split"
    yield "\nfive features and their top contexts"
    for found in summary["features"]:
        row = found["row"]
        yield f"\n  feature {row['feature']}  {safe(found['word'])}   fires on {row['density']:.2%} of tokens"
        for example in found["examples"]:
            yield f"  {example.value:8.2f}  {lit(example.tokens, at=example.token_idx, width=90)}"
    yield "\nsteering"
    if summary["steering"] is None:
        yield "  no feature is clear enough yet; train longer"
    else:
        yield from (f"  {line}" for line in side_by_side(summary["steering"]))
    yield (
        f"\n{summary['seconds']:.0f} s. Go on with: sae-tui features {session.name} | "
        f'sae-tui feature {session.name} ID | sae-tui steer {session.name} --prompt "..." --add ID=1max'
    )
