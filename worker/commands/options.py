"""Settings as command-line options."""

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Final

from decisions.settings import add_options, unknown_variables
from worker.settings import Settings

log = logging.getLogger(__name__)

KAFKA: Final = ("kafka", "kafka_config", "kafka_password", "kafka_key_password", "kafka_password_file")
"""The settings that any command needs to reach Kafka."""


def positive(text: str) -> int:
    """The type of an option that counts something."""
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def seconds(text: str) -> float:
    """The type of an option that is a duration."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def add_settings(parser: argparse.ArgumentParser, only: Sequence[str] = ()) -> None:
    """One option a setting, or of ``only`` these."""
    group = parser.add_argument_group("settings", "each is also an environment variable CLICKSTAGE_NAME")
    add_options(group, Settings, only)


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that the options, the environment and the defaults give.

    Raises:
        SettingsError: listing everything that is wrong.
    """
    for line in unknown_variables(os.environ, Settings):
        log.warning(line)
    return Settings.load({name: getattr(args, name, None) for name in Settings.model_fields}, os.environ)
