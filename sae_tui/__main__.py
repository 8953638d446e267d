"""`python -m sae_tui`, and what the command `sae-tui` calls."""

import sys

from sae_tui.cli import run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
