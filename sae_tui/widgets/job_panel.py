"""What a session has come to, beside the charts: figures, stages, machine, run. No widgets: lines of content."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from textual.content import Content

from core.architectures import SPARSITY, reads_images
from core.machine import Usage
from core.overview import Seen
from sae_tui.text import safe
from sae_tui.widgets.job import finite
from sae_tui.widgets.scales import memory, number
from sae_tui.widgets.traces import Found

STAGES = {"train": "train the SAE", "evaluate": "measure it on the test split", "analyze": "build the feature database"}
"""What makes a session complete, in order."""
FIGURES = (
    ("baseline_acc", "accuracy", "share"), ("recon_acc", "  with SAE", "share"), ("fidelity", "fidelity", "number"),
    ("ce_loss_score", "CE-loss score", "number"), ("ce_loss_clean", "CE loss clean", "number"),
    ("ce_loss_sae", "CE loss with SAE", "number"), ("ce_loss_zero", "CE loss ablated", "number"),
    ("kl", "KL", "number"), ("fvu", "FVU", "number"), ("fvu_unmoved", "  unmoved", "number"),
    ("explained_variance", "explained", "share"),
    ("cossim", "cosine", "number"), ("l0", "L0", "number"), ("dead_share", "dead", "share"),
    ("dense_share", "dense", "share"), ("density_reliability", "density's r", "number"),
)  # fmt: skip
"""Of `evaluation.json`: each figure's name for a person, and how it is written."""
TERMS = (
    ("mse", "squared error"), ("sparsity_loss", "sparsity term"), ("aux_loss", "auxiliary term"), ("l1", "L1"),
    ("decoder_cosine_mean", "mean cosine"),
)  # fmt: skip
"""What the loss is made of, and the code's L1, of the newest step's batch; the decoder's mean cosine, beside the chart
of the largest."""
ABOUT = (
    ("model", "name", "model"), ("model", "hook", "hook"), ("model", "dtype", "dtype"),
    ("sae", "architecture", "SAE"), ("sae", "d_sae", "features"), ("corpus", "name", "corpus"),
    ("budget", "activations", "tokens"), ("training", "batch_activations", "batch"), ("training", "lr", "top lr"),
)  # fmt: skip
"""Of `config.toml`: part, field, and its name for a person; what sets the sparsity stands after the features."""
NAME, VALUE, ON, LABEL = 16, 8, 10, 9
"""Cells of a figure's name, of its value, of the tokens it stands on; and of the name of a part of the run."""
COLUMN = 38
"""Cells of a section's lines where two stand side by side."""


def panel(
    seen: Seen, found: Found, usage: Usage | None, saved: Mapping[int, float], config: Mapping[str, Any]
) -> list[list[Content]]:
    """Sections of lines: the evaluation, the newest step's terms, the stages, the machine, the run as configured.

    `saved` holds the checkpoints by their steps, with the time each was written; `config` is that of the session.
    """
    unit = "images" if reads_images(config) else "tokens"
    sections = [_evaluation(seen, unit), _terms(found), _next(seen), _machine(seen, usage, saved), _about(config)]
    return [section for section in sections if section]


def arranged(sections: Sequence[Sequence[Content]], width: int, height: int) -> list[Content]:
    """Sections one under the other, a blank line between; in two columns where that is too long and there is room."""
    columns: list[list[Content]] = [[]]
    for section in sections:
        full = len(columns[-1]) + 1 + len(section) > height
        if columns[-1] and full and (len(columns) + 1) * COLUMN <= width + 2:
            columns.append([])
        columns[-1] += [*([Content("")] if columns[-1] else []), *section]
    if len(columns) == 1:
        return columns[0]
    lines = []
    for y in range(max(map(len, columns))):
        cells = [column[y] if y < len(column) else Content("") for column in columns]
        lines.append(Content.assemble(*(cell.truncate(COLUMN, pad=True) for cell in cells[:-1]), cells[-1]))
    return lines


def _evaluation(seen: Seen, unit: str) -> list[Content]:
    head = Content.assemble(
        ("test split".ljust(NAME), "bold"), (f"{'value':>{VALUE}}{f'on {unit}':>{ON}}", "$text-muted")
    )
    if not seen.evaluation:
        return [Content.styled("test split", "bold"), Content.styled("evaluated after training", "$text-muted")]
    tokens = seen.evaluation.get("tokens", {})
    lines = [head]
    for name, label, kind in FIGURES:
        value = seen.evaluation.get(name)
        if name in seen.evaluation:
            shown = number(value, kind) if isinstance(value, int | float) and math.isfinite(value) else "–"
            on = tokens.get(name) if isinstance(tokens, dict) else None
            said = f"{on:,}" if isinstance(on, int) else ""
            style = "bold" if name in ("fidelity", "ce_loss_score", "fvu") else ""
            lines.append(
                Content.assemble(
                    (label.ljust(NAME), "$text-muted"), (shown.rjust(VALUE), style), (said.rjust(ON), "$text-disabled")
                )
            )
    return lines


def _terms(found: Found) -> list[Content]:
    """What the loss of the newest step is made of."""
    rows = [_row(label, number(found.latest[name])) for name, label in TERMS if name in found.latest]
    return [Content.styled("newest step", "bold"), *rows] if rows else []


def _next(seen: Seen) -> list[Content]:
    """The stages, each done, at work or to come."""
    done = {"train": seen.has_sae, "evaluate": bool(seen.evaluation), "analyze": seen.has_features}
    lines = [Content.styled("stages", "bold")]
    for verb, words in STAGES.items():
        if seen.observed.active and seen.status.job == verb:
            line = Content.assemble(("● ", "$success"), (words, "bold"))
        elif seen.status.job == verb and seen.observed.state in ("failed", "interrupted"):
            line = Content.assemble(("✗ ", "$error"), words)
        else:
            line = Content.assemble(("✓ ", "$success") if done[verb] else ("○ ", "$text-muted"), (words, "$text-muted"))
        lines.append(line)
    missing = next((verb for verb in STAGES if not done[verb]), None)
    if not seen.observed.active and missing in ("evaluate", "analyze") and done["train"]:
        lines.append(Content.styled(f"  sae-tui {missing} {safe(seen.name)}", "$text-disabled"))
    return lines


def _machine(seen: Seen, usage: Usage | None, saved: Mapping[int, float]) -> list[Content]:
    """Memory, GPUs, and how old the last checkpoint is while a job runs, else when it was written."""
    lines = []
    if usage and usage.job_bytes is not None:
        lines.append(_row("job's memory", memory(usage.job_bytes), f"of {memory(usage.total_bytes)}"))
    elif seen.observed.active and seen.observed.note.startswith("on "):
        lines.append(_row("host", safe(seen.status.host)))
    for gpu in usage.gpus if usage else ():
        busy = f", {gpu.busy:.0%}" if gpu.busy is not None else ""
        lines.append(_row(f"gpu{gpu.index} memory", memory(gpu.used_bytes), f"of {memory(gpu.total_bytes)}{busy}"))
        if gpu.job_bytes is not None:
            lines.append(_row("  the job's", memory(gpu.job_bytes), f"of {safe(gpu.name)}"))
    if saved:
        step = max(saved)
        if seen.observed.active:
            when = f"{_age(time.time() - saved[step])} ago"
        else:
            when = time.strftime("%d %b %H:%M", time.localtime(saved[step]))
        lines.append(Content.assemble(("checkpoint  ", "$text-muted"), f"{step:,}", (f", {when}", "$text-muted")))
    title = "machine" if len(lines) > bool(saved) else "saved"
    return [Content.styled(title, "bold"), *lines] if lines else []


def _about(config: Mapping[str, Any]) -> list[Content]:
    """The run as it was configured."""
    rows = []
    for part, name, label in ABOUT:
        values = config.get(part)
        value = values.get(name) if isinstance(values, dict) else None
        if label == "tokens" and reads_images(config):
            label = "budget"
        if isinstance(value, bool | int | float | str) and value != "":
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else safe(str(value))
            rows.append(Content.assemble((label.ljust(LABEL), "$text-muted"), shown))
        if name == "d_sae" and isinstance(values, dict):
            rows += _sparsity(values)
    return [Content.styled("run", "bold"), *rows] if rows else []


def _sparsity(sae: Mapping[str, Any]) -> list[Content]:
    """What sets the number of active features: k, a target that λ follows, or λ."""
    symbol, field = SPARSITY.get(str(sae.get("architecture")), ("k", "k"))
    target = None if symbol == "k" else finite(sae.get("target_l0"))
    value = finite(sae.get(field)) if target is None else target
    if value is None:
        return []
    return [Content.assemble((("target" if target is not None else symbol).ljust(LABEL), "$text-muted"), f"{value:g}")]


def _age(seconds: float) -> str:
    """Coarse, so that it seldom changes."""
    return (
        "under a minute"
        if seconds < 60
        else f"{seconds // 60:.0f} min"
        if seconds < 7_200
        else f"{seconds // 3600:.0f} h"
    )


def _row(name: str, value: str, rest: str = "") -> Content:
    return Content.assemble((name.ljust(NAME), "$text-muted"), f"{value.rjust(VALUE)} {rest}".rstrip())
