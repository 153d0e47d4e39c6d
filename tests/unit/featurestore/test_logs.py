"""Log lines: structure, rate limit, and what never appears."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from featurestore.logs import MAX_TEXT, REDACTED, ConsoleFormatter, JsonFormatter, RateLimit, configure
from tests.services.process import wait_for


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str = "Redis does not answer", level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "worker.pipeline.loop",
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": message,
            **extra,
        }
    )


def as_json(item: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter().format(item)
    assert "\n" not in line
    loaded: dict[str, object] = json.loads(line)
    return loaded


def test_extra_becomes_fields() -> None:
    line = as_json(record(created=1_767_323_045.678, retries=3, waited_s=1.5, reason="timeout", lag=None))
    assert line == {
        "ts": "2026-01-02T03:04:05.678Z",
        "level": "warning",
        "logger": "worker.pipeline.loop",
        "message": "Redis does not answer",
        "retries": 3,
        "waited_s": 1.5,
        "reason": "timeout",
        "lag": None,
    }


def test_the_console_says_the_same_on_one_line() -> None:
    line = ConsoleFormatter().format(record("two\nlines", created=1_767_323_045.678, retries=3))
    assert line == "03:04:05.678 warning  two lines retries=3"


@pytest.mark.parametrize("name", ["session_id", "visitor_id", "event_id", "key", "value", "payload", "Session"])
def test_fields_that_identify_a_shopper_are_redacted(name: str) -> None:
    item = record()
    setattr(item, name, "s-1")
    assert as_json(item)[name] == REDACTED


def test_an_error_shows_its_type_and_place_but_not_its_message() -> None:
    try:
        json.loads("secret of a shopper")
    except ValueError as error:
        item = record(exc_info=(type(error), error, error.__traceback__))
    line = as_json(item)
    assert line["error"] == "JSONDecodeError"
    assert "test_logs.py" in str(line["stack"])
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 10_000, object(), "\ud800"])
def test_any_value_gives_a_bounded_line_of_valid_json(value: object) -> None:
    assert len(str(as_json(record(field=value))["field"])) <= MAX_TEXT


def test_repeated_lines_are_held_back_and_counted() -> None:
    now = [0.0]
    held: list[int] = []
    limit = RateLimit(burst=2, period_s=60.0, clock=lambda: now[0], on_suppressed=lambda: held.append(1))
    assert [limit.filter(record()) for _ in range(5)] == [True, True, False, False, False]
    assert len(held) == 3
    assert limit.filter(record("another message"))
    assert limit.filter(record(level=logging.ERROR))
    now[0] = 60.0
    late = record()
    assert limit.filter(late)
    assert as_json(late)["suppressed"] == 3


def test_lines_of_kafkas_client_do_not_hide_each_other(caplog: pytest.LogCaptureFixture) -> None:
    """All have one template; the same text with other figures is the same line."""
    producer = Producer({"bootstrap.servers": "127.0.0.1:1"}, logger=logging.getLogger("client"))
    assert wait_for(lambda: producer.poll(0.01) == 0 and bool(caplog.records), 10)
    refused = caplog.records[0]
    assert isinstance(refused.args, tuple)
    facility, client, text = refused.args

    def other(said: str) -> logging.LogRecord:
        return logging.makeLogRecord({**vars(refused), "args": (facility, client, said)})

    limit = RateLimit(burst=1, period_s=60.0, clock=lambda: 0.0)
    assert limit.filter(refused)
    assert not limit.filter(other(str(text).replace("127.0.0.1:1/", "127.0.0.1:9/")))
    assert limit.filter(other("Disconnected: authentication failed"))
    assert not limit.filter(other("Disconnected: authentication failed"))


def test_a_critical_line_always_passes() -> None:
    limit = RateLimit(burst=1, period_s=60.0, clock=lambda: 0.0)
    assert all(limit.filter(record(level=logging.CRITICAL)) for _ in range(5))


def test_the_limit_forgets_old_templates() -> None:
    limit = RateLimit(burst=1, period_s=60.0, clock=lambda: 0.0)
    for i in range(RateLimit.MAX_TEMPLATES + 10):
        limit.filter(record(f"figure {i} in the message"))
    assert len(limit._periods) == RateLimit.MAX_TEMPLATES


def test_configure_takes_over_the_root_logger() -> None:
    stream = io.StringIO()
    configure("json", "warning", stream=stream, burst=1)
    log = logging.getLogger("worker.pipeline.loop")
    log.info("not shown")
    log.warning("partition lost", extra={"partitions": 2})
    log.warning("partition lost", extra={"partitions": 2})
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["partitions"] == 2
