"""Settings of the edge: those that it shares with the worker, and its own, all named ``edge_...``."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator, model_validator

from decisions.settings import ELSEWHERE as OTHERS
from decisions.settings import AccessSettings
from edge.requests import Network, networks

ELSEWHERE: Final = ("DLQ_", "DECISIONS_", "SESSION", "METRICS_", *(name for name in OTHERS if name != "EDGE_"))
"""Beginnings of variables that others read: the worker, the tests, the benchmarks."""
METRICS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the Prometheus client: where processes keep figures that are to be added up."""
_Positive = Annotated[int, Field(gt=0)]
_Seconds = Annotated[float, Field(gt=0)]
_Rate = Annotated[float, Field(ge=0)]


class EdgeSettings(AccessSettings):
    """What an edge is told from outside."""

    edge_host: str = Field("127.0.0.1", description="Address to listen at; anything but loopback needs edge_keys")
    edge_port: Annotated[int, Field(ge=1, le=65_535)] = Field(8200, description="Port to listen at")
    edge_processes: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Processes behind the port")
    edge_keys: Path | None = Field(
        None,
        description="File of write keys, origins and signing keys; default: the key 'demo' for pages of this machine",
    )
    edge_secret: SecretStr = Field(
        SecretStr(""), description="Signs the demo key's tokens (hex); default: made at the start"
    )
    edge_spool: Path | None = Field(
        None, description="Directory where events wait while Kafka is away; default: none, events are refused with 503"
    )
    edge_spool_mb: _Positive = Field(1_024, description="Most that the spool may hold")
    edge_patience_s: _Seconds = Field(2.0, description="Kafka counts as away when it has not taken an event after this")
    edge_redis_wait_s: _Seconds = Field(0.25, description="Redis counts as away when it has not answered after this")
    edge_trusted_hops: str = Field("", description="Networks of proxies whose X-Forwarded-For counts, comma-separated")
    edge_metrics_from: str = Field(
        "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", description="Networks that may read /metrics"
    )
    edge_key_rate: _Rate = Field(20_000, description="Events a second of one write key, per process; 0: no limit")
    edge_address_rate: _Rate = Field(500, description="Events a second of one address, per process; 0: no limit")
    edge_session_rate: _Rate = Field(50, description="Events a second of one session, per process; 0: no limit")
    edge_burst_s: _Seconds = Field(4.0, description="What a rate allows in this many seconds may come at once")
    edge_body_kb: _Positive = Field(512, description="Largest body, sent or inflated")
    edge_body_s: _Seconds = Field(10.0, description="A body must arrive within this")
    edge_events_most: _Positive = Field(500, description="Most events in a request")
    edge_token_s: _Positive = Field(86_400, description="Life of a session token")
    edge_streams_most: _Positive = Field(5_000, description="Open streams of a process")
    edge_heartbeat_s: _Seconds = Field(15.0, description="Pause between two heartbeats of a stream")
    edge_tls_cert: Path | None = Field(None, description="Certificate (PEM); default: no TLS, a proxy does it")
    edge_tls_key: Path | None = Field(None, description="Its key (PEM)")
    edge_storefront: bool = Field(
        False, description="Serve the demonstration shop at / and explain its sessions; for the demo key only"
    )
    exposures_topic: str = Field("exposures", description="Topic for what was really shown; empty: not collected")

    @field_validator("edge_trusted_hops", "edge_metrics_from")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks(value)
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> "EdgeSettings":
        if self.edge_keys is None and self.edge_host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError("edge_keys: the demo key is for this machine only; give a file of keys (docs/edge.md)")
        if self.edge_storefront and self.edge_keys is not None:
            raise ValueError("edge_storefront: the demonstration shop is for the demo key; leave edge_keys out")
        if (self.edge_tls_cert is None) != (self.edge_tls_key is None):
            raise ValueError("edge_tls_cert and edge_tls_key go together")
        return self

    @property
    def trusted_hops(self) -> list[Network]:
        """Proxies that are believed."""
        return networks(self.edge_trusted_hops)

    @property
    def metrics_from(self) -> list[Network]:
        """Who may read the metrics."""
        return networks(self.edge_metrics_from)
