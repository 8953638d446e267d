"""What tests of the Steer screen have in common: what a person types, and what there is to read."""

from sae_tui.widgets.bars import Line
from sae_tui.widgets.command_line import Candidates
from sae_tui.widgets.kl_strip import KlStrip
from tests.sae_tui.waiting import until

SIZE = (150, 40)
PROMPT = "the most important thing"


async def typed(pilot, text):
    """Type, as a person does."""
    names = {" ": "space", "/": "slash", ".": "full_stop", "-": "minus", ":": "colon"}
    await pilot.press(*(names.get(c, c) for c in text))
    await pilot.pause()


async def command(pilot, line):
    pilot.app.screen.action_command(line)
    await pilot.press("enter")
    await pilot.pause()


async def generated(pilot, page):
    """Type the prompt, generate, and wait for the end and what fires."""
    page.prompt.text = PROMPT
    page.edits.table.focus()
    await pilot.pause()
    await pilot.press("r")
    await until(lambda: page.generation and page.generation.ended and len(page.generation.firing) == 2)
    await pilot.pause()


def note(page):
    return page.query_one("#note", Line).content.plain


def state(page):
    return page.query_one("#state", Line).content.plain


def offered(page):
    return [c.word for c in page.query_one(Candidates)._offered]


def shown(page, side):
    return "".join(piece.text for piece in page.texts.pane(side).pieces)


def strip(page):
    return page.query_one(KlStrip).plain


def figures(page):
    return page.query_one("#figures", Line).content.plain


def branch(page):
    return str(page.texts.pane("steered").border_subtitle or "")
