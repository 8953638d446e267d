"""What Steer shows: settings, figures, lights, next tokens, features before and after, and features found by words."""

import pytest

from core.steering.interventions import Intervention
from sae_tui.text import figure
from sae_tui.widgets.command_line import CommandLine
from sae_tui.widgets.token_text import TokenText
from tests.sae_tui.steering import SIZE, command, figures, generated, note, offered, state, typed
from tests.sae_tui.waiting import until

SIZES = [(160, 45), (120, 36), (80, 24)]


def rows(page):
    table = page.firing.table
    return [table.render_line(y).text.rstrip() for y in range(1, 1 + table.count)]


async def by_gap(pilot, page):
    """Light the tokens by how far the runs are apart."""
    for _ in range(4):
        if page.light is None or page.light.by != "gap":
            await pilot.press("c")
            await pilot.pause()


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_settings_are_told_where_they_are_not_as_they_begin(steer, size):
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        page.edits.table.focus()
        await pilot.pause()
        await until(lambda: "T 0.7 · seed 0 · 60 tokens" in state(page))
        assert "top" not in state(page)
        for line in ("/top-p 0.9", "/top-k 40", "/chat on"):
            await command(pilot, line)
        await until(lambda: "T 0.7 · top-p 0.9 · top-k 40 · seed 0 · 60 tokens · chat" in state(page))
        assert "a user's turn" in page.prompt.border_title
        await command(pilot, "/system Answer as a pirate")
        await until(lambda: "system: Answer as a pirate" in page.prompt.border_title)
        await command(pilot, "/chat off")
        await until(lambda: page.prompt.border_title == "prompt")


@pytest.mark.asyncio
async def test_a_chat_is_asked_for_as_one(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/system Be short")
        await generated(pilot, page)
        assert (page.generation.request.chat, page.generation.request.system) == (True, "Be short")


@pytest.mark.asyncio
async def test_the_figures_have_the_perplexity_once_it_is_read(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/amplify 5 4")
        await generated(pilot, page)
        await until(lambda: "perplexity 4.43" in figures(page))  # every other token at ln p −1, the others at −2
        assert "mean KL 0.400 nats · part after 3" in figures(page) and "4-gram repeats 0%" in figures(page)


@pytest.mark.asyncio
async def test_how_far_the_runs_are_apart_is_lit_on_two_sides(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        page.texts.pane("steered").focus()
        await by_gap(pilot, page)
        await until(lambda: "Δ ln p" in page.texts.pane("baseline").border_title)
        strengths = {
            side: {round(p.strength, 2) for p in page.texts.pane(side).pieces if not p.quiet}
            for side in ("baseline", "steered")
        }
        assert strengths == {"baseline": {-0.64}, "steered": {0.64}}
        await pilot.press("c")
        await until(lambda: page.texts.pane("steered").border_title == "steered")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_of_a_token_the_next_ones_are_listed_under_both_runs(steer, size):
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await command(pilot, "/amplify 5 4")
        await generated(pilot, page)
        page.texts.pane("steered").focus()
        await pilot.press("g", *["l"] * 6, "s")
        await until(lambda: "next token 2" in page.firing.border_title and page.firing.table.count == 2)
        await until(lambda: "␣is" in rows(page)[0] and " 61%" in rows(page)[0] and " 14%" in rows(page)[0])
        assert rows(page)[0].split()[:3] == ["▸", "b", "␣is"] and "␣IS" in rows(page)[1] and " s " in rows(page)[1]
        await pilot.press("enter", "down", "enter")
        await until(lambda: page.target == " IS" and page.rank == "gradient")
        await pilot.press("escape")
        page.texts.pane("steered").focus()
        await pilot.press("G", *["s"] * 5)
        await until(lambda: page.rank == "next" and "n goes on" in page.query_one("#token").render().plain)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_of_the_text_it_is_told_how_sparse_it_is_and_on_how_many_tokens_how_many_features_fire(steer, size):
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await generated(pilot, page)
        page.texts.pane("steered").focus()
        await pilot.press("g", *["s"] * 5)
        await until(lambda: page.rank == "sparse" and page.firing.border_title == "how sparse the steered text is")
        tokens = page.generation.firing["steered"]
        ones, twos = (sum(token.active == n for token in tokens) for n in (1, 2))
        assert ones and twos and ones + twos == len(tokens) - 1  # <s> does not count
        await until(lambda: page.firing.table.count == 6)
        share, most = (ones + 2 * twos) / len(tokens[1:]) / 8, max(ones, twos)
        shown = [
            ("x not 0", "75.00%", 0.75), ("z not 0", f"{share:.2%}", share),
            ("1 active", f"{ones} tokens", ones / most), ("2 active", f"{twos} tokens", twos / most),
        ]  # fmt: skip
        values = {f: [v for token in tokens for g, v in token.features if g == f] for f in (3, 5)}
        for f in (3, 5):  # 3 is the stronger one
            peak = max(values[f])
            shown.append((str(f), f"{figure(peak)} ×{len(values[f])}", peak / max(values[3])))
        for line, (name, value, filled) in zip(rows(page), shown, strict=False):  # as many as there is room for
            assert line.replace("▸", "").strip().startswith(name) and f" {value} " in f"{line} "
            assert line.count("█") == int(8 * filled)
        mid = sorted(token.active for token in tokens[1:])[len(tokens[1:]) // 2]
        await until(lambda: f"min 1, median {mid}, max 2" in page.query_one("#token").render().plain)
        await until(lambda: "\nx █▄▂  largest first\nz █" in page.query_one("#token").render().plain)
        await pilot.press("enter", "enter")  # a row of figures is no feature
        assert not page.edits.plan.interventions
        page.firing.table.move_to(4)
        await until(lambda: page.firing.feature == 3)
        await pilot.press("escape", "s")
        await until(lambda: page.rank == "fires" and "enter amplifies" in str(page.firing.border_subtitle))


@pytest.mark.asyncio
async def test_of_a_prompt_alone_it_is_told_how_sparse_it_is(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.focus()
        await pilot.press(*"ab")
        await until(lambda: page.desk and page.desk.made_with)
        page.edits.table.focus()
        await pilot.pause()
        await pilot.press(*["s"] * 5)
        await until(lambda: page.firing.border_title == "how sparse the prompt is" and page.firing.table.count == 4)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_of_a_token_the_features_are_listed_before_and_after_the_edit(steer, size):
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await command(pilot, "/set 7 4")
        await generated(pilot, page)
        page.texts.pane("steered").focus()
        await pilot.press("g", "l", "l")
        await until(lambda: page.firing.table.count == 3)
        told = {words[0]: words[1:3] for row in rows(page) if (words := row.replace("▸", "").split())}
        assert told["7"] == ["-", "4.00"] and told["3"][0] == told["3"][1]
        await pilot.press("b")
        page.texts.look("baseline", both=page.wide)
        page.texts.pane("baseline").focus()
        await pilot.press("g", "l", "l")
        await until(lambda: page.firing.table.count == 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_find_lists_features_and_enter_steers_with_the_one_chosen(steer, size):
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        page.edits.table.focus()
        await pilot.pause()
        await typed(pilot, "/find dat")
        await until(lambda: offered(page) == ["5"])
        await pilot.press("enter")
        await until(lambda: page.edits.plan.interventions == (Intervention("add", 5, 1.0, "max"),))
        assert not isinstance(page.focused, CommandLine)
        await command(pilot, "/find nothing like it")
        await until(lambda: "no feature by that" in note(page))


@pytest.mark.asyncio
async def test_places_are_a_column_where_there_are_any_and_edited_with_the_rest(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.edits.table.focus()
        await command(pilot, "/cap 5 0.5max")
        assert "where" not in page.edits.table.render_line(0).text
        await command(pilot, "/where 5 generated,while:3>0.5")
        await until(lambda: "where" in page.edits.table.render_line(0).text)
        await until(lambda: "gen,z3" in page.edits.table.render_line(1).text)
        assert "z' = min(z, 0.5 max) if z_3 > 0.5" in " ".join(page.query_one("#edit").render().plain.split())
        page.edits.table.focus()
        await pilot.press("enter")
        assert page.query_one(CommandLine).value == "/cap 5 0.5max@generated,while:3>0.5"
        await pilot.press("escape")
        await command(pilot, "/mean-ablate 5")
        await until(lambda: "= mean" in page.edits.table.render_line(1).text)
        assert "(mean " in " ".join(page.query_one("#edit").render().plain.split())


@pytest.mark.asyncio
async def test_without_colour_the_two_sides_have_two_kinds_of_brackets(steer, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        page.texts.pane("steered").focus()
        await by_gap(pilot, page)

        def drawn(side):
            pane = page.query_one(f"#{side}", TokenText)
            return "".join(pane.render_line(y).text for y in range(4))

        await until(lambda: "[that]" in drawn("steered") and "{that}" in drawn("baseline"))
