"""The colours, dark and light."""

from textual.theme import Theme

DARK = Theme(
    name="sae-dark", dark=True, primary="#7aa2f7", secondary="#9d8cd6", accent="#e0af68", foreground="#c8cdd8",
    background="#12141a", surface="#12141a", panel="#1d212b", success="#8cc265", warning="#e0af68", error="#f0717b",
    boost="#1d212b", variables={"border": "#7aa2f7", "border-blurred": "#343b4b", "scrollbar": "#343b4b",
    "scrollbar-background": "#12141a", "footer-background": "#12141a", "block-cursor-text-style": "bold",
    "input-selection-background": "#3b4a6b", "text-muted": "#8b93a7", "text-disabled": "#5f6779"},
)  # fmt: skip
LIGHT = Theme(
    name="sae-light", dark=False, primary="#2e5cb8", secondary="#6b4fb3", accent="#9a5b00", foreground="#23262e",
    background="#fbfbf9", surface="#fbfbf9", panel="#ecece7", success="#2f7d32", warning="#9a5b00", error="#b3261e",
    boost="#ecece7", variables={"border": "#2e5cb8", "border-blurred": "#c9c9c2", "scrollbar": "#c9c9c2",
    "scrollbar-background": "#fbfbf9", "block-cursor-text-style": "bold", "input-selection-background": "#c9d8f5",
    "text-muted": "#6a707c", "text-disabled": "#9a9fa9"},
)  # fmt: skip
