"""Settings: one frozen object, from flags, then environment, then defaults that work on localhost.

Every field is ``--name-with-dashes`` and ``CLICKSTAGE_NAME``; all errors are reported at once; secrets are hidden.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from featurestore.contract.ids import IdKey
from featurestore.errors import SettingsError
from featurestore.store.redis.connection import CLUSTER_SCHEMES, SCHEMES, cluster_address
from featurestore.store.streams import STREAMS, Stream

PREFIX = "CLICKSTAGE_"
_Positive = Annotated[int, Field(gt=0)]
_Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """What a worker is told from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: str = Field("localhost:9092", description="Kafka bootstrap servers, host:port, comma-separated")
    kafka_config: str = Field(
        "", description="More librdkafka settings, key=value, comma-separated (security.protocol=SASL_SSL, ...)"
    )
    kafka_password: SecretStr = Field(SecretStr(""), description="sasl.password, kept out of every log")
    redis: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis URL; rediss:// for TLS; sentinel://host:port,.../service; cluster://host:port,...",
    )
    redis_timeout_s: _Seconds = Field(
        2.0, description="A Redis call that takes longer has an unknown outcome and is repeated"
    )
    group: str = Field("clickstage", min_length=1, description="Consumer group; part of every key")
    env: str = Field("prod", pattern=r"^[A-Za-z0-9_.-]+$", description="Deployment; part of every key")
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="classic (cooperative-sticky) or consumer (KIP-848, brokers from 4.0)"
    )
    topic: str = Field("clicks", description="Topic of click events")
    decisions_topic: str = Field("decisions", description="Topic for every decision; empty: none is written")
    sessions_topic: str = Field("sessions", description="Topic for a summary per finished session; empty: none")
    dlq_topic: str = Field("clicks.dlq", description="Topic for records that are no events")
    bundle: Path | None = Field(None, description="Model bundle; default: the newest that ships with Clickstage")
    policy: Path | None = Field(None, description="Policy file; default: the one that ships with Clickstage")
    batch_max: Annotated[int, Field(gt=0, le=20_000)] = Field(4_000, description="Most events in one batch")
    latency_target_ms: _Positive = Field(
        25, description="A batch is made smaller while it takes longer; Kafka gathers records for an eighth of it"
    )
    timers: Literal["live", "event", "off"] = Field(
        "live",
        description="Silence and session end: live (wall clock once caught up), event (event time only, for "
        "historical data), off (backfill)",
    )
    start: Literal["earliest", "latest"] = Field("earliest", description="Where a group without any offset begins")
    rebuild_horizon_s: _Positive = Field(
        86_400, description="How far to rewind when Redis has lost a partition's state; at least the longest session"
    )
    session_timeout_s: _Positive = Field(30, description="Kafka forgets a silent worker after this")
    max_poll_interval_s: _Positive = Field(120, description="Kafka takes a stuck worker's partitions after this")
    commit_every_s: _Seconds = Field(1.0, description="How often offsets are committed to Kafka (for lag tools)")
    verify_every_s: _Seconds = Field(1.0, description="How often an idle partition checks its fence")
    dlq_max_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Stop when more than this share of the last 1,000 records is bad"
    )
    dlq_max_consecutive: _Positive = Field(500, description="Stop after this many bad records in a row")
    stuck_after_s: _Seconds = Field(60.0, description="Exit when nothing was applied for this long while the log grows")
    shutdown_s: _Seconds = Field(10.0, description="Longest clean shutdown")
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        9108, description="Port of /metrics, /live and /ready; 0 takes a free one"
    )
    metrics_host: str = Field("0.0.0.0", description="Address of that port")  # noqa: S104 - Prometheus scrapes from another host
    log_format: Literal["console", "json"] = Field("console", description="Layout of log lines")
    id_key: SecretStr = Field(
        SecretStr(""),
        description="Key for hashing session and visitor ids at the edge (hex, 32 bytes); empty: ids as sent",
    )
    buckets: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="Buckets a partition, each fenced by itself; fixed for the life of the keys. On a Redis Cluster "
        "partitions x buckets should be 32 x its primaries or more",
    )
    topic_id: str = Field("", description="Overrides the topic id read from Kafka (brokers before 2.8, tests)")

    @field_validator("redis")
    @classmethod
    def _is_redis_url(cls, value: SecretStr) -> SecretStr:
        scheme = urlsplit(value.get_secret_value()).scheme
        if scheme not in SCHEMES:
            raise ValueError(f"must start with {', '.join(f'{known}://' for known in SCHEMES)}")
        if scheme in CLUSTER_SCHEMES:
            cluster_address(value.get_secret_value())
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
    def _is_pairs(cls, value: str) -> str:
        if any("=" not in pair for pair in value.split(",") if pair):
            raise ValueError("must be key=value pairs separated by commas")
        if "password" in value:
            raise ValueError("must not hold a password: give it as kafka_password")
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
            lines = [
                f"{PREFIX}{str(e['loc'][0]).upper()} (--{str(e['loc'][0]).replace('_', '-')}): {e['msg']}"
                for e in error.errors(include_input=False)
            ]
            raise SettingsError("settings are wrong:\n  " + "\n  ".join(lines)) from None

    def streams(self) -> list[tuple[Stream, str]]:
        """Each output stream that is wanted, and its topic."""
        topics = [(stream, str(getattr(self, stream.setting))) for stream in STREAMS]
        return [(stream, topic) for stream, topic in topics if topic]

    def kafka_client(self) -> dict[str, str]:
        """What every Kafka client is configured with."""
        pairs = dict(pair.strip().split("=", 1) for pair in self.kafka_config.split(",") if pair.strip())
        if password := self.kafka_password.get_secret_value():
            pairs["sasl.password"] = password
        return {"bootstrap.servers": self.kafka, **pairs}


TOPICS: Final = ("topic", *(stream.setting for stream in STREAMS), "dlq_topic")
"""The settings that name topics."""


def table() -> str:
    """The settings as a Markdown table; README's is generated by this."""
    rows = ["| flag | environment | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        shown = f"`{default}`" if default not in ("", None) else ""
        rows.append(f"| `--{name.replace('_', '-')}` | `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)
