"""The settings of the worker's consumer."""

from typing import Any

from featurestore.errors import SettingsError
from worker.settings import Settings


def consumer_config(settings: Settings) -> dict[str, Any]:
    """The consumer's settings; each one that matters for the promise is said in docs/guarantees.md."""
    config: dict[str, Any] = {
        "group.id": settings.group,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # a gap is counted and logged, never skipped in silence
        "enable.partition.eof": True,  # tells the timers that a partition has been read to its end
        "max.poll.interval.ms": settings.max_poll_interval_s * 1000,
        # Of batches as they were sent. The client unpacks all that one fetch brings, whatever is queued already.
        "fetch.max.bytes": 1_048_576,
        "queued.max.messages.kbytes": 2_048,
        "queued.min.messages": 5_000,
        "fetch.queue.backoff.ms": 5,
        # A fetch per record would cost the broker more than the work on them: it may gather a little first.
        "fetch.min.bytes": 65_536,
        "fetch.wait.max.ms": max(settings.latency_target_ms // 8, 1),
        "fetch.error.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        "allow.auto.create.topics": False,
    }
    if settings.group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = settings.session_timeout_s * 1000
        config["heartbeat.interval.ms"] = max(settings.session_timeout_s * 1000 // 10, 100)
    extra = settings.kafka_client()
    clash = sorted(config.keys() & extra.keys())
    if clash:
        raise SettingsError(f"kafka_config must not set {', '.join(clash)}: Clickstage depends on its own values")
    return {**config, **extra}
