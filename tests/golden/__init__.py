"""Golden bytes: what each kind of stored record looks like, one file a record, version by version.

``python -m tests.golden`` writes those of the newest version anew, after a change of a version that is not released.
Files of older versions are frozen: they were written by the releases of their time.
"""

from pathlib import Path
from textwrap import wrap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Blobs, Texts
from featurestore.contract.event import Event
from featurestore.session.codec import pack
from featurestore.session.fold import FoldConfig
from featurestore.session.layout import MEMORY
from featurestore.session.visitors import ENTRY, append_entry
from featurestore.store.cluster import cross_slot_outbox
from featurestore.store.keys import Namespace, Shard
from featurestore.store.outbox import Output, encode
from featurestore.store.packed import ROW, PackedDecisions
from featurestore.store.protocols import ShardWrite
from featurestore.store.streams import DECISIONS, SESSIONS
from featurestore.store.tombstones import tombstone
from featurestore.versions import RECORD_VERSION
from tests.unit.featurestore.session.fold_cases import START_MS, Folded, Step

FOLDER: Final = Path(__file__).parent
SESSION_HASH: Final = 0x0123_4567_89AB_CDEF
"""Of the golden session's id: a record is bound to it."""
ERASED_MS: Final = 1_700_000_000_000
LIFE_MS: Final = 1_800_000
OFFSET: Final = 41


def session() -> tuple[NDArray[np.void], NDArray[np.void]]:
    """A session that uses every field of the record."""
    kinds = ("page_view", "view_item", "add_to_cart", "remove_from_cart", "begin_checkout", "purchase", "add_to_cart")
    log = [
        Step(
            "a",
            START_MS + 7_500 * i - (9_000 if i == 4 else 0),
            Event(
                session_id="a",
                type=kind,
                ts=0,
                event_id=f"event-{i}",
                visitor_id="visitor",
                page=f"/page/{i % 5}",
                category="shoes",
                price=19.25 + i,
                quantity=1 + i % 3,
                value=80.5,
                device="mobile",
                source="email",
                country="DE",
                scroll_depth=70,
            ),
        )
        for i, kind in enumerate(kinds)
    ]
    states = Folded(FoldConfig()).run(log).states[:1]
    states["silences"] = 2
    states["visitor_actions"] = 3
    states["visitor_sessions"] = 4
    states["bounce"] = 0.25
    states["visitor_segment"] = 3
    states["session"] = SESSION_HASH
    memory = np.zeros(1, MEMORY)
    for name, value in (("shown", 3), ("candidate", 2), ("candidate_n", 1), ("flips", 4), ("persuasive", 1)):
        memory[name] = value
    memory["n_actions"] = 2
    memory["stage_since"] = START_MS + 100
    memory["offer_until"] = START_MS + 900_000
    memory["stage_ms"][0, :4] = 1, 2_000, 300_000, 4
    memory["action"] = 7
    memory["action_id"][0, :2] = 7, 9
    memory["action_count"][0, :2] = 1, 2
    memory["action_at"][0, :2] = START_MS + 1, START_MS + 2
    return states, memory


def entries() -> list[bytes]:
    """Three finished sessions of a visitor."""
    rows = np.zeros(3, ENTRY)
    rows["key"], rows["ended"] = [1_000, 1_001, 1_002], ERASED_MS + 60_000 * np.arange(3)
    rows["shown"], rows["visit"] = [0, 1, 2], [0, 1 | 3 << 1, 0]
    return [row.tobytes() for row in rows]


def decisions() -> PackedDecisions:
    """Two decisions, one of a session whose id is not ASCII."""
    rows = np.zeros(2, ROW)
    rows["numbers"][:, 0], rows["numbers"][:, 1] = [512, 768], [ERASED_MS, ERASED_MS + 1_000]
    rows["numbers"][:, 2] = ERASED_MS + LIFE_MS
    rows["tail"], rows["words"] = [0, 1], [[0, 4, 6], [1, 5, 7]]
    rows["shares"] = [[700, 700, 100, 150, 50], [600, 200, 600, 150, 50]]
    words = [b'"Explorer"', b'"Intent Buyer"', b'"Comparison Shopper"', b'"Drop-Off Risk"', b'"none"', b'"coupon"']
    fixed = [
        *(b'{"v":1,"stage":', b',"confidence":', b',"probabilities":[', b'],"action":', b',"route":'),
        b',"model":"forest-1","policy":"p0licy","event_ts":',
        b',"decided_at":%d,"source":"topic-id","seq":' % (ERASED_MS + 500),
        b',"expires_at":',
    ]
    tails = [b"}", b',"reasons":["many clicks"]}']
    return PackedDecisions(
        Texts.of(["a", "s\u00e9ance"]),
        rows,
        Blobs.joined(fixed),
        Blobs.joined([*words, b'"act"', b'"held"']),
        Blobs.joined(tails),
    )


def outputs() -> list[Output]:
    """Two decisions and a summary."""
    packed = decisions()
    summary = Output(SESSIONS, ["a"], [b'{"v":1,"session_id":"a"}'])
    return [Output(DECISIONS, packed.names, packed.logged(packed.documents()), packed), summary]


def cross_slot() -> cross_slot_outbox.Fields:
    """A decision that is set, one that is deleted, a profile that is extended."""
    write = ShardWrite(
        Shard(0),
        "epoch",
        OFFSET - 1,
        OFFSET,
        decided=["a"],
        decisions=[b'{"v":1}'],
        undecided=["b"],
        profiles=[("cs:test:visitor:0000000000000007", entries()[-1])],
    )
    return cross_slot_outbox.of(write, Namespace("test", "group", "topic"))


def records(version: int) -> dict[str, bytes]:
    """File stem → the record as this release writes it in a version."""
    profile: bytes | None = None
    for entry in entries():
        profile = append_entry(profile, entry, version)
    flat = [
        part if isinstance(part, bytes) else str(part).encode()
        for part in cross_slot_outbox.flat(cross_slot(), LIFE_MS, version)
    ]
    waiting = {f"cross_slot_{i}": b"%b %b" % pair for i, pair in enumerate(zip(flat[::2], flat[1::2], strict=True))}
    return {
        "state": pack(*session(), version=version)[0],
        "profile": profile or b"",
        "packed": decisions().packed(version),
        "outbox": encode(OFFSET, outputs(), version),
        "tombstone": tombstone(ERASED_MS, version).encode(),
        **waiting,
    }


def golden(version: int) -> dict[str, bytes]:
    """File stem → the record as it is kept here."""
    return {path.stem: bytes.fromhex(path.read_text()) for path in sorted((FOLDER / f"v{version}").glob("*.hex"))}


def write(version: int = RECORD_VERSION) -> None:
    """Write the golden bytes of a version anew."""
    folder = FOLDER / f"v{version}"
    folder.mkdir(exist_ok=True)
    for name, record in records(version).items():
        (folder / f"{name}.hex").write_text("\n".join(wrap(record.hex(), 96)) + "\n")
