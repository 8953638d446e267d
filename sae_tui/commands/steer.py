"""The verb steer: baseline and steered text from one prompt, or an image's classes, through the engine."""

import argparse
import contextlib
import difflib
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from core.analysis.store import strengths
from core.engine import protocol
from core.engine.client import Engine
from core.errors import RunError, UsageError
from core.records import Progress, TokenReport
from core.session import Session
from core.steering.interventions import Scales, from_option
from core.steering.places import EVERYWHERE, KNOWN
from core.steering.recipe import Recipe, found_recipe, recipe_path
from core.steering.replay import Replay, as_it_was
from core.steering.request import SAMPLING, GenerationRequest, Sampling
from core.steering.transcript import Change, MadeWith, Transcript, collect
from sae_tui.commands import steer_images as images
from sae_tui.commands.output import as_json, session_of, watched
from sae_tui.commands.steering_options import add_edits, add_sampling, sampling_of
from sae_tui.text import safe

BEGINNING = GenerationRequest(prompt="", tokens=60, sampling=Sampling(temperature=0.0))
"""What is asked for where no option says otherwise."""
OF_TEXT = ("prompt", "replay", "tokens", "chat", "system", *SAMPLING)
"""Options that an image has no use for."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "steer", help="text, or an image's classes, with features ablated, amplified, set or added to"
    )
    verb.add_argument("name", help="the session")
    verb.add_argument("--prompt", help="the text to go on from")
    verb.add_argument(
        "--image", type=int, action="append", default=[], metavar="N", dest="images",
        help="of a session of images: the image by its number in the data set; may be repeated",
    )  # fmt: skip
    verb.add_argument("--replay", type=Path, metavar="FILE", help="a saved transcript: the same tokens again")
    verb.add_argument("--recipe", metavar="FILE|NAME", help="a recipe; options that are given too come before it")
    verb.add_argument("--save-recipe", metavar="NAME", help="keep what is asked for as a recipe of the session")
    add_edits(verb)
    verb.add_argument(
        "--where",
        metavar="PLACE",
        default=EVERYWHERE,
        help=f"where interventions hold: {', '.join(KNOWN)}; several joined by commas must all hold. A place of "
        "one alone stands behind it: --add 9=2x@generated,firing",
    )
    verb.add_argument("--chat", action="store_true", default=None, help="put the prompt into the chat template")
    verb.add_argument("--system", metavar="TEXT", help="the system prompt of a chat")
    verb.add_argument("--mode", help="error-kept (default) or replace by the reconstruction")
    verb.add_argument("--tokens", type=int, help=f"how many tokens to generate ({BEGINNING.tokens})")
    add_sampling(verb, BEGINNING.sampling)
    verb.set_defaults(run=steer)


def steer(args: argparse.Namespace) -> int:
    """`sae-tui steer`."""
    if args.replay and (args.prompt is not None or args.recipe is not None):
        raise UsageError("a replay has its own prompt", hint="--replay FILE stands alone")
    session = session_of(args)
    if session.reads_images:
        return _on_images(args, session)
    if args.images:
        session.require(images=True)
    replayed = Transcript.load(args.replay) if args.replay else None
    changes: tuple[Change, ...] = ()
    if replayed:
        request, changes = as_it_was(replayed)
    else:
        request = _asked(args, session)
        if not request.prompt:
            raise UsageError(
                "steer takes --prompt TEXT, --recipe FILE or --replay FILE", hint="see `sae-tui steer --help`"
            )
    _keep(args, session, request)
    # Kept with the transcript: another analysis may change what a multiple of p99 or max is.
    scales = strengths(session, request.interventions)
    with Engine(session) as engine:
        threads = replayed.made_with.threads if replayed else None
        transcript, error = generated(engine, request, scales, changes, threads)
    path = transcript.save(session)
    if args.json:
        replay = {"replay": asdict(Replay.of(replayed, transcript))} if replayed else {}
        as_json({**transcript.to_json(), **replay, "file": str(path)})
    else:
        for line in side_by_side(transcript):
            print(line)
        if replayed:
            print(safe(f"replay    {Replay.of(replayed, transcript).describe()}"))
        print(f"\nsaved as {path}; `--replay` gives the same tokens again")
    if error:
        sys.stderr.write(f"sae-tui: {safe(str(error))}; what came before is kept\n")
    return 1 if error else 0


def _on_images(args: argparse.Namespace, session: Session) -> int:
    """Of a session of images."""
    given = [name for name in OF_TEXT if getattr(args, name) is not None]
    if given or not args.images:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for text" if given else "steer takes --image N here",
            hint=f"the model of session {session.name!r} reads images: give --image N, with what is done to features",
        )
    request = _asked(args, session)
    _keep(args, session, request)
    return images.steer(session, args.images, request, json=args.json)


def _keep(args: argparse.Namespace, session: Session, request: GenerationRequest) -> None:
    """As a recipe, where that is asked for."""
    if args.save_recipe is not None:
        kept = recipe_path(session, args.save_recipe)
        Recipe.of(request, session).save(kept)
        sys.stderr.write(f"sae-tui: kept as {kept}; `--recipe {args.save_recipe}` asks for the same\n")


def _asked(args: argparse.Namespace, session: Session) -> GenerationRequest:
    """What the options ask for; those that were not given are the recipe's, where there is one.

    An intervention that is given takes the place of the recipe's on the same feature.
    """
    base = BEGINNING
    if args.recipe is not None:
        recipe = Recipe.load(found_recipe(session, args.recipe))
        recipe.check(session)
        base = recipe.request
    edits = tuple(from_option(kind, text, where=args.where) for kind, text in args.edits)
    features = {edit.feature for edit in edits}
    given = {name: getattr(args, name) for name in ("prompt", "tokens", "mode", "chat", "system", *SAMPLING)}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("system"):
        given["chat"] = True
    sampling = sampling_of(given, base.sampling)
    return replace(
        base,
        **given,
        interventions=(*(edit for edit in base.interventions if edit.feature not in features), *edits),
        sampling=sampling,
    )


def generated(
    engine: Engine, request: GenerationRequest, scales: Scales | None = None, changes: Sequence[Change] = (),
    threads: int | None = None,
) -> tuple[Transcript, RunError | None]:  # fmt: skip
    """Run one request to its end, changing on the way; progress on stderr. Ctrl-C stops it and keeps what came.

    So does what breaks it off, as numbers that are none do: it is returned beside what came.
    """
    reports: list[TokenReport] = []
    times: list[float] = []
    made_with: list[MadeWith] = []
    error: RunError | None = None

    def records() -> Generator[Progress, None, None]:
        for event in engine.generate(request, changes, threads=threads):
            if isinstance(event, protocol.Loading):
                yield event.progress
            elif isinstance(event, protocol.Started):
                made_with.append(event.made_with)
            elif isinstance(event, protocol.Step):
                reports.append(event.report)
                times.append(time.monotonic())
                yield Progress(phase="generating", done=len(reports), total=request.tokens, unit="tokens")

    with contextlib.closing(records()) as stream:
        try:
            for _ in watched(stream):
                pass
        except KeyboardInterrupt:
            if not reports:
                raise
        except RunError as broken:
            if not reports:
                raise
            error = broken
    tokens = [report.steered.token_id for report in reports if report.steered]
    read = engine.firing(request.prompt, top=0, then=tokens, chat=request.chat, system=request.system)
    transcript = collect(
        reports, request, made_with[0], scales=scales, changes=changes, seconds=times[-1] - times[0],
        logprobs=[token.logprob or 0.0 for token in read[len(read) - len(tokens) :]],
    )  # fmt: skip
    return transcript, error


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
    summary = transcript.summary()
    grams = ", ".join(f"{share:.0%}" for share in summary.distinct if share is not None)
    parts = [
        summary.perplexity and f"perplexity {summary.perplexity:.4g} under the unsteered model",
        grams and f"distinct 1- to 4-grams {grams}",
        summary.tokens_per_s and f"{summary.tokens_per_s:.1f} tokens/s",
    ]
    if any(parts):
        yield f"steered:  {'; '.join(part for part in parts if part)}"


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
