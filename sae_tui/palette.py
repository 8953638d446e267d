"""The command palette: every action that works here, every session, and features by number."""

from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from sae_tui import keys
from sae_tui.screens.page import Bench
from sae_tui.text import safe

ACTIONS = {action.id: action for action in keys.ACTIONS}


class Commands(Provider):
    """The palette: every action that works here, every session, and features by number."""

    async def discover(self) -> Hits:
        """What stands there before one types."""
        for label, help_, run in self._commands():
            yield DiscoveryHit(Content(label), run, text=label, help=help_)

    async def search(self, query: str) -> Hits:
        """What fits what was typed."""
        bench = self.app
        assert isinstance(bench, Bench)
        wanted = query.strip().removeprefix(":").strip()
        if wanted.isdigit():
            yield Hit(2.0, Content(f"open feature {wanted}"), lambda: bench.open_feature(int(wanted)), text=query)
        wanted = wanted.removeprefix("run ").strip() or wanted
        matcher = self.matcher(wanted)
        for label, help_, run in [*self._commands(), *self._sessions(bench)]:
            score = max(matcher.match(label), 0.9 * matcher.match(help_.partition("  ")[2] or help_))
            if score > 0:
                yield Hit(score, matcher.highlight(label), run, text=label, help=help_)

    def _commands(self) -> list[tuple[str, str, Any]]:
        """Label, help and how to run it, of each: the screen's own, those of the widget at hand, what works everywhere.

        The help begins with the key. What a key that is shown does comes before the others of its section.
        """
        found: dict[str, tuple[keys.Action, tuple[str, str, Any]]] = {}
        for key, (node, binding, enabled, _tooltip) in self.screen.active_bindings.items():
            action = ACTIONS.get(binding.id or "")
            if action and enabled and action.id != "app.palette" and action.id not in found:
                label = f"{keys.SECTIONS[action.section]}: {action.label}"

                def run(act: str = binding.action, where: Any = node) -> Any:
                    return self.app.run_action(act, where)

                found[action.id] = action, (label, f"{keys.shown_keys([key])}  {action.help}", run)
        own = getattr(self.screen, "SECTION", "")
        places = {id_: place for place, id_ in enumerate(ACTIONS)}

        def order(action: keys.Action) -> tuple[bool, bool, bool, int]:
            return action.section == "app", action.section != own, not action.shown, places[action.id]

        return [command for _, command in sorted(found.values(), key=lambda pair: order(pair[0]))]

    @staticmethod
    def _sessions(bench: Bench) -> list[tuple[str, str, Any]]:
        return [
            (f"session {safe(s.name)}", "make it the session at hand", lambda s=s: bench.open_session(s.session))
            for s in bench.seen
        ]
