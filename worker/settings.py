"""The worker's settings: one frozen object. Those of access are in `decisions.settings`."""

from typing import Annotated, Final, Literal

from pydantic import Field

from decisions.settings import AccessSettings
from featurestore.store.streams import STREAMS, Stream

JOIN_S: Final = 5.0
"""What a group needs to give partitions to a new member, beside the session timeout of the old one."""
_Positive = Annotated[int, Field(gt=0)]
_Seconds = Annotated[float, Field(gt=0)]


class Settings(AccessSettings):
    """What a worker is told from outside."""

    group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="classic (cooperative-sticky) or consumer (KIP-848, brokers from 4.0)"
    )
    decisions_topic: str = Field("decisions", description="Topic for every decision; empty: none is written")
    sessions_topic: str = Field("sessions", description="Topic for a summary per finished session; empty: none")
    dlq_topic: str = Field("clicks.dlq", description="Topic for records that are no events")
    batch_max: Annotated[int, Field(gt=0, le=20_000)] = Field(4_000, description="Most events in one batch")
    latency_target_ms: _Positive = Field(
        25, description="A batch is made smaller while it takes longer; Kafka gathers records for an eighth of it"
    )
    timers: Literal["live", "event", "off"] = Field(
        "live",
        description="Silence and session end: live (wall clock once caught up), event (event time only, for "
        "historical data: partitions are read in step), off (backfill)",
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
        0.5, description="Hold a partition when more than this share of its last 1,000 records is bad"
    )
    dlq_max_consecutive: _Positive = Field(
        500, description="Hold a partition after this many of its records in a row are bad"
    )
    drift_min_sessions: _Positive = Field(
        1_000, description="Sessions in a window below which drift from the training data is not judged"
    )
    stuck_after_s: _Seconds = Field(
        60.0,
        description="Exit when nothing was applied for this long while the log grows; "
        "never before a new Kafka client had a session timeout to join",
    )
    shutdown_s: _Seconds = Field(10.0, description="Longest clean shutdown")
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        9108, description="Port of /metrics, /live and /ready; 0 takes a free one"
    )
    metrics_host: str = Field(
        "0.0.0.0",  # noqa: S104 - Prometheus and the kubelet come from other hosts
        description="Address of that port, every interface by default. It asks for no password: let only Prometheus "
        "and the supervisor reach it, or give 127.0.0.1",
    )

    @property
    def renew_after_s(self) -> float:
        """How long a Kafka client may do nothing before a new one takes its place.

        Within a session timeout a coordinator may come back, and the client with it.
        """
        return max(self.stuck_after_s / 2, float(self.session_timeout_s))

    @property
    def leave_after_s(self) -> float:
        """How long nothing may get on before the process ends.

        The group keeps the old client for a session timeout: only then can the new one have its partitions.
        """
        return self.renew_after_s + max(self.stuck_after_s / 2, self.session_timeout_s + JOIN_S)

    def streams(self) -> list[tuple[Stream, str]]:
        """Each output stream that is wanted, and its topic."""
        topics = [(stream, str(getattr(self, stream.setting))) for stream in STREAMS]
        return [(stream, topic) for stream, topic in topics if topic]


TOPICS: Final = ("topic", *(stream.setting for stream in STREAMS), "dlq_topic")
"""The settings that name topics."""
