"""Addresses of Redis; nothing here connects."""

from typing import Any

import pytest

from featurestore.store.redis.connection import REDIS_PORT, SENTINEL_PORT, cluster_address, connect, is_cluster


def test_no_client_repeats_a_command_on_its_own() -> None:
    for url in ("redis://localhost:6379/0", "sentinel://one/shop"):
        options = connect(url, timeout_s=1.5).connection_pool.connection_kwargs
        assert options["retry"].get_retries() == 0
        assert options["socket_timeout"] == 1.5


def test_sentinels_are_read_from_the_address() -> None:
    pool: Any = connect("sentinel://user:p%40ss@one:1,two/shop/3", timeout_s=1).connection_pool
    assert pool.service_name == "shop"
    asked = [client.connection_pool.connection_kwargs for client in pool.sentinel_manager.sentinels]
    assert [(kwargs["host"], kwargs["port"]) for kwargs in asked] == [("one", 1), ("two", SENTINEL_PORT)]
    assert pool.connection_kwargs["db"] == 3
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("user", "p@ss")


def test_a_service_needs_its_name() -> None:
    with pytest.raises(ValueError, match="name of the service"):
        connect("sentinel://one:1", timeout_s=1)


def test_nodes_of_a_cluster_are_read_from_the_address() -> None:
    assert is_cluster("cluster://one")
    assert not is_cluster("redis://one")
    nodes, options = cluster_address("cluster://user:p%40ss@one:1,[::1]:2,three")
    assert nodes == [("one", 1), ("::1", 2), ("three", REDIS_PORT)]
    assert options == {"username": "user", "password": "p@ss"}
    nodes, options = cluster_address("clusters://:secret@one?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    assert nodes == [("one", REDIS_PORT)]
    assert options == {"password": "secret", "ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}


@pytest.mark.parametrize(
    "url", ["cluster://", "cluster://one,,two", "cluster://one/3", "cluster://one:x", "redis://one"]
)
def test_a_wrong_address_of_a_cluster_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        cluster_address(url)
