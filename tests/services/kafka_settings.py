"""Settings of a single test broker: fast groups, no replication, nothing created by accident."""

from pathlib import Path

COMMON = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # One broker: every internal topic has one copy, and few partitions, since each is a file to open at the start.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # A missing topic must be an error in tests as in production.
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    # Groups form at once, and members may be declared dead after a second.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "200",
    # After kill -9 the controller waits for the old broker's session before it lets the new one in.
    "broker.heartbeat.interval.ms": "300",
    "broker.session.timeout.ms": "2000",
    # Tests publish values of 1 MB on purpose.
    "message.max.bytes": str(4 * 1024 * 1024),
    # Retention is tested, so it acts within seconds; the cleaner's default buffer would be a quarter of the heap.
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
    "log.cleaner.threads": "1",
    "controlled.shutdown.enable": "false",
}


def settings(port: int, controller_port: int, data: Path) -> dict[str, str]:
    """The broker's properties for these ports and this data folder."""
    return COMMON | {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "log.dirs": str(data),
    }
