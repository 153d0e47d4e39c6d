"""``clickstage inspect SESSION_ID``: what is stored of a session, what was decided, and why."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decisions.document import Decision, decode_decision
from featurestore.contract.codes import country_name
from featurestore.contract.event import DEVICES, EVENT_TYPES, SOURCES
from featurestore.session.features import FEATURES
from featurestore.session.fold import observe
from featurestore.session.observation import SEQ_STEP
from featurestore.session.segments import kind_name
from featurestore.session.stages import STAGES
from featurestore.session.state import IS_BOT, LIVE, SILENT
from featurestore.session.views import wide
from featurestore.store.keys import Shard
from featurestore.store.set_aside import SetAside
from models.heads import Head
from models.heads.scoring import OutputNames
from models.heads.views import PUBLISHED, WIDE
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.lookup import ACCESS, Found, Lookup
from worker.settings import Settings

SHOWN_BYTES: Final = 32
"""Of a record that could not be read."""


def main(argv: Sequence[str]) -> int:
    """Print the session; exit code 9 if nothing is known of it."""
    parser = argparse.ArgumentParser(prog="clickstage inspect", description=__doc__)
    parser.add_argument("session_id", metavar="SESSION_ID", nargs="?", help="as the shop sends it")
    parser.add_argument(
        "--set-aside", action="store_true", help="list the records that workers could not read, without a session id"
    )
    parser.add_argument(
        "--timeline", action="store_true", help="every decision of the session, from the decisions topic"
    )
    add_settings(parser, (*ACCESS, "bundle", "policy"))
    args = parser.parse_args(argv)
    settings = settings_from(args)
    if args.set_aside == bool(args.session_id):
        parser.error("give a session id, or --set-aside")
    if args.set_aside:
        print("\n".join(set_aside(Lookup(settings).set_aside())))
        return ExitCode.OK
    lookup = Lookup(settings)
    parts = lookup.find(args.session_id)
    lines = list(all_parts(parts, lookup.home(args.session_id), settings))
    if args.timeline:
        lines += timeline(settings, parts[0].session_id)
    known = len(lines) > 1 or parts[0].decision is not None
    if not known:
        lines.append("nothing is stored of it: it never came, it ended, or it was erased (--timeline shows its past)")
    print("\n".join(lines))
    return ExitCode.OK if known else ExitCode.CHECK


def all_parts(parts: Sequence[Found], home: Shard, settings: Settings) -> Iterator[str]:
    """The session in lines for people, whatever partitions its events went to."""
    for number, part in enumerate(parts):
        if number:
            yield ""
        yield from describe(part if part is _decided(parts) else replace(part, decision=None), settings)
    elsewhere = [part.shard.partition for part in parts if part.shard and part.shard.partition != home.partition]
    if elsewhere:
        where = ", ".join(map(str, elsewhere))
        yield (
            f"\nevents of this session went to partition {where}, and its key belongs to {home.partition}: some "
            "producer does not use the murmur2 partitioner. Each part is decided on its own, and front ends read what "
            "was decided last; see `clickstage check`"
        )


def _decided(parts: Sequence[Found]) -> Found:
    """The part that the session's decision was made of; the first one where none fits."""
    return next((one for one in parts if one.decision and _offset(one) == one.decision.seq // SEQ_STEP), parts[0])


def _offset(part: Found) -> int:
    """Of the last event of a part; -1 where it has none."""
    return int(part.state[0]["offset"]) if part.state.size else -1


def describe(found: Found, settings: Settings) -> Iterator[str]:
    """The session in lines for people."""
    where = f", partition {found.shard.partition}, {found.stored_bytes} bytes" if found.shard is not None else ""
    yield f"session {found.session_id}{where}"
    live = bool(found.state.size) and bool(found.state[0]["flags"] & LIVE)
    if found.state.size and not live:
        yield "\nno visit is open: it ended, or was erased. What is kept keeps late and repeated events from counting"
    if live:
        s = found.state[0]
        yield "\nstate"
        yield from _rows(_state(s))
        yield "\nfeatures"
        X = observe(found.state)
        yield from _rows(
            (name, "unknown" if np.isnan(x) else f"{x:.4g}") for name, x in zip(FEATURES, X[0].tolist(), strict=True)
        )
        yield "\npolicy memory"
        yield from _rows(_memory(found.memory[0], settings))
    if found.corrupt:
        yield "\nits state cannot be read: it begins anew with its next event"
    if found.set_aside:
        yield "\nset aside"
        yield from (f"  {line}" for line in map(_aside, found.set_aside))
    if found.deadline is not None:
        quiet = live and int(found.state[0]["flags"]) & (SILENT | IS_BOT)
        ended = found.state.size and not live
        yield (
            f"\n{'forgotten' if ended else 'next look at its end' if quiet else 'next look at its silence'}: "
            + _time(found.deadline)
        )
    if found.decision is not None:
        yield "\ndecision"
        yield from _rows(_decision(found.decision))
        if live and settings is not None:
            stage = np.array([STAGES.index(found.decision.stage)], np.uint8)
            yield "  because"
            yield from (f"    {text}" for text in _why(settings, observe(found.state), stage))
            yield from _outcomes(settings, found.state)


def set_aside(records: Sequence[SetAside]) -> Iterator[str]:
    """What workers could not read, in lines for people."""
    yield f"{len(records)} records could not be read and are set aside"
    for one in records:
        yield f"  {one.kind:<12}{one.name or '-':<40}{_aside(one)}"


def _aside(one: SetAside) -> str:
    head = one.record[:SHOWN_BYTES].hex()
    return f"{_time(one.at_ms)}  {len(one.record)} bytes: {head}{'...' if len(one.record) > SHOWN_BYTES else ''}"


def timeline(settings: Settings, session_id: str) -> list[str]:
    """Every decision of the session that the decisions topic still holds, oldest first, each with why."""
    from worker.checks.replay_check import read_all

    seen: dict[tuple[str, int], Decision] = {}
    for message in read_all(settings, settings.decisions_topic):
        if message.key() == session_id.encode() and message.value() is not None:
            decision = decode_decision(message.value())
            seen[decision.source, decision.seq] = decision
    decisions = sorted(seen.values(), key=lambda d: (d.decided_at, d.seq))
    lines = [f"\n{len(decisions)} decisions"]
    for d in decisions:
        silence = f" silence {d.seq % 256}" if d.seq % 256 else ""
        lines.append(f"  {_time(d.event_ts)}  {_sure(d)} -> {d.action} ({d.route}){silence}")
        why = [*d.reasons, *(f"guard: {guard}" for guard in d.guards), *(f"arm: {k}={v}" for k, v in d.arm.items())]
        lines += [f"      {text}" for text in why]
    return lines


class _Exact:
    """A head's exact contributions, for `Explainer`."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def contributions(self, X: NDArray[np.float64], outputs: NDArray[np.uint8]) -> NDArray[np.float64]:
        return self._head.shapley(X, outputs)


def _why(settings: Settings, X: NDArray[np.float64], stage: NDArray[np.uint8]) -> list[str]:
    from decisions.reasons import Explainer
    from decisions.shipped import load_bundle

    [words] = Explainer(_Exact(load_bundle(settings.bundle).stage)).words(X, stage)
    return words or ["no feature speaks for it more than it does on average"]


def _outcomes(settings: Settings, state: NDArray[np.void]) -> Iterator[str]:
    """What the heads beside the stage say of the session as it stands, and why."""
    from decisions.reasons import Explainer
    from decisions.shipped import load_bundle

    heads = load_bundle(settings.bundle).heads
    views = {PUBLISHED: observe(state), WIDE: wide(state)}
    values = heads.score_others(views)[0] if heads.others else []
    outputs = [(head, j) for head in heads.others for j in range(len(head.outputs))]
    if outputs:
        yield "\noutcomes, of the session as it stands"
    for names, (head, j), value in zip(heads.variables[len(heads.first.outputs) :], outputs, values, strict=True):
        meaning = f": {head.training['meaning']}" if head.training.get("meaning") else ""
        if np.isnan(value):
            yield f"  {names[0]:<24}not asked, there is a cart{meaning}"
            continue
        yield f"  {names[0]:<24}{value:.1%}{_rank(names, float(value))}{meaning}"
        rows = head.read(views[head.view])
        [words] = Explainer(_Exact(head), head.columns).words(rows, np.array([j], np.uint8))
        yield from (f"    {text}" for text in words)


def _rank(names: Sequence[str], value: float) -> str:
    """The best tenth that the value is in, in the words of policy conditions."""
    tenths = names.tenths if isinstance(names, OutputNames) else ()
    passed = sum(value >= edge for edge in tenths)
    return f", in top {100 - 10 * passed} %" if passed else ""


def _state(s: np.void) -> Iterator[tuple[str, str]]:
    flags = int(s["flags"])
    names = [name for bit, name in ((LIVE, "live"), (SILENT, "silent"), (IS_BOT, "bot")) if flags & bit]
    yield "flags", ", ".join(names)
    yield "first event", _time(int(s["t_min"]))
    yield "newest event", _time(int(s["t_max"]))
    yield "last interaction", _time(int(s["last_int"]))
    yield "applied offset", str(s["offset"])
    counts = {EVENT_TYPES[i]: n for i, n in enumerate(s["counts"].tolist()) if n}
    yield "events", ", ".join(f"{name} {n}" for name, n in counts.items())
    if s["cart_items"]:
        yield "cart", f"{s['cart_items']} items worth {s['cart_value']:.2f}"
    if s["purchases"]:
        yield "purchases", f"{s['purchases']} worth {s['purchase_value']:.2f}"
    if s["price_n"]:
        mean = s["price_sum"] / s["price_n"]
        yield "prices seen", f"{s['price_min']:.2f} to {s['price_max']:.2f}, {mean:.2f} on average"
    context = (DEVICES[s["device"]], SOURCES[s["source"]], country_name(int(s["country"])) or "unknown")
    yield "device, source, country", ", ".join(context)
    if s["visitor"]:
        kind = kind_name(int(s["visitor_segment"]))
        before = f", the last one was of {kind}" if kind else ""
        yield "visitor", f"{s['visitor']:016x}, {s['visitor_sessions']} sessions before{before}"
    at = int(s["recent_at"])
    ring = [*range(at, s["recent"].size), *range(at)]
    recent = [f"{EVENT_TYPES[s['recent'][i] - 1]} after {s['dwell'][i] / 10:.1f} s" for i in ring if s["recent"][i]]
    yield "latest interactions", ", ".join(recent[-5:])


def _memory(m: np.void, settings: Settings) -> Iterator[tuple[str, str]]:
    from decisions.policy.model import action_ids
    from decisions.policy.policy import load_file
    from decisions.shipped import DEFAULT_POLICY

    # Only the names of its actions are wanted, so its conditions may name the heads of any bundle.
    policy = load_file(settings.policy or DEFAULT_POLICY)
    actions = dict(zip(action_ids(policy), policy.action_names, strict=True))
    yield "stage shown", STAGES[m["shown"] - 1] if m["shown"] else "none yet"
    if m["candidate"]:
        yield "candidate", f"{STAGES[m['candidate'] - 1]}, {m['candidate_n']} times in a row"
    yield "stage changes", str(m["flips"])
    times = {stage: ms for stage, ms in zip(STAGES, m["stage_ms"].tolist(), strict=False) if ms}
    yield "time in stages", ", ".join(f"{stage} {ms / 1000:.0f} s" for stage, ms in times.items()) or "none yet"
    n = int(m["n_actions"])
    shown = zip(m["action_id"][:n].tolist(), m["action_count"][:n].tolist(), strict=True)
    yield "actions shown", ", ".join(f"{actions.get(i, f'retired-{i}')} {count} times" for i, count in shown) or "none"
    if m["offer_until"]:
        yield "offer ends", _time(int(m["offer_until"]))


def _sure(d: Decision) -> str:
    """The stage and how sure the model is of it, or of the stage that a held one waits for."""
    waits = f" (though {d.likeliest} is likelier)" if d.likeliest else ""
    return f"{d.stage}{waits}, {d.confidence:.1%} sure"


def _decision(d: Decision) -> Iterator[tuple[str, str]]:
    yield "stage", _sure(d)
    yield "probabilities", ", ".join(f"{s} {p:.1%}" for s, p in zip(STAGES, d.probabilities, strict=True))
    yield "action", f"{d.action} ({d.route})"
    if d.guards:
        yield "guards", ", ".join(d.guards)
    if d.arm:
        yield "experiments", ", ".join(f"{name}: {arm}" for name, arm in d.arm.items())
    if d.reasons:
        yield "reasons", ", ".join(d.reasons)
    yield "for the event of", _time(d.event_ts)
    yield "decided", f"{_time(d.decided_at)}, valid until {_time(d.expires_at)}"
    yield "model, policy", f"{d.model}, {d.policy}"
    yield "source, seq", f"{d.source}, {d.seq}"


def _rows(pairs: Any) -> Iterator[str]:
    return (f"  {name:<24}{text}" for name, text in pairs)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
