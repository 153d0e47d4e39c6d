"""The store for what a client is connected to."""

import redis

from featurestore.store.cluster.store import ClusterSessionStore
from featurestore.store.keys import Namespace
from featurestore.store.protocols import SessionStore
from featurestore.store.redis.connection import Client
from featurestore.store.redis.store import RedisSessionStore


def session_store(client: Client, namespace: Namespace) -> SessionStore:
    """One Redis, or a Redis Cluster."""
    if isinstance(client, redis.RedisCluster):
        return ClusterSessionStore(client, namespace)
    return RedisSessionStore(client, namespace)
