"""The command palette: every action that works here, every session, and features by number."""

from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from sae_tui import keys
from sae_tui.screens.page import Bench
from sae_tui.text import safe


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
            score = max(matcher.match(label), 0.9 * matcher.match(help_))
            if score > 0:
                yield Hit(score, matcher.highlight(label), run, text=label, help=help_)

    def _commands(self) -> list[tuple[str, str, Any]]:
        found = []
        for node, binding, enabled, _tooltip in self.screen.active_bindings.values():
            action = next((a for a in keys.ACTIONS if a.id == binding.id), None)
            if action and enabled and action.id != "app.palette" and not any(f[1] == action.help for f in found):
                label = f"{keys.SECTIONS[action.section]}: {action.label}"

                def run(act: str = binding.action, where: Any = node) -> Any:
                    return self.app.run_action(act, where)

                found.append((label, action.help, run))
        return found

    @staticmethod
    def _sessions(bench: Bench) -> list[tuple[str, str, Any]]:
        return [
            (f"session {safe(s.name)}", "make it the session at hand", lambda s=s: bench.open_session(s.session))
            for s in bench.seen
        ]
