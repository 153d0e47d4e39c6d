"""Real servers for tests, faults and benchmarks: Apache Kafka, Redis, Valkey, Prometheus.

Each runs on a random port, in a folder of its own.

    with KafkaBroker(directory) as broker, RedisServer("valkey", directory) as store:
        create_topics(broker.bootstrap, {"clicks": 4})
        broker.kill9(); broker.start()          # same port, same data

Nothing here needs pytest; the fixtures around it are in `tests/conftest.py`. A server that cannot
be had on this machine raises `Unavailable` with the reason, and what to install.
"""

from tests.services.kafka_broker import KafkaBroker, find_kafka, find_own_kafka
from tests.services.kafka_topics import create_topics, delete_topics, produce_bomb, read_topic, topic_id
from tests.services.process import Unavailable, free_port
from tests.services.prometheus import PrometheusServer, promtool
from tests.services.redis_cluster import ClusterServers
from tests.services.redis_server import FLAVOURS, RedisServer

__all__ = [
    "FLAVOURS",
    "ClusterServers",
    "KafkaBroker",
    "PrometheusServer",
    "RedisServer",
    "Unavailable",
    "create_topics",
    "delete_topics",
    "find_kafka",
    "find_own_kafka",
    "free_port",
    "produce_bomb",
    "promtool",
    "read_topic",
    "topic_id",
]
