"""The verb steer: baseline and steered text from one prompt, through the engine."""

import argparse
import contextlib
import difflib
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from core.analysis.store import strengths
from core.engine import protocol
from core.engine.client import Engine
from core.errors import UsageError
from core.records import Progress, TokenReport
from core.steering.interventions import GenerationRequest, Intervention, Scales, from_option
from core.steering.transcript import Change, MadeWith, Transcript, collect
from sae_tui.commands.output import as_json, session_of, watched
from sae_tui.text import safe


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("steer", help="generate text with features ablated, amplified, set or added to")
    verb.add_argument("name", help="the session")
    verb.add_argument("--prompt", help="the text to go on from")
    verb.add_argument("--replay", type=Path, metavar="FILE", help="a saved transcript: the same tokens again")
    for option, metavar, text in (
        (("--ablate",), "ID", "set the feature to 0"),
        (("--scale", "--amplify"), "ID=M", "multiply the feature by M"),
        (("--set",), "ID=V", "set the feature to V: a number, or 4x (times its p99), or 2max"),
        (("--add",), "ID=V", "add V to the feature; the same units"),
    ):
        verb.add_argument(
            *option,
            dest="edits",
            action=_Edit,
            default=[],
            metavar=metavar,
            help=text,
            kind=option[0].strip("-"),
        )
    verb.add_argument("--mode", default="error-kept", help="error-kept (default) or replace by the reconstruction")
    verb.add_argument("--where", default="everywhere", help="everywhere, prompt, generated or from:N")
    verb.add_argument("--tokens", type=int, default=60, help="how many tokens to generate (60)")
    verb.add_argument("--temperature", type=float, default=0.0, help="0 (default): the likeliest token, always")
    verb.add_argument("--seed", type=int, default=0, help="of the one random draw both texts share")
    verb.set_defaults(run=steer)


class _Edit(argparse.Action):
    """Collects interventions of all kinds in the order they were given."""

    def __init__(self, *args: object, kind: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        self.kind = kind

    def __call__(self, parser: object, namespace: argparse.Namespace, values: object, option: object = None) -> None:
        namespace.edits = [*namespace.edits, (self.kind, str(values))]


def steer(args: argparse.Namespace) -> int:
    """`sae-tui steer`."""
    if (args.prompt is None) == (args.replay is None):
        raise UsageError("steer takes --prompt TEXT or --replay FILE")
    session = session_of(args)
    replayed = Transcript.load(args.replay) if args.replay else None
    changes: tuple[Change, ...] = ()
    if replayed:
        request, changes = as_it_was(replayed)
    else:
        edits: tuple[Intervention, ...] = tuple(from_option(kind, text, where=args.where) for kind, text in args.edits)
        request = GenerationRequest(
            prompt=args.prompt, interventions=edits, mode=args.mode, tokens=args.tokens,
            temperature=args.temperature, seed=args.seed,
        )  # fmt: skip
    # Kept with the transcript: another analysis may change what a multiple of p99 or max is.
    scales = strengths(session, request.interventions)
    with Engine(session) as engine:
        transcript = generated(engine, request, scales, changes)
    if replayed and replayed.made_with != transcript.made_with:
        sys.stderr.write(f"sae-tui: {_difference(replayed.made_with, transcript.made_with)}: tokens may differ\n")
    path = transcript.save(session)
    if args.json:
        as_json({**transcript.to_json(), "file": str(path)})
    else:
        for line in side_by_side(transcript):
            print(line)
        print(f"\nsaved as {path}; `--replay` gives the same tokens again")
    return 0


def as_it_was(transcript: Transcript) -> tuple[GenerationRequest, tuple[Change, ...]]:
    """What to ask for to get a transcript's tokens again, and what changes on the way.

    Strengths are in the raw units they had then.
    """
    scales = transcript.scales or {}

    def raw(edits: tuple[Intervention, ...]) -> tuple[Intervention, ...]:
        return tuple(
            edit
            if edit.unit == "raw"
            else replace(edit, unit="raw", value=edit.value * float(scales[edit.feature][edit.unit] or 0))
            for edit in edits
        )

    changes = tuple(Change(change.index, raw(change.interventions)) for change in transcript.changes)
    return replace(transcript.request(), interventions=raw(transcript.interventions)), changes


def _difference(then: MadeWith, now: MadeWith) -> str:
    """Which of the things that a replay depends on are not the same."""
    pairs = zip(asdict(then).items(), asdict(now).values(), strict=True)
    return "; ".join(f"{name} was {safe(str(a))}, is {safe(str(b))}" for (name, a), b in pairs if a != b)


def generated(
    engine: Engine, request: GenerationRequest, scales: Scales | None = None, changes: Sequence[Change] = ()
) -> Transcript:
    """Run one request to its end, changing on the way; progress on stderr. Ctrl-C stops it and keeps what came."""
    reports: list[TokenReport] = []
    made_with: list[MadeWith] = []

    def records() -> Generator[Progress, None, None]:
        for event in engine.generate(request, changes):
            if isinstance(event, protocol.Loading):
                yield event.progress
            elif isinstance(event, protocol.Started):
                made_with.append(event.made_with)
            elif isinstance(event, protocol.Step):
                reports.append(event.report)
                yield Progress(phase="generating", done=len(reports), total=request.tokens, unit="tokens")

    with contextlib.closing(records()) as stream:
        try:
            for _ in watched(stream):
                pass
        except KeyboardInterrupt:
            if not reports:
                raise
    return collect(reports, request, made_with[0], scales=scales, changes=changes)


def side_by_side(transcript: Transcript) -> Iterator[str]:
    """Both texts in words that differ marked, with what was done and how far it went."""
    for intervention in transcript.interventions:
        yield safe(intervention.describe())
    for change in transcript.changes:
        edits = "; ".join(edit.describe() for edit in change.interventions) or "nothing"
        yield safe(f"from token {change.index} on: {edits}")
    yield f"prompt    {safe(transcript.prompt)}"
    baseline, steered = transcript.baseline.text, transcript.steered.text
    marked_baseline, marked_steered = _marked(baseline, steered)
    yield f"baseline  {marked_baseline}"
    yield f"steered   {marked_steered}"
    if transcript.mean_kl is not None:
        parted = next((r.index for r in transcript.reports if not r.same_context), None)
        part = "the texts never part" if parted is None else f"the texts part after {parted} tokens"
        both = sum(bool(r.baseline and r.steered) for r in transcript.reports)
        yield f"mean KL   {transcript.mean_kl:.3f} nats over {both} tokens; {part}"


def _marked(one: str, other: str) -> tuple[str, str]:
    """Both texts, safe; words that only one has in bold on a terminal."""
    words = [text.split(" ") for text in (one, other)]
    if not sys.stdout.isatty():
        return safe(one), safe(other)
    shown: list[list[str]] = [[], []]
    for kind, a, b, c, d in difflib.SequenceMatcher(a=words[0], b=words[1], autojunk=False).get_opcodes():
        for side, part in ((0, words[0][a:b]), (1, words[1][c:d])):
            text = safe(" ".join(part))
            if text:
                shown[side].append(text if kind == "equal" else f"\x1b[1m{text}\x1b[0m")
    return " ".join(shown[0]), " ".join(shown[1])
