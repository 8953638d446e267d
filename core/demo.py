"""The demo: a first session on the embedded model, whose budgets are measured before it is trained. No torch."""

from pathlib import Path
from subprocess import Popen

from core import config as configs
from core import jobs
from core.session import Session, checked_name

NAME = "demo"


def configuration() -> configs.RunConfig:
    """The demo as it is shipped; a job that measures first gives it budgets of its own."""
    return configs.parse(configs.preset(NAME))


def begin(root: Path, name: str = NAME) -> tuple[Session, "Popen[bytes] | None"]:
    """The demo's session, and the job that makes it complete where that had to be started; see `jobs.start`.

    One that failed before its training began, as without the embedded model, is tried again. Raises SessionError.
    """
    session = Session(root / checked_name(name))
    if not session.config_path.is_file():
        Session.create(root, name, configuration())
    elif session.status().job != "train" or session.trained or session.observed().active:
        return session, None
    return session, jobs.start(session, "train", [*jobs.THEN, "--measure"])
