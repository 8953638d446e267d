"""Text that is not ours (tokens, corpora, labels, file names, errors) made safe for a terminal.

`safe` stands between every such string and the screen: a token can neither restyle the screen nor send the terminal
an escape sequence. What is printed as JSON or CSV into a pipe is data and does not pass here.
"""

import unicodedata
from collections.abc import Iterable

from core.records import ContextToken

GLYPHS = {code: chr(0x2400 + code) for code in range(0x20)} | {0x09: "→", 0x0A: "↵", 0x0D: "␍", 0x7F: "␡"}
BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
ZERO_WIDTH = {0x00AD, *range(0x200B, 0x200E), 0x2060, 0xFEFF}


def safe(text: str, *, newlines: bool = False) -> str:
    """`text` with every character that could act on a terminal shown as a glyph.

    Control characters become their pictures (ESC: ␛, newline: ↵, tab: →), BiDi controls, C1 controls, surrogates,
    private and unassigned characters become U+FFFD, zero-width ones `·`. With `newlines`, newlines stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe_character(c, newlines) for c in text)


def _safe_character(character: str, newlines: bool) -> str:
    code = ord(character)
    if code == 0x0A and newlines:
        return character
    if code in GLYPHS:
        return GLYPHS[code]
    if code in ZERO_WIDTH:
        return "·"
    if code in BIDI or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return "\ufffd"
    return character


def token(text: str) -> str:
    """One token, safe, its leading and trailing spaces visible."""
    shown = safe(text)
    bare = shown.strip(" ")
    left = len(shown) - len(shown.lstrip(" "))
    return "␣" * left + bare + "␣" * (len(shown) - left - len(bare) if bare else 0)


def lit(tokens: Iterable[ContextToken], *, at: int, width: int) -> str:
    """A context on one line of at most `width` characters: active tokens in brackets, cut around `at`.

    `at` is the `token_idx` of the example itself. Readable without colour.
    """
    parts: list[str] = []
    centre = 0
    for t in tokens:
        shown = safe(t.text)
        if t.token_idx == at:
            centre = sum(map(len, parts)) + len(shown) // 2
            shown = f"[[{shown}]]"
        elif t.value > 0:
            shown = f"[{shown}]"
        parts.append(shown)
    line = "".join(parts)
    if len(line) <= width:
        return line
    start = min(max(0, centre - width // 2), len(line) - width)
    cut = line[start : start + width]
    return ("…" + cut[1:] if start else cut[:-1] + "…") if start + width >= len(line) or not start else f"…{cut[1:-1]}…"
