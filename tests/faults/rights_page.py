"""The lists of least rights in docs/guarantees.md, which is the one place that has them."""

import re
from pathlib import Path
from typing import Final

from tests.services.kafka_rights import Right

_PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "guarantees.md").read_text()


def kafka_rights(who: str) -> list[Right]:
    """What the page gives a process in Kafka."""
    return [Right(*rights) for name, *rights in _block("kafka") if name == who]


def redis_rights(who: str) -> list[str]:
    """What the page gives a process in Redis, as ``ACL SETUSER`` takes it."""
    [rule] = [rights for name, *rights in _block("redis") if name == who]
    return rule


def _block(name: str) -> list[list[str]]:
    """The words of a list's lines."""
    found = re.search(rf"<!-- rights: {name} -->\n```\n(.*?)```", _PAGE, re.DOTALL)
    assert found
    return [line.split() for line in found[1].strip().splitlines()]
