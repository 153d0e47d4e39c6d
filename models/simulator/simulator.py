"""Simulated shoppers as a stream of events of the contract, in the order in which Kafka would get them.

Sessions are made in blocks (`visits.make_block`), rendered to JSON from fragments, and merged by arrival time through
time buckets, so memory holds only the sessions that overlap. The same `SimConfig` gives the same bytes.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator

from featurestore.errors import SettingsError
from models.checked import Checked
from models.simulator import shop
from models.simulator.incidents import Incident, happen, parse
from models.simulator.knobs import KNOBS
from models.simulator.personas import PERSONA_NAMES
from models.simulator.visits import BOT, COUNTRIES, DEVICES, SOURCES, Block, Traffic, make_block

BLOCK: Final = 2_048
_CHUNK_EVENTS: Final = 8_192
_EVENTS_PER_SESSION: Final = 9.5
_VISIT_S: Final = 110.0
"""About how long a simulated visit lasts, seconds."""
_Share = Annotated[float, Field(ge=0, le=1)]
_Factor = Annotated[float, Field(ge=0.05, le=20, allow_inf_nan=False)]

PRESETS: Final[dict[str, dict[str, float]]] = {
    "L": {"buyer": 0.779, "abandoner": 1.403},
}
"""Mixes with a name. ``L``: 3.14 % of the sessions order, 6 % fill a cart and do not, as in Table 1 of L
(docs/evaluation.md)."""

SimEvent = tuple[bytes, bytes, int]
"""Key, value, and the time of the Kafka record in epoch ms."""


class SimConfig(Checked):
    """What to simulate.

    Attributes:
        sessions: how many sessions.
        seed: the same seed gives the same bytes.
        sessions_per_s: sessions that begin per simulated second.
        start_ms: simulated time of the first session, epoch ms.
        speed: divides every simulated time span; 1 is life.
        mix: multiplies the share of a persona (see `personas.PERSONAS`), absent ones keep theirs.
        drift: shifts mainly one feature's distribution by a factor (see `knobs`).
        anonymous: share of sessions without a visitor_id.
        newcomers: share of sessions of visitors who come only once; the rest are regulars, about ten visits each.
        bots: share of sessions that are bots of more than 250 interactions.
        duplicates: share of events sent twice with the same event_id.
        late: share of events that arrive 1 to 120 s after their time.
        very_late: share of events that arrive 5 to 15 min after it, past what the contract believes.
        incidents: what goes wrong, in turn (see `incidents`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    sessions_per_s: Annotated[float, Field(gt=0, le=1e6)] = 2.0
    start_ms: Annotated[int, Field(ge=0, le=4_102_444_800_000)] = 1_767_225_600_000
    speed: Annotated[float, Field(gt=0, le=1_000)] = 1.0
    mix: dict[str, Annotated[float, Field(ge=0, le=1_000)]] = Field(default_factory=dict)
    drift: dict[str, _Factor] = Field(default_factory=dict)
    anonymous: _Share = 0.2
    newcomers: _Share = 0.2
    bots: _Share = 0.0004
    duplicates: _Share = 0.004
    late: _Share = 0.01
    very_late: _Share = 0.0003
    incidents: tuple[Incident, ...] = ()

    @field_validator("mix")
    @classmethod
    def _known_personas(cls, mix: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(mix) - set(PERSONA_NAMES))
        if unknown:
            raise ValueError(f"unknown persona {unknown[0]!r}; known are {', '.join(PERSONA_NAMES)}")
        if not any(mix.get(name, 1.0) > 0 for name in PERSONA_NAMES):
            raise ValueError("every persona has a share of 0: nobody would come")
        return mix

    @field_validator("drift")
    @classmethod
    def _known_features(cls, drift: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(drift) - set(KNOBS))
        if unknown:
            raise ValueError(f"unknown feature {unknown[0]!r}; known are {', '.join(KNOBS)}")
        return drift

    def clean(self) -> Self:
        """The same without bots, duplicates and late events."""
        return self.model_copy(update={"bots": 0.0, "duplicates": 0.0, "late": 0.0, "very_late": 0.0})


def simulate(config: SimConfig) -> Iterator[list[SimEvent]]:
    """Chunks of events in the order of their arrival, of about 8,000 events or more."""
    chunks = _chunks(config)
    for incident in config.incidents:
        chunks = happen(chunks, incident, config.start_ms, config.seed)
    return chunks


def _chunks(config: SimConfig) -> Iterator[list[SimEvent]]:
    chunk: list[SimEvent] = []
    for events in _buckets(config):
        chunk += events
        if len(chunk) >= _CHUNK_EVENTS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _buckets(config: SimConfig) -> Iterator[list[SimEvent]]:
    bucket_ms = max(1.0, 1000.0 * _CHUNK_EVENTS / _EVENTS_PER_SESSION / config.sessions_per_s)
    buckets: dict[int, tuple[list[NDArray[np.int64]], list[SimEvent]]] = {}
    done = 0
    for number in range((config.sessions + BLOCK - 1) // BLOCK):
        ready = int(number * BLOCK / config.sessions_per_s * 1000.0 // bucket_ms)  # no event precedes its block
        for bucket in range(done, ready):
            yield from _emit(buckets, bucket)
        done = ready
        arrivals, rendered = _render(config, block_of(config, number), number * BLOCK)
        order = np.argsort(arrivals, kind="stable")
        arrivals = arrivals[order]
        cells = (arrivals // bucket_ms).astype(np.int64)
        edges = np.flatnonzero(np.diff(cells, prepend=-1))
        for start, end in zip(edges.tolist(), [*edges[1:].tolist(), cells.size], strict=True):
            times, events = buckets.setdefault(int(cells[start]), ([], []))
            times.append(arrivals[start:end])
            events.extend([rendered[i] for i in order[start:end].tolist()])
    for bucket in sorted(buckets):
        yield from _emit(buckets, bucket)


def block_of(config: SimConfig, number: int) -> Block:
    """Block ``number`` of `BLOCK` sessions, the last one cut to the sessions asked for."""
    n = min(BLOCK, config.sessions - number * BLOCK)
    traffic = Traffic(
        config.sessions_per_s,
        config.mix,
        config.drift,
        max(16, config.sessions // 16),
        config.newcomers,
        config.anonymous,
        config.bots,
        config.duplicates,
        config.late,
        config.very_late,
    )
    rng = np.random.default_rng([config.seed, number])
    return make_block(traffic, rng, number * BLOCK, n, number * BLOCK / config.sessions_per_s * 1000.0)


def live(
    config: SimConfig,
    *,
    shoppers: int,
    warm_s: float = 240.0,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    step_s: float = 0.02,
) -> Iterator[list[SimEvent]]:
    """Events at the pace of the wall clock, for a demo: batches of what came due, possibly none.

    The simulation begins ``warm_s`` seconds in the past (below the five minutes that the contract believes), so the
    first batch is a shop already full of shoppers, some of whom have gone quiet. Blocks while it waits.

    Args:
        config: ``start_ms`` and ``sessions_per_s`` are replaced: enough begin to keep ``shoppers`` busy.
        shoppers: sessions that run at the same time, on average.
        warm_s: how much past is played at once.
        clock: seconds since the epoch.
        sleep: waits that many seconds.
        step_s: longest time between two batches.
    """
    begin = clock() - warm_s
    paced = config.model_copy(
        update={"start_ms": int(begin * 1000), "sessions_per_s": shoppers / _VISIT_S, "speed": config.speed}
    )
    due: list[SimEvent] = []
    batch_end = begin
    for chunk in simulate(paced):
        at = 0
        while at < len(chunk):
            now_ms = clock() * 1000.0
            if chunk[at][2] > now_ms:
                yield due
                due = []
                batch_end = clock()
                sleep(min(step_s, (chunk[at][2] - now_ms) / 1000.0))
                continue
            due.append(chunk[at])
            at += 1
            if len(due) >= _CHUNK_EVENTS or (len(due) % 256 == 0 and clock() - batch_end > step_s):
                yield due
                due = []
                batch_end = clock()
    if due:
        yield due


def session_name(config: SimConfig, index: int) -> str:
    """The session_id of session ``index`` of the whole simulation."""
    return f"s{config.seed:x}-{index}"


def personas_of(config: SimConfig) -> dict[str, str]:
    """session_id → persona, "bot" for bots."""
    names = {}
    for number in range((config.sessions + BLOCK - 1) // BLOCK):
        for i, persona in enumerate(block_of(config, number).persona.tolist()):
            names[session_name(config, number * BLOCK + i)] = "bot" if persona == BOT else PERSONA_NAMES[persona]
    return names


def _emit(buckets: dict[int, tuple[list[NDArray[np.int64]], list[SimEvent]]], bucket: int) -> Iterator[list[SimEvent]]:
    times, events = buckets.pop(bucket, ([], []))
    if events:
        order = np.argsort(np.concatenate(times), kind="stable")
        yield [events[i] for i in order.tolist()]


_N_QUANTITIES: Final = 101
_TAILS: Final = (
    b"",
    *(f',"scroll_depth":{percent}'.encode() for percent in range(101)),
    *(f',"quantity":{quantity}'.encode() for quantity in range(_N_QUANTITIES)),
)


def _render(config: SimConfig, block: Block, first: int) -> tuple[NDArray[np.int64], list[SimEvent]]:
    """Arrival (simulated ms) and finished event of each row of the block."""
    events = block.events
    names = [session_name(config, first + i).encode() for i in range(block.persona.size)]
    heads = [
        b'{"session_id":"%b"%b,"device":"%b","source":"%b","country":"%b","type":"'
        % (name, b',"visitor_id":"v%x-%d"' % (config.seed, visitor) if visitor >= 0 else b"", *context)
        for name, visitor, *context in zip(
            names,
            block.visitor.tolist(),
            _texts(DEVICES, block.device),
            _texts(SOURCES, block.source),
            _texts(COUNTRIES, block.country),
            strict=True,
        )
    ]
    tail = np.where(events["scroll"] >= 0, 1 + events["scroll"], 0)
    several = (events["quantity"] > 1) | (events["quantity"] * 7 + events["number"] % 5 == 7)  # a shop may say 1, too
    tail[several] = 102 + np.minimum(events["quantity"], _N_QUANTITIES - 1)[several]
    tails = [_TAILS[i] for i in tail.tolist()]
    for i in np.flatnonzero(~np.isnan(events["value"])).tolist():
        tails[i] = b',"value":%.2f,"currency":"EUR"' % events["value"][i]
    ts = config.start_ms + (events["ts"] / config.speed).astype(np.int64)
    arrival = config.start_ms + (events["arrival"] / config.speed).astype(np.int64)
    types, pages, items = shop.TYPE_JSON, shop.PAGE_JSON, shop.ITEM_JSON
    rendered = [
        (
            names[s],
            b'%b%b%d,"event_id":"%d.%d"%b%b%b}' % (heads[s], types[k], t, first + s, n, pages[p], items[d], x),
            a,
        )
        for s, k, t, n, p, d, x, a in zip(
            events["session"].tolist(),
            events["kind"].tolist(),
            ts.tolist(),
            events["number"].tolist(),
            events["page"].tolist(),
            events["detail"].tolist(),
            tails,
            arrival.tolist(),
            strict=True,
        )
    ]
    return events["arrival"], rendered


def _texts(names: tuple[str, ...], codes: NDArray[np.int64]) -> list[bytes]:
    encoded = [name.encode() for name in names]
    return [encoded[code] for code in codes.tolist()]


def main(arguments: Sequence[str]) -> int:
    """``clickstage simulate``: events as JSON lines to a file or standard output; returns the exit code.

    Raises:
        SettingsError: for a wrong option value.
    """
    parser = argparse.ArgumentParser(prog="clickstage simulate", description="Simulated shoppers as JSON lines.")
    parser.add_argument("--sessions", type=int, default=1_000, metavar="N", help="how many sessions (1000)")
    parser.add_argument("--seed", type=int, default=42, metavar="S", help="same seed, same bytes (42)")
    parser.add_argument("--rate", type=float, default=2.0, help="sessions that begin per simulated second (2)")
    parser.add_argument("--speed", type=float, default=1.0, help="divides every time span (1)")
    parser.add_argument("--start-ms", type=int, help="time of the first session, epoch ms (2026-01-01)")
    parser.add_argument(
        "--drift", action="append", default=[], metavar="FEATURE=X", help=f"shift one feature: {', '.join(KNOBS)}"
    )
    parser.add_argument(
        "--mix", action="append", default=[], metavar="PERSONA=X", help=f"multiply a share: {', '.join(PERSONA_NAMES)}"
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="a mix with a name; --mix changes it further")
    parser.add_argument(
        "--incident",
        action="append",
        default=[],
        metavar="KIND=WHAT@BEGIN+LENGTH*SHARE",
        help="something goes wrong, times in seconds: outage=TYPE, double=TYPE or double=all, clock=SECONDS, "
        "bots=PER_SECOND, scrapers=PER_SECOND; outage=add_to_cart@3600+1800 for half an hour after the first",
    )
    parser.add_argument("--clean", action="store_true", help="no bots, duplicates or late events")
    parser.add_argument("--live", type=int, metavar="SHOPPERS", help="at the pace of the wall clock, so many at a time")
    parser.add_argument("--out", type=Path, metavar="FILE", help="instead of standard output")
    options = parser.parse_args(arguments)
    values: dict[str, object] = {
        "sessions": options.sessions,
        "seed": options.seed,
        "sessions_per_s": options.rate,
        "speed": options.speed,
        "drift": _factors("--drift", options.drift),
        "incidents": tuple(parse(text) for text in options.incident),
        "mix": {**PRESETS.get(options.preset, {}), **_factors("--mix", options.mix)},
    }
    if options.start_ms is not None:
        values["start_ms"] = options.start_ms
    config = SimConfig.checked(**values)
    config = config.clean() if options.clean else config
    if options.live is not None and options.live < 1:
        raise SettingsError(f"--live {options.live}: how many shoppers, 1 or more")
    chunks = simulate(config) if options.live is None else live(config, shoppers=options.live)
    if options.out is None:
        _write(sys.stdout.buffer, chunks)
        return 0
    with options.out.open("wb") as out:
        _write(out, chunks)
    return 0


def _write(out: BinaryIO, chunks: Iterator[list[SimEvent]]) -> None:
    written = 0
    try:
        for chunk in chunks:
            if chunk:
                out.write(b"\n".join([value for _, value, _ in chunk]) + b"\n")
                out.flush()
                written += len(chunk)
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped after {written} events\n")
        raise


def _factors(option: str, texts: Sequence[str]) -> dict[str, float]:
    """``["a=1", "b=2,c=3"]`` as a mapping."""
    factors = {}
    for text in ",".join(texts).split(",") if texts else []:
        name, _, number = text.partition("=")
        try:
            factors[name.strip()] = float(number)
        except ValueError:
            raise SettingsError(f"{option} {text!r}: write NAME=FACTOR, for example cart_additions=1.5") from None
    return factors
