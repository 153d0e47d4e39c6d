"""More settings of librdkafka, as text: ``key=value`` pairs, and which of them would void a promise.

Workers and edges read and write with settings that their guarantees rest on. What is given beside them may say how to
reach Kafka and how to log in; it may not say that a record counts as written before it is safe.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

PASSWORDS: Final = {"sasl.password": "kafka_password", "ssl.key.password": "kafka_key_password"}
"""librdkafka's settings that are secrets, and ours that hold them."""

_PAIR: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9._]*)=(.*)", re.DOTALL)
_LOSES: Final = "records could be lost or written twice"
_OWN: Final = "Clickstage depends on its own value"


def _is_one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in values


_REFUSED: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    **dict.fromkeys(("acks", "request.required.acks"), (_is_one_of("all", "-1"), f"must be all: {_LOSES}")),
    "enable.idempotence": (_is_one_of("true"), f"must be true: {_LOSES}"),
    **dict.fromkeys(("retries", "message.send.max.retries"), (_is_one_of(), f"must be left out: {_LOSES}")),
    **dict.fromkeys(("message.timeout.ms", "delivery.timeout.ms"), (_is_one_of("0"), f"must be left out: {_LOSES}")),
    **dict.fromkeys(
        ("max.in.flight", "max.in.flight.requests.per.connection"), (_is_one_of("1"), f"must be left out: {_LOSES}")
    ),
    "partitioner": (_is_one_of("murmur2_random"), "must be murmur2_random: a session would be split over partitions"),
    "isolation.level": (_is_one_of("read_committed"), "must be read_committed: aborted records would count"),
    **dict.fromkeys(
        (
            "auto.commit.enable",
            "auto.offset.reset",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.partition.eof",
            "transactional.id",
        ),
        (_is_one_of(), f"must be left out: {_OWN}"),
    ),
    **dict.fromkeys(
        ("bootstrap.servers", "metadata.broker.list"), (_is_one_of(), "must be left out: give it as kafka")
    ),
    "group.id": (_is_one_of(), "must be left out: give it as group"),
    **{name: (_is_one_of(), f"must be left out: give it as {setting}") for name, setting in PASSWORDS.items()},
}
"""Which values may be given, and what to do instead."""


def pairs_of(text: str) -> dict[str, str]:
    """librdkafka's settings out of ``key=value,key=value``; what follows a comma and is no pair goes on with the value.

    Raises:
        ValueError: it does not begin with a pair. No part of it stands in the message, since it may be a secret.

    >>> pairs_of("security.protocol=SSL,ssl.cipher.suites=A,B")
    {'security.protocol': 'SSL', 'ssl.cipher.suites': 'A,B'}
    """
    pairs: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        if found := _PAIR.fullmatch(part):
            last = found[1]
            pairs[last] = found[2].strip()
        elif last:
            pairs[last] += f",{part}"
        elif part.strip():
            raise ValueError("must be key=value pairs separated by commas")
    return {name: value.rstrip(", ") for name, value in pairs.items()}


def voiding(pairs: Mapping[str, str]) -> list[str]:
    """What must not be set so, and why; one line a setting.

    >>> voiding({"acks": "0", "security.protocol": "SSL"})
    ['acks must be all: records could be lost or written twice']
    """
    return [
        f"{name} {_REFUSED[name][1]}"
        for name, value in pairs.items()
        if name in _REFUSED and not _REFUSED[name][0](value)
    ]


def refused_setting(said: str) -> str:
    """Advice from what librdkafka said about a setting; names the setting, never its value.

    >>> refused_setting('No such configuration property: "securty.protocol"')
    'CLICKSTAGE_KAFKA_CONFIG: the Kafka client does not know securty.protocol, or refuses its value'
    """
    named = re.search(r'propert\w*:? "([\w.]+)"', said)
    what = f"does not know {named[1]}, or refuses its value" if named else "refuses a setting or its value"
    return f"CLICKSTAGE_KAFKA_CONFIG: the Kafka client {what}"
