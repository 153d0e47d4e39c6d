"""The decision document: what the front end reads at ``decision:<session id>``.

`Decision` is the contract (JSON Schema comes from it); `decisions.encoder` writes the same bytes.

A decision's identity is ``(source, session_id, seq)``: derived, so that a decision computed twice is the same one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from featurestore.session.stages import STAGES
from featurestore.store.packed import (
    NOTHING,
    NUMBER,
    OUTPUT,
    PLAIN,
    SHARE,
    SHARES,
    WORD,
)

DECISION_VERSION: Final = 1
"""Of documents of a bundle whose only head is the stage."""
OUTCOMES_VERSION: Final = 2
"""Of documents with ``outcomes``; readers of version 1 may ignore what is new."""

# Places in a row; persisted in outboxes.
SEQ: Final = 0
EVENT_MS: Final = 1
EXPIRES: Final = 2
STAGE: Final = 0
ACTION: Final = 1
ROUTE: Final = 2

# Kinds of fields beside those of `packed`.
FIXED: Final = -1  # the same text in all documents of a batch
KEY: Final = -2  # the session id, in the log only
OUTCOMES: Final = -3  # the outputs of the heads beside the stage
TAIL: Final = -4  # left out where empty; written once for all rows that have the same


def _is(kind: int, which: int = 0) -> dict[str, int]:
    """How the writer gets a field; see `FIELDS`."""
    return {"kind": kind, "which": which}


# The table of fields: JSON Schema, writer and packed row come from it; ``extra`` says how a field is written.
class Decision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One decision.

    Readers compare ``source`` first (another one is a re-created topic, always newer), then ``seq`` (refuse a smaller
    one), then the clock against ``expires_at``.
    """

    v: Annotated[int, Meta(description="Version of this document", extra=_is(FIXED))]
    session_id: Annotated[str, Meta(description="In the log only: in Redis the key says it", extra=_is(KEY))] = ""
    stage: Annotated[str, Meta(description=f"One of {', '.join(STAGES)}", extra=_is(WORD, STAGE))]
    confidence: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Probability of the stage, or of `likeliest` where there is one",
            extra=_is(SHARE, 0),
        ),
    ]
    probabilities: Annotated[
        list[float], Meta(min_length=4, max_length=4, description=f"Of {', '.join(STAGES)}", extra=_is(SHARES, 1))
    ]
    action: Annotated[str, Meta(description="What to show; a name from the policy file", extra=_is(WORD, ACTION))]
    route: Annotated[
        str, Meta(description="How the action was chosen: act, fallback, neutral, held, ...", extra=_is(WORD, ROUTE))
    ]
    model: Annotated[str, Meta(description="Bundle name and version", extra=_is(FIXED))]
    policy: Annotated[str, Meta(description="Hash of the policy file", extra=_is(FIXED))]
    event_ts: Annotated[
        int, Meta(description="Time of the event, or of the silence, epoch ms", extra=_is(NUMBER, EVENT_MS))
    ]
    decided_at: Annotated[int, Meta(description="Epoch ms", extra=_is(FIXED))]
    source: Annotated[
        str, Meta(description="Kafka topic id that seq counts in, and a deployment's own prefix", extra=_is(FIXED))
    ]
    seq: Annotated[int, Meta(description="Grows with every decision of a session", extra=_is(NUMBER, SEQ))]
    expires_at: Annotated[
        int, Meta(description="After this moment show the neutral action, epoch ms", extra=_is(NUMBER, EXPIRES))
    ]
    outcomes: Annotated[
        dict[str, float | None],
        Meta(
            description="Version 2: outputs of the bundle's other heads by name, to three digits; null where a head "
            "has none for this session",
            extra=_is(OUTCOMES),
        ),
    ] = {}
    label: Annotated[str, Meta(description="Of the action, as the policy says it", extra=_is(TAIL))] = ""
    parameters: Annotated[
        dict[str, float],
        Meta(description="Of the action, as the policy grants it: discount_percent, offer_minutes", extra=_is(TAIL)),
    ] = {}
    likeliest: Annotated[
        str,
        Meta(description="With the route held: the model's likeliest stage, which `stage` waits for", extra=_is(TAIL)),
    ] = ""
    reasons: Annotated[
        list[str],
        Meta(
            description="In words. Present when the stage changed (its strongest three features; of a silence one), "
            "when a rule that asks for an outcome chose a new action (the outcome, first), with the guards that fired",
            extra=_is(TAIL),
        ),
    ] = []
    guards: Annotated[list[str], Meta(description="Guardrails that fired", extra=_is(TAIL))] = []
    arm: Annotated[dict[str, str], Meta(description="Experiment to arm, with the salt's version", extra=_is(TAIL))] = {}
    provisional: Annotated[
        bool,
        Meta(
            description="True in a reply of the edge that the stream has not confirmed; never stored", extra=_is(TAIL)
        ),
    ] = False


class Field(NamedTuple):
    """A field of the document, and how the writer gets it.

    Attributes:
        name: in JSON.
        kind: one of `packed`'s, or `FIXED`, `KEY`, `OUTCOMES`, `TAIL`.
        which: number, word or share of the row.
    """

    name: str
    kind: int
    which: int


def _fields() -> Iterator[Field]:
    for name, hint in get_type_hints(Decision, include_extras=True).items():
        [meta] = hint.__metadata__
        yield Field(name, **meta.extra)


FIELDS: Final = tuple(_fields())
"""The fields in the order of the document."""


class Layout(NamedTuple):
    """The order of a document's values, and the texts between them.

    Attributes:
        program: kind and number of each value; see `packed`.
        texts: before each value; a `str` is the name of a fixed field, whose value stands there.
    """

    program: NDArray[np.uint8]
    texts: list[list[bytes | str]]

    def pieces(self, fixed: Mapping[str, bytes]) -> list[bytes]:
        """The texts with the values of the fixed fields, as JSON."""
        return [b"".join(fixed[part] if isinstance(part, str) else part for part in text) for text in self.texts]


def layout(outputs: Sequence[str]) -> Layout:
    """The layout of documents with these outputs of further heads, from the table of fields."""
    values: list[tuple[int, int]] = []
    texts: list[list[bytes | str]] = []
    text: list[bytes | str] = [b"{"]
    for name, kind, which in FIELDS:
        if kind in (KEY, TAIL) or (kind == OUTCOMES and not outputs):
            continue
        text.append(b'%b"%b":' % (b"" if text == [b"{"] else b",", name.encode()))
        if kind == FIXED:
            text.append(name)
            continue
        if kind == OUTCOMES:
            for j, output in enumerate(outputs):
                values.append((OUTPUT, j))
                texts.append([*text, b"%b%b:" % (b"," if j else b"{", _json.encode(output))])
                text = []
            text = [b"}"]
            continue
        values.append((kind, which))
        texts.append([*text, b"["] if kind == SHARES else text)
        text = [b"]"] if kind == SHARES else []
    if text:
        values.append((NOTHING, 0))
        texts.append(text)
    program = np.array(values, np.uint8)
    return Layout(PLAIN if np.array_equal(program, PLAIN) else program, texts)


_json: Final = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Decision)


def decode_decision(document: bytes, session_id: str = "") -> Decision:
    """Read a document.

    Args:
        document: JSON.
        session_id: of the key that a stored one was found at.

    Raises:
        msgspec.DecodeError: the bytes are not a decision.
    """
    decision = _decoder.decode(document)
    return msgspec.structs.replace(decision, session_id=session_id) if session_id else decision


def json_schema() -> dict[str, Any]:
    """The document as JSON Schema (2020-12)."""
    schema: dict[str, Any] = msgspec.json.schema(Decision)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clickstage decision",
        **schema["$defs"]["Decision"],
    }
