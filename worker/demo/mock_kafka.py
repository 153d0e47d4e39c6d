"""Kafka in this process: librdkafka's mock cluster, out of the library that confluent-kafka ships.

It keeps 5 MiB a partition and forgets all at exit. confluent-kafka does not wrap it, so ctypes does.
"""

import ctypes
import ctypes.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import confluent_kafka

from featurestore.errors import SettingsError

_PRODUCER: Final = 0


def _library() -> ctypes.CDLL:
    package = Path(confluent_kafka.__file__).parent
    folders = (package.parent / "confluent_kafka.libs", package / ".dylibs", package)
    found = [path for folder in folders for path in sorted(folder.glob("librdkafka*")) if path.is_file()]
    name = str(found[0]) if found else ctypes.util.find_library("rdkafka")
    if name is None:
        raise SettingsError(
            "librdkafka was not found beside confluent-kafka; install the confluent-kafka wheel from PyPI"
        )
    return ctypes.CDLL(name)


class MockKafka:
    """A broker with topics, until `close`."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        lib = self._lib = _library()
        lib.rd_kafka_conf_new.restype = ctypes.c_void_p
        lib.rd_kafka_new.restype = ctypes.c_void_p
        lib.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        lib.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
        lib.rd_kafka_conf_set.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t
        ]  # fmt: skip
        lib.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
        lib.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
        lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        lib.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
        lib.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        text = ctypes.create_string_buffer(512)
        config = lib.rd_kafka_conf_new()
        lib.rd_kafka_conf_set(config, b"test.mock.num.brokers", b"1", text, len(text))
        lib.rd_kafka_conf_set(config, b"log_level", b"3", text, len(text))
        self._client = lib.rd_kafka_new(_PRODUCER, config, text, len(text))
        if not self._client:
            raise SettingsError(f"the embedded Kafka did not start: {text.value.decode()}")
        self._cluster = lib.rd_kafka_handle_mock_cluster(self._client)
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 100)
        for name, partitions in topics.items():
            lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        self.bootstrap: str = lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def close(self) -> None:
        """Stop the broker."""
        self._lib.rd_kafka_destroy(self._client)
