"""`make keys`: writes the README's table of keys from the actions table; a test holds them equal."""

from pathlib import Path

from sae_tui import keys

README = Path(__file__).parent.parent / "README.md"
MARK = "<!-- keys -->"


def table() -> str:
    """Every action, by section, as Markdown."""
    lines = []
    for section, title in keys.SECTIONS.items():
        lines += ["", f"| {title} | |", "| --- | --- |"]
        for action in keys.actions(section):
            shown = keys.shown_keys(action.keys.split(",")).replace("|", "\\|")
            lines.append(f"| `{shown}` | {action.help} |")
    return "\n".join(lines).strip()


def main() -> None:
    """Replace what stands between the marks."""
    head, _, rest = README.read_text(encoding="utf-8").partition(MARK)
    _, _, tail = rest.partition(MARK)
    README.write_text(f"{head}{MARK}\n{table()}\n{MARK}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
