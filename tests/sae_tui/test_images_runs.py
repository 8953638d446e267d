"""Runs and Train of a session of images: its figures are those of a classifier, and stand on images."""

import json

import pytest

from core import config as configs
from core.session import Session
from sae_tui.screens.runs import RunsPage
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.panes import Figures
from sae_tui.widgets.rows import Rows
from tests.sae_tui.conftest import step_line
from tests.sae_tui.waiting import until

WIDE, SMALL = (160, 45), (80, 24)


@pytest.fixture
def root(images_root):
    """`digits` trained and measured."""
    session = Session(images_root / "digits")
    aimed = configs.with_settings(session.config().model_dump(exclude_none=True), ["sae.architecture=jumprelu"])
    session.reconfigure(configs.parse(configs.with_settings(aimed, ["sae.target_l0=20"])))
    for step in range(1, 11):
        session.append_metrics(step_line(step, 10))
    figures = {"baseline_acc": 0.95, "recon_acc": 0.94, "delta_acc": 0.01, "fidelity": 0.9895, "fvu": 0.03, "l0": 19.8}
    tokens = dict.fromkeys(figures, 1_000)
    session.evaluation_path.write_text(json.dumps({**figures, "ce_loss_score": 0.99, "tokens": tokens}))
    return images_root


def lines(app, query) -> str:
    return "\n".join(line.plain for line in app.screen.query_one(query, Rows).lines)


@pytest.mark.asyncio
async def test_runs_tells_accuracies_and_the_target_on_images(root, workbench):
    app = workbench(root, session="digits")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: isinstance(app.screen, RunsPage) and app.screen._rows)
        while app.screen.at.name != "digits":
            await pilot.press("j")

        def told() -> str:
            return "\n".join(line.plain for rows in app.screen.query("#side Rows").results(Rows) for line in rows.lines)

        await until(lambda: "accuracy 95.0%" in told() and "with SAE 94.0%" in told())
        assert "fidelity 0.99" in told() and "on 1,000 test images" in told()
        assert "jumprelu L0 20" in told() and "test tokens" not in told() and "context" not in told()


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_train_tells_fidelity_above_the_curves_and_counts_activations(root, workbench, size):
    app = workbench(root, session="digits", mode="train")
    async with app.run_test(size=size):
        await until(lambda: "fidelity " in lines(app, "#status") and "activations/s" in lines(app, "#status"))
        await until(lambda: app.screen.query_one("#speed", Chart).plot.name == "activations/s")
        if size == WIDE:
            await until(lambda: "accuracy" in lines(app, Figures) and "on images" in lines(app, Figures))
            assert "tokens" not in lines(app, Figures)
