"""Settings that every process shares which meets Kafka and Redis: frozen, from flags, then environment, then defaults.

Every field is ``--name-with-dashes`` and ``CLICKSTAGE_NAME``; all errors are reported at once; secrets are hidden.
"""

import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo

from decisions.kafka_settings import PASSWORDS, pairs_of, voiding
from featurestore.contract.ids import IdKey
from featurestore.errors import SettingsError
from featurestore.store.keys import DECISION_PREFIX
from featurestore.store.redis.connection import check_url
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

PREFIX = "CLICKSTAGE_"
LIKE: Final = 0.7
"""How alike the names of a variable and a setting are, from 0 to 1, for one to be taken for the other."""
ELSEWHERE: Final = ("EDGE_", "EXPOSURES_", "TEST_", "FAULT_", "REQUIRE", "CACHE", "PICTURES")
"""Beginnings of variables that others read: the edge, the tests, the benchmarks."""
_Seconds = Annotated[float, Field(gt=0)]


class AccessSettings(BaseModel):
    """Where Kafka and Redis are, whose keys are whose, and which model and policy decide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: str = Field("localhost:9092", description="Kafka bootstrap servers, host:port, comma-separated")
    kafka_config: SecretStr = Field(
        SecretStr(""),
        description="More librdkafka settings, key=value, comma-separated (security.protocol=SASL_SSL, ...); "
        "values may hold commas. What would void a promise (acks=0, ...) is refused",
    )
    kafka_password: SecretStr = Field(
        SecretStr(""), description="sasl.password, kept out of every log; a flag shows in the list of processes"
    )
    kafka_key_password: SecretStr = Field(
        SecretStr(""), description="ssl.key.password, of the client's own key, kept out of every log"
    )
    kafka_password_file: Path | None = Field(None, description="File that holds sasl.password, for mounted secrets")
    redis: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis URL; rediss:// for TLS; sentinel://host:port,.../service; cluster://host:port,...",
    )
    redis_timeout_s: _Seconds = Field(
        2.0, description="A Redis call that takes longer has an unknown outcome and is repeated"
    )
    group: str = Field("clickstage", min_length=1, description="Consumer group; part of every key")
    env: str = Field(
        "prod",
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Deployment; part of every key. Groups and topics of one env share visitors' profiles and erasures",
    )
    topic: str = Field("clicks", description="Topic of click events")
    decision_prefix: str = Field(
        DECISION_PREFIX,
        pattern=r"^[A-Za-z0-9_.-]{1,64}:$",
        description="What the keys of decisions begin with; a second deployment on one Redis needs its own (one word "
        "and a colon); its readers and edge need the same",
    )
    topic_id: str = Field("", description="Overrides the topic id read from Kafka (brokers before 2.8, tests)")
    buckets: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="Buckets a partition, each fenced by itself; fixed for the life of the keys. On a Redis Cluster "
        "partitions x buckets should be 32 x its primaries or more",
    )
    write_version: Annotated[int, Field(ge=VERSION_BEFORE, le=RECORD_VERSION)] = Field(
        RECORD_VERSION,
        description="Version of the records that are written to Redis; both are read. The version before the newest, "
        "while a fleet is rolled out or back: then every worker can read what every other writes",
    )
    page_parameters: str = Field(
        "",
        description="Parameters of URLs that make no page of their own, beside those of the usual advertisers; "
        "comma-separated, an ending * stands for anything. All processes of a topic need the same",
    )
    id_key: SecretStr = Field(
        SecretStr(""),
        description="Key for hashing session and visitor ids at the edge (hex, 32 bytes); empty: ids as sent",
    )
    bundle: Path | None = Field(None, description="Model bundle; default: the newest that ships with Clickstage")
    policy: Path | None = Field(None, description="Policy file; default: the one that ships with Clickstage")
    outcomes: str = Field(
        "usual",
        description="Outcome heads whose probabilities decision documents carry: usual (order_rest where the bundle "
        "has it), all, none, or names, comma-separated; each is some 23 bytes a document. Conditions know every head. "
        "All processes of a topic need the same",
    )
    log_format: Literal["console", "json"] = Field("console", description="Layout of log lines")

    @field_validator("redis")
    @classmethod
    def _is_redis_url(cls, value: SecretStr) -> SecretStr:
        check_url(value.get_secret_value())
        return value

    @field_validator("decision_prefix")
    @classmethod
    def _is_nobodys(cls, value: str) -> str:
        if value == "cs:":
            raise ValueError("cs: is where the workers keep their own keys; take another word")
        return value

    @field_validator("id_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        try:
            IdKey.of(value.get_secret_value())
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("kafka_config")
    @classmethod
    def _is_pairs(cls, value: SecretStr) -> SecretStr:
        if problems := voiding(pairs_of(value.get_secret_value())):
            raise ValueError("; ".join(problems))
        return value

    @field_validator("kafka_password_file")
    @classmethod
    def _can_be_read(cls, value: Path | None) -> Path | None:
        if value is not None:
            _secret_in(value)
        return value

    @classmethod
    def load(cls, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Self:
        """Settings from flags over environment over defaults.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            if (variable := PREFIX + name.upper()) in environ:
                values[name] = environ[variable]
            if flags.get(name) is not None:
                values[name] = flags[name]
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_said(e["loc"], e["msg"]) for e in error.errors(include_input=False)]
            raise SettingsError("settings are wrong:\n  " + "\n  ".join(lines)) from None

    def kafka_client(self) -> dict[str, str]:
        """What every Kafka client is configured with."""
        pairs = pairs_of(self.kafka_config.get_secret_value())
        if self.kafka_password_file is not None:
            pairs["sasl.password"] = _secret_in(self.kafka_password_file)
        for name, setting in PASSWORDS.items():
            if password := getattr(self, setting).get_secret_value():
                pairs[name] = password
        return {"bootstrap.servers": self.kafka, **pairs}


def unknown_variables(
    environ: Mapping[str, str], settings: type[AccessSettings], elsewhere: tuple[str, ...] = ELSEWHERE
) -> list[str]:
    """A line for each environment variable that looks like a setting written wrongly.

    Args:
        environ: the environment.
        settings: those of the process that asks.
        elsewhere: beginnings of the names that other processes read.

    >>> unknown_variables({"CLICKSTAGE_REDIS_URL": "redis://h"}, AccessSettings)
    ['CLICKSTAGE_REDIS_URL is not a setting: did you mean CLICKSTAGE_REDIS?']
    """
    known = [name.upper() for name in settings.model_fields]
    lines = []
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if name != variable and name not in known and not name.startswith(elsewhere):
            meant = get_close_matches(name, known, 1, LIKE)
            lines += [f"{variable} is not a setting: did you mean {PREFIX}{meant[0]}?"] if meant else []
    return lines


def add_options(group: argparse._ArgumentGroup, settings: type[AccessSettings], only: Sequence[str] = ()) -> None:
    """One option a setting, or of ``only`` these; its help says the default and the choices."""
    for name, field in settings.model_fields.items():
        if only and name not in only:
            continue
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar="{%s}" % ",".join(map(str, choices)) if choices else "VALUE",  # noqa: UP031 - braces
            help=((field.description or "") + _default(field)).replace("%", "%%"),
        )


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value in {None, ""} else f" (default: {value})"


def table(settings: type[AccessSettings]) -> str:
    """The settings as a Markdown table; README's is generated by this."""
    rows = ["| flag | environment | default | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        shown = f"`{default}`" if default not in ("", None) else ""
        rows.append(f"| `--{name.replace('_', '-')}` | `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def _secret_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read ({type(error).__name__}): mount the secret, or correct the path") from None


def _said(place: tuple[int | str, ...], message: str) -> str:
    """One problem; without a place it is about several settings, and names them itself."""
    if not place:
        return message
    name = str(place[0])
    return f"{PREFIX}{name.upper()} (--{name.replace('_', '-')}): {message}"
