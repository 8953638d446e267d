"""What the verbs that train take: a configuration or a preset, and fields that are changed in it."""

import argparse
from typing import Any

from core import config as configs
from core.errors import UsageError
from sae_tui.commands.output import add_set


def add(verb: argparse.ArgumentParser) -> None:
    """The options --preset and --set; the verb has an argument `config` besides."""
    known = ", ".join(configs.presets())
    verb.add_argument("--preset", metavar="P", help=f"a shipped configuration instead of a file: {known}")
    add_set(verb)


def read(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The name of the file or preset, and its values with the changed fields.

    Raises UsageError unless there is one of both, and ConfigError where it cannot be read.
    """
    if (args.config is None) == (args.preset is None):
        raise UsageError(
            f"{args.verb} takes a configuration file or --preset, one of them",
            hint="for example --preset demo; `sae-tui config --example` prints a file",
        )
    values = configs.preset(args.preset) if args.preset else configs.read_values(args.config)
    return args.preset or args.config.stem.lower(), configs.with_settings(values, args.settings)
