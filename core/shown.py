"""Strings and numbers as a person is shown them, on a terminal or on paper.

`safe` stands between every string that is not ours (tokens, corpora, labels, file names, errors) and who reads it: no
character in it can act on a terminal, or turn the direction of the text around it.
"""

import math
import unicodedata

GLYPHS = {code: chr(0x2400 + code) for code in range(0x20)} | {0x09: "→", 0x0A: "↵", 0x0D: "␍", 0x7F: "␡"}
BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
ZERO_WIDTH = {0x00AD, *range(0x200B, 0x200E), 0x2060, 0xFEFF}


def safe(text: str, *, newlines: bool = False) -> str:
    """`text` with every character that could act on a terminal shown as a glyph.

    Control characters become their pictures (ESC: ␛, newline: ↵, tab: →), BiDi controls, C1 controls, surrogates,
    private and unassigned characters become U+FFFD, zero-width ones `·`. With `newlines`, newlines stay.
    """
    if text.isprintable():  # to Python whatever is replaced here is not
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


def figure(value: float | None) -> str:
    """A measured number in three digits, as one reads it: 0.00482, 4.82, 48.2, 4,820, 4.82e+07."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digit = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, 2 - digit)}f}" if -5 < digit < 6 else f"{value:.2e}"
