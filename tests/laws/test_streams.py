"""What holds for every output stream: it has a topic, a schema and words, and an outbox keeps it to the byte."""

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from decisions.effects import PRODUCERS
from decisions.engine import Engine
from decisions.intake import Records, decode, plan
from featurestore.errors import UnknownStream
from featurestore.store.memory import MemoryStore
from featurestore.store.outbox import Output
from featurestore.store.outbox import decode as decode_outbox
from featurestore.store.outbox import encode as encode_outbox
from featurestore.store.streams import DECISIONS, SESSIONS, STREAMS, Stream, stream_of
from worker.checks.recompute import engine_for
from worker.settings import TOPICS, Settings

ROOT = Path(__file__).parents[2]
EVERY = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
T = 1_700_000_000_000


@pytest.fixture(scope="module")
def outputs() -> list[Output]:
    """What the shipped engine produces for shoppers who come back after an hour."""
    engine: Engine = engine_for(None, None, "topic")
    values: list[bytes | None] = [
        json.dumps(
            {"session_id": f'"{i % 3}é', "type": "add_to_cart", "ts": T + 1_300_000 * i, "page": f"/{i}"}
        ).encode()
        for i in range(12)
    ]
    batch = plan(decode([Records(0, values, list(range(12)), [-1] * 12)]), 1, lambda _: -1)
    result = engine.run(batch, engine.loader(MemoryStore(engine.namespace)).load(batch), T)
    return [output for part in result.outputs for output in part]


def test_codes_and_names_are_unique() -> None:
    for part in ("code", "name", "setting"):
        assert len({getattr(stream, part) for stream in STREAMS}) == len(STREAMS)


@EVERY
def test_a_stream_has_a_topic_a_schema_and_words(stream: Stream) -> None:
    """Its setting exists and may be empty, its schema is published, README and the script name its topic."""
    assert stream_of(stream.code) is stream
    assert stream.setting in TOPICS
    assert Settings.model_fields[stream.setting].default == stream.name
    assert (stream, stream.name) in Settings().streams()
    assert stream.code not in {s.code for s, _ in Settings.load({stream.setting: ""}, {}).streams()}
    assert (ROOT / f"docs/schemas/{stream.schema}.schema.json").exists()
    assert f"| `{stream.name}` | `{stream.key}` |" in (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / "deploy/kafka/create-topics.sh").read_text(encoding="utf-8")
    assert re.search(rf"^create {re.escape(stream.name)} ", script, re.MULTILINE)
    assert stream.code in {DECISIONS, SESSIONS, *PRODUCERS}


@EVERY
def test_documents_are_of_the_published_schema_and_keyed_as_it_says(stream: Stream, outputs: list[Output]) -> None:
    schema = json.loads((ROOT / f"docs/schemas/{stream.schema}.schema.json").read_text(encoding="utf-8"))
    mine = [output for output in outputs if output.stream == stream.code]
    assert mine
    for output in mine:
        for key, value in zip(output.keys, output.values, strict=True):
            document = msgspec.json.decode(value)
            jsonschema.validate(document, schema)
            assert document[stream.key] == key
            assert {"source", "session_id", "seq"} <= document.keys(), "what tells it from any other"


@EVERY
def test_an_outbox_gives_back_what_was_put_in(stream: Stream, outputs: list[Output]) -> None:
    """To the byte, packed or as it is."""
    mine = [output for output in outputs if output.stream == stream.code]
    assert all((output.packed is not None) == (stream.codec == "packed") for output in mine)
    offset, back = decode_outbox(encode_outbox(7, mine))
    assert offset == 7
    assert [(o.stream, list(o.keys), list(o.values)) for o in back] == [
        (o.stream, list(o.keys), list(o.values)) for o in mine
    ]


def test_a_stream_of_a_later_release_is_not_mistaken_for_another() -> None:
    with pytest.raises(UnknownStream, match="output stream 63 is unknown to this release"):
        decode_outbox(encode_outbox(0, [Output(63, ["s"], [b"{}"])]))
