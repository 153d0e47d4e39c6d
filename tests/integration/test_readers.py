"""The three readers on real stores: the same ladder, also while the store is away."""

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from featurestore.contract.ids import IdKey
from tests.conftest import StartRedis
from tests.services import RedisServer

READERS = Path(__file__).parents[2] / "deploy" / "readers"
START = 1_800_000_000_000
SESSION = "s 'ü' $HOME *"
KEY = "0b" * 32

needs_shell = pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "redis-cli", "timeout", "sha256sum", "openssl"))),
    reason="no redis-cli, openssl or coreutils on the PATH",
)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on the PATH")

Show = Callable[[int], str]

NODE = """
import net from "node:net";
import { ShopperActions } from "%s";
// The least client there is; a shop uses its own.
const get = (key) => new Promise((resolve, reject) => {
  const socket = net.connect(%d, "127.0.0.1", () => socket.write(
    `*2\\r\\n$3\\r\\nGET\\r\\n$${Buffer.byteLength(key)}\\r\\n${key}\\r\\n`));
  socket.on("error", reject);
  let text = "";
  socket.on("data", (data) => {
    text += data;
    if (text.startsWith("$-1\\r\\n")) resolve(null);
    else if (text.endsWith("}\\r\\n")) resolve(text.slice(text.indexOf("\\r\\n") + 2, -2));
    else return;
    socket.end();
  });
});
const actions = new ShopperActions(get, { neutral: "neutral", timeoutMs: 5_000, nowMs: () => %d });
console.log(await actions.show(%s));
"""


def python_reader(server: RedisServer, id_key: str = "", **login: str) -> Show:
    spec = importlib.util.spec_from_file_location("shopper_actions_here", READERS / "python" / "shopper_actions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    now = START
    client = server.client(socket_timeout=5, socket_connect_timeout=5, **login)
    actions = module.ShopperActions(client, "neutral", id_key=id_key, now_ms=lambda: now)

    def show(ms: int) -> str:
        nonlocal now
        now = START + ms
        return str(actions.show(SESSION))

    return show


def shell_reader(server: RedisServer, folder: Path, *more: str, **environment: str) -> Show:
    def show(ms: int) -> str:
        own = {"NEUTRAL": "neutral", "CLICKSTAGE_KNOWN": str(folder), "NOW_MS": str(START + ms), "TIMEOUT_S": "10"}
        command = [str(READERS / "redis-cli" / "shopper-action"), SESSION, "-p", str(server.port), *more]
        done = subprocess.run(
            command, env=os.environ | own | environment, capture_output=True, text=True, check=True, timeout=30
        )
        assert not done.stderr
        return done.stdout.strip()

    return show


def put(client: "redis.Redis", seq: int, life_ms: int, action: str, source: str = "topic", key: str = SESSION) -> None:
    fields = {"v": 1, "session_id": key, "source": source, "seq": seq, "action": action, "expires_at": START + life_ms}
    client.set(f"decision:{key}", json.dumps(fields))


def climb(server: RedisServer, show: Show) -> None:
    """Every rung of the ladder."""
    with server.client() as client:
        assert show(0) == "neutral"
        put(client, 512 + 2**45, 900_000, "timed-discount")
        assert show(1) == "timed-discount"
        put(client, 512, 950_000, "older")
        assert show(2) == "timed-discount"
        client.set(f"decision:{SESSION}", "no document")
        assert show(3) == "timed-discount"
        put(client, 512 + 2**45, 900_000, "timed-discount")
        assert [show(899_999), show(900_000)] == ["timed-discount", "neutral"], "the offer has ended"
        put(client, 1, 9_000_000, "panel", "topic-created-anew")
        assert show(900_001) == "panel"
        client.delete(f"decision:{SESSION}")
        assert show(900_002) == "neutral", "ended, or consent withdrawn"
        put(client, 2, 2_000_000, "reviews", "topic-created-anew")
        assert show(900_003) == "reviews"
    server.stop()
    assert [show(1_999_999), show(2_000_000)] == ["reviews", "neutral"]


def test_python(own_redis: StartRedis, flavour: str) -> None:
    server = own_redis(flavour)
    climb(server, python_reader(server))


@needs_shell
def test_redis_cli(own_redis: StartRedis, flavour: str, tmp_path: Path) -> None:
    server = own_redis(flavour)
    climb(server, shell_reader(server, tmp_path / "known"))
    assert len(list((tmp_path / "known").iterdir())) == 1, "nothing half-written stays behind"
    server.start()
    whole = shell_reader(server, tmp_path / "known", WHOLE="1")
    with server.client() as client:
        put(client, 3, 3_000_000, "panel", "topic-created-anew")
        stored = json.loads(client.get(f"decision:{SESSION}") or b"")
    assert json.loads(whole(1)) == stored
    server.stop()
    assert json.loads(whole(2_999_999)) == stored, "the last known one"
    assert json.loads(whole(3_000_000)) is None


@needs_node
def test_node(redis_server: RedisServer, redis_client: "redis.Redis") -> None:
    """Its memory is tested without a store; here, that it reads what a store holds."""

    def show(ms: int) -> str:
        module = READERS / "node" / "shopper-actions.mjs"
        code = NODE % (module, redis_server.port, START + ms, json.dumps(SESSION))
        node = [shutil.which("node") or "node", "--input-type=module", "-e", code]
        return subprocess.run(node, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert show(0) == "neutral"
    put(redis_client, 512, 900_000, "timed-discount")
    assert [show(1), show(900_000)] == ["timed-discount", "neutral"]


@needs_shell
@pytest.mark.parametrize("flavour", ["redis"])
def test_hashed_ids_are_found(redis_server: RedisServer, redis_client: "redis.Redis", tmp_path: Path) -> None:
    put(redis_client, 512, 900_000, "panel", key=IdKey.of(KEY).session(SESSION))
    assert python_reader(redis_server, id_key=KEY)(0) == "panel"
    assert shell_reader(redis_server, tmp_path, CLICKSTAGE_ID_KEY=KEY)(0) == "panel"
    assert shell_reader(redis_server, tmp_path, CLICKSTAGE_DECISION_PREFIX="rehearsal:")(0) == "neutral"


@needs_shell
def test_the_documented_rights_suffice(own_redis: StartRedis, flavour: str, tmp_path: Path) -> None:
    """A reader may read decisions, and nothing else."""
    server = own_redis(flavour)
    page = (READERS.parents[1] / "docs" / "decisions-for-readers.md").read_text()
    rule = next(line for line in page.splitlines() if line.startswith("ACL SETUSER")).replace("PASSWORD", "secret")
    with server.client() as client:
        client.execute_command(*rule.split())
        put(client, 512, 900_000, "panel")
        client.set("cs:state", "not for readers")
    assert python_reader(server, username="shop", password="secret")(0) == "panel"
    with server.client(username="shop", password="secret") as shop:
        assert json.loads(shop.get(f"decision:{SESSION}") or b"")["action"] == "panel"
        for command in (("GET", "cs:state"), ("SET", f"decision:{SESSION}", "x"), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                shop.execute_command(*command)
        shop.close()
    assert shell_reader(server, tmp_path, "--user", "shop", REDISCLI_AUTH="secret")(0) == "panel"
