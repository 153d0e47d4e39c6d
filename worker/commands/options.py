"""Settings as command-line options."""

import argparse
import os
from collections.abc import Sequence

from worker.settings import Settings


def add_settings(parser: argparse.ArgumentParser, only: Sequence[str] = ()) -> None:
    """One option a setting, or of ``only`` these."""
    group = parser.add_argument_group("settings", "each is also an environment variable CLICKSTAGE_NAME")
    for name, field in Settings.model_fields.items():
        if only and name not in only:
            continue
        text = (field.description or "").replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="VALUE", help=text)


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that the options, the environment and the defaults give.

    Raises:
        SettingsError: listing everything that is wrong.
    """
    return Settings.load({name: getattr(args, name, None) for name in Settings.model_fields}, os.environ)
