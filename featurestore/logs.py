"""Logs for an operator: one line per thing that somebody can act on, as JSON or for a console, rate-limited.

The code logs with the standard library; figures go into ``extra`` and come out as fields::

    log = logging.getLogger(__name__)
    log.warning("Redis does not answer; paused", extra={"retries": 3, "waited_s": 1.5})

    {
        "ts": "2026-01-02T03:04:05.678Z",
        "level": "warning",
        "logger": "worker.pipeline.loop",
        "message": "Redis does not answer; paused",
        "retries": 3,
        "waited_s": 1.5,
    }

What never appears: session, visitor and event ids, keys, and the content of events. Fields of such names are redacted
here as a second line of defence; the first is that nobody logs them. Text is cut and kept on one line.

Messages are templates without figures in them, so the rate limit can tell what repeats: of one template at one level
the first `burst` lines in each period pass, the rest are counted, and the count stands in the first line of the next
period. All lines of Kafka's client come with one template: their text without its figures takes its place.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

MAX_TEXT: Final = 500
REDACTED: Final = "[redacted]"
#: Fields that would identify a shopper or carry what a shop sent.
FORBIDDEN: Final = frozenset(
    {"session", "session_id", "visitor", "visitor_id", "event_id", "key", "value", "payload", "body", "record"}
)
#: What every record has; anything else came in by ``extra``.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "suppressed"}

_OF_KAFKAS_CLIENT: Final = "%s [%s] %s"
"""What confluent-kafka logs by: librdkafka's facility, the client, the text."""
_FIGURES: Final = re.compile(r"[0-9]+")

Format = Literal["json", "console"]


def configure(
    form: Format = "console",
    level: str = "info",
    *,
    stream: TextIO | None = None,
    on_suppressed: Callable[[], None] | None = None,
    burst: int = 20,
    period_s: float = 60.0,
) -> logging.Handler:
    """Send all logging of the process to ``stream`` (standard error) and return the handler.

    ``on_suppressed`` is called once per line held back: the worker counts them in ``log_lines_suppressed_total``.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    handler.addFilter(RateLimit(burst, period_s, on_suppressed=on_suppressed))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    return handler


@dataclass
class _Period:
    began_s: float
    passed: int = 0
    held: int = 0


class RateLimit(logging.Filter):
    """Lets the first ``burst`` lines of a template through in each period; criticals always pass.

    Memory is bounded: past `MAX_TEMPLATES` distinct templates (a message with a figure in it) the oldest is forgotten.
    """

    MAX_TEMPLATES: Final = 500

    def __init__(
        self,
        burst: int,
        period_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_suppressed: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._burst = burst
        self._period_s = period_s
        self._clock = clock
        self._on_suppressed = on_suppressed
        self._periods: dict[tuple[str, int, str], _Period] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True if the line passes; it then carries how many were held back before it."""
        now = self._clock()
        template = (record.name, record.levelno, _template(record))
        period = self._periods.get(template)
        record.suppressed = 0
        if period is None or now - period.began_s >= self._period_s:
            record.suppressed = period.held if period else 0
            self._periods.pop(template, None)
            self._periods[template] = period = _Period(now)
            if len(self._periods) > self.MAX_TEMPLATES:
                del self._periods[next(iter(self._periods))]
        if period.passed < self._burst or record.levelno >= logging.CRITICAL:
            period.passed += 1
            return True
        period.held += 1
        if self._on_suppressed:
            self._on_suppressed()
        return False


def _template(record: logging.LogRecord) -> str:
    """What repeats of a line."""
    if record.msg == _OF_KAFKAS_CLIENT and isinstance(record.args, tuple) and len(record.args) == 3:
        facility, _, text = record.args
        return f"{facility} {_FIGURES.sub('#', str(text))}"
    return str(record.msg)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record.getMessage()),
            **_fields(record),
        }
        return json.dumps(line, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """For a person: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return f"{_utc(record.created)[11:23]} {record.levelname.lower():<8} {_text(record.getMessage())}{fields}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in vars(record).items():
        if name not in _STANDARD:
            fields[name] = REDACTED if name.lower() in FORBIDDEN else _plain(value)
    if suppressed := getattr(record, "suppressed", 0):
        fields["suppressed"] = suppressed
    if record.exc_info and record.exc_info[0]:
        fields["error"] = record.exc_info[0].__name__
        fields["stack"] = _frames(record)
    return fields


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)  # JSON knows neither NaN nor infinity
    return _text(str(value))


def _text(text: str) -> str:
    line = " ".join(text.encode(errors="replace").decode().split())  # a lone surrogate would stop the stream
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _frames(record: logging.LogRecord) -> str:
    """Where an error came from, innermost last, without its message: that may quote what a client library received."""
    frames: list[str] = []
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(frames[-12:])


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
