"""A session's report, made: read, drawn, and put into a folder, each file whole or not at all."""

import json
from collections.abc import Generator
from pathlib import Path

from core.errors import SaeTuiError
from core.records import Progress
from core.report import facts, page, pdf
from core.report.figures import drawings
from core.session import Session
from core.storage import replace_file, replacing


def write(
    session: Session, folder: Path, *, features: int, paper: bool = False
) -> Generator[Progress, None, list[Path]]:
    """Write `report.html`, `summary.json`, `feature_report.json` and, with `paper`, `report.pdf`; return these paths.

    `features` of the best are told in full. Raises QueryError where the session was not analysed, SaeTuiError where
    the folder cannot be written.
    """
    report = yield from facts.read(session, features)
    yield Progress(phase="drawing figures")
    figures = list(drawings(report))
    texts = {
        "report.html": page.html(report, figures),
        "summary.json": _json(report.summary),
        "feature_report.json": _json([one.to_json() for one in report.told]),
    }
    try:
        for name, text in texts.items():
            replace_file(folder / name, text)
        if paper:
            with replacing(folder / "report.pdf") as beside:
                yield from pdf.write(report, figures, beside)
    except OSError as error:
        raise SaeTuiError(f"{folder} cannot be written", hint=str(error)) from error
    return [folder / name for name in (*texts, *(("report.pdf",) if paper else ()))]


def _json(value: object) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
