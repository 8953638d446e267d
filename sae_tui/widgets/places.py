"""Where a feature fires: the list of contexts, or one document or a person's text token by token, in one frame."""

from collections.abc import Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.records import Example, TextReading
from sae_tui.text import band_name, figure, safe, shortened, token
from sae_tui.widgets.bars import Ends
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.token_text import Piece, TokenText

Token = Mapping[str, Any]
"""A row of `Store.passage`."""


class Places(Vertical):
    """Contexts, and the document of one of them over them; or a few words where there are none."""

    ALLOW_MAXIMIZE = True
    DEFAULT_CSS = """
    Places {
        Contexts, TokenText, Static { height: 1fr; }
        #place { color: $text-muted; }
        Static { padding: 1 2; color: $text-muted; }
        TokenText, Static { display: none; }
        &.-reading Contexts { display: none; }
        &.-reading TokenText { display: block; }
        &.-words Contexts, &.-words #place { display: none; }
        &.-words Static { display: block; }
        &.-reading Static { display: none; }
        &.-reading #place { display: block; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._examples: Sequence[Example] = ()
        self._most, self._bands = 1.0, 0
        self._band: int | None = None
        """The band that is wanted; None: all."""
        self._document: Sequence[Token] = ()
        self._top = 1.0
        """The activation that lights a token of it fully."""
        self._source = ""
        self._given: TextReading | None = None
        """What the document is, where a person gave it."""

    def compose(self) -> ComposeResult:
        """One of them is displayed."""
        yield Contexts()
        yield TokenText()
        yield Static()
        yield Ends(id="place")

    @property
    def contexts(self) -> Contexts:
        """The list."""
        return self.query_one(Contexts)

    @property
    def document(self) -> TokenText:
        """The text."""
        return self.query_one(TokenText)

    @property
    def reading(self) -> bool:
        """Whether a document is open."""
        return bool(self._document)

    def token(self, index: int | None) -> Token | None:
        """A token of the document, or text, that is open."""
        return self._document[index] if index is not None and index < len(self._document) else None

    @property
    def given(self) -> bool:
        """Whether it is a text that a person gave, whose tokens the database lacks."""
        return self._given is not None

    @property
    def ids(self) -> bool:
        """Whether tokens show as their ids."""
        return self.contexts.ids

    @ids.setter
    def ids(self, ids: bool) -> None:
        self.contexts.ids = ids
        if self.reading:
            self.document.show(self._pieces())

    @property
    def copied(self) -> tuple[str, str] | None:
        """What is at hand: what it is called, and its text."""
        if self.reading:
            return "the text" if self._given else "the document", "".join(t["text"] for t in self._document)
        example = self.contexts.example
        return ("the context", "".join(t.text for t in example.tokens)) if example else None

    @property
    def displayed(self) -> Contexts | TokenText:
        """What keys go to."""
        return self.document if self.reading else self.contexts

    def show(self, examples: Sequence[Example], *, most: float, bands: int) -> None:
        """Show these contexts; see `Contexts.show`. The band that is shown stays, where there is one."""
        self._examples, self._most, self._bands = examples, most, bands
        self.close()
        self.set_class(False, "-words")
        self._filter()

    def say(self, words: str) -> None:
        """Show words in their place."""
        self._examples = ()
        self.close()
        self.query_one(Static).update(Content(safe(words, newlines=True)))
        self.set_class(True, "-words")
        self.border_title = Content("contexts")

    def next_band(self) -> None:
        """All contexts, the strongest only, or those of one band: the next of these that has any."""
        self.close()
        bands = [None, *sorted({e.band for e in self._examples})]
        self._band = bands[(bands.index(self._band_shown) + 1) % len(bands)]
        self._filter()

    @property
    def _band_shown(self) -> int | None:
        """The one that is wanted, where this feature has any of it."""
        return self._band if any(e.band == self._band for e in self._examples) else None

    @property
    def _shown(self) -> Sequence[Example]:
        return [e for e in self._examples if self._band_shown in (None, e.band)]

    def _filter(self) -> None:
        self.contexts.show(self._shown, most=self._most, bands=self._bands)
        self._entitle()

    def _entitle(self) -> None:
        if self._given is not None:
            name = _told(self._given)
        elif self.reading:
            name = f"document · {safe(self._source)}"
        else:
            band = "all bands" if self._band_shown is None else band_name(self._band_shown)
            name = f"contexts · {band} · {len(self._shown)} shown"
        self.border_title = Content(shortened(name, max(10, self.size.width - 4)))

    def open(self, example: Example, passage: Sequence[Token]) -> None:
        """Show the document of a context, the cursor on the token it is about."""
        self._source, self._top, self._given = example.source, self._most, None
        self._read(passage, example.token_idx)
        self.screen.set_focus(self.document, scroll_visible=False)

    def open_text(self, reading: TextReading, *, most: float | None) -> None:
        """Show a text that a person gave, lit by a feature whose largest activation is `most`, where it ever fired."""
        self._top, self._given = max(most or 0.0, reading.max) or 1.0, reading
        tokens = reading.tokens
        self._read(
            [{"token_idx": t.token_idx, "token_id": t.token_id, "text": t.text, "value": t.value, "counted": True}
             for t in tokens],
            reading.at,
        )  # fmt: skip

    def _read(self, document: Sequence[Token], at: int | None) -> None:
        self._document = document
        self.set_class(True, "-reading")
        self.document.show(self._pieces())
        self.document.cursor = next((i for i, t in enumerate(document) if t["token_idx"] == at), 0)
        self._entitle()
        self._tell_token()
        self.screen.refresh_bindings()

    def close(self) -> bool:
        """Back to the list; whether there was a document open."""
        if not self.reading:
            return False
        focused = self.document.has_focus
        self._document, self._given = (), None
        self.set_class(False, "-reading")
        self._entitle()
        self._tell_context(self.contexts.example)
        if focused:
            self.screen.set_focus(self.contexts, scroll_visible=False)
        self.screen.refresh_bindings()
        return True

    def firing(self, step: int) -> None:
        """In a document: to the next token the feature fires on, or with -1 to the one before."""
        lit = [i for i, t in enumerate(self._document) if t["value"] > 0]
        at = self.document.cursor or 0
        further = [i for i in lit if (i > at if step > 0 else i < at)]
        if further:
            self.document.cursor = further[0] if step > 0 else further[-1]

    def _pieces(self) -> list[Piece]:
        return [
            Piece(f"{t['token_id']} " if self.ids else t["text"], t["value"] / self._top, dim=not t["counted"])
            for t in self._document
        ]

    def on_resize(self) -> None:
        """How much of the title there is room for is of this width."""
        if self._examples or self.reading:
            self._entitle()

    def on_contexts_moved(self, event: Contexts.Moved) -> None:
        """Say where the context is from. The screen hears of it too."""
        if not self.reading:
            self._tell_context(event.example)

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        """Say how strongly the token is lit."""
        event.stop()
        if self.reading:
            self._tell_token()

    def _tell_context(self, example: Example | None) -> None:
        if example is None:
            self._tell("", "")
            return
        category = f" · {safe(example.category)}" if example.category else ""
        place = f"{(self.contexts.cursor or 0) + 1}/{self.contexts.count}"
        self._tell(f"{safe(example.source)}{category} · token {example.token_idx:,}", place)

    def _tell_token(self) -> None:
        if self.document.cursor is None or self.document.cursor >= len(self._document):
            return
        t = self._document[self.document.cursor]
        if not t["counted"]:
            value = "the SAE is not defined here"
        elif t["value"] > 0:
            value = f"{figure(t['value'])}, {t['value'] / self._top:.0%} of its max"
        else:
            value = "silent"
        fired = sum(t["value"] > 0 for t in self._document)
        where = f"fires on {fired} of {len(self._document):,} here"
        self._tell(f"{value}   {shortened(token(t['text']), 20)}  id {t['token_id']}", where)

    def _tell(self, left: str, right: str) -> None:
        self.query_one(Ends).tell(left, right)


def _told(given: TextReading) -> str:
    """What there is to say of a text: its strongest token, and how sparse the code is beside what it stands for."""
    at = next((t for t in given.tokens if t.token_idx == given.at), None)
    parts = ["text", f"max {figure(given.max)} at {shortened(token(at.text), 20)}" if at else "silent"]
    if given.x_nonzero is not None and given.z_nonzero is not None:
        parts.append(f"not 0: {figure(100 * given.x_nonzero)}% of x, {figure(100 * given.z_nonzero)}% of z")
    if given.active:
        parts.append(f"{min(given.active):,} to {max(given.active):,} features each")
    return " · ".join([*parts, *([f"{given.cut:,} tokens cut off"] if given.cut else [])])
