"""The decision as the edge hands it out: the stored document, and what the page needs to show it. Pure.

Label and parameters come with the stored one; the policy in use knows those of the neutral action.
"""

import hashlib
from typing import Any, Final

import msgspec

from decisions.policy import Policy
from decisions.policy.vocabulary import NO_ACTION
from edge.ladder import Known, Rung

NEUTRAL: Final = "neutral"
EXPOSURE_DIGITS: Final = 16
VERSION: Final = 2


class Presenter:
    """Writes documents by one policy; replaced as a whole when the policy changes."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.hash = policy.hash
        killed = policy.file.kill_switches
        self.neutral = NO_ACTION if killed.all or policy.file.neutral in killed.actions else policy.file.neutral
        self._actions = policy.shown

    def decision(self, session_id: str, known: Known, rung: Rung, now_ms: int, **more: Any) -> dict[str, Any]:
        """The document of a decision; ``more`` fields of the edge."""
        fields: dict[str, Any] = msgspec.json.decode(known.document)
        # As the policy that decided granted it; a document of an older release does not say.
        label, parameters = self._actions.get(fields["action"], ("", {}))
        label, parameters = fields.get("label", label), fields.get("parameters", parameters)
        if "offer_minutes" in parameters:
            parameters = {**parameters, "expires_at": known.order.expires_at}
        return {
            **fields,
            "session_id": session_id,
            "label": label,
            "parameters": parameters,
            "exposure_id": exposure_id(session_id, fields["action"]),
            "answer": rung,
            "age_ms": max(now_ms - known.order.decided_at, 0),
            **more,
        }

    def neutral_document(self, session_id: str, **more: Any) -> dict[str, Any]:
        """What everybody sees: no decision is known, or it has ended."""
        label, parameters = self._actions.get(self.neutral, ("", {}))
        return {
            "v": VERSION,
            "session_id": session_id,
            "action": self.neutral,
            "route": NEUTRAL,
            "label": label,
            "parameters": parameters,
            "exposure_id": exposure_id(session_id, self.neutral),
            "answer": NEUTRAL,
            **more,
        }

    def etag(self, known: Known) -> str:
        """Of a decision as this policy presents it; weak, since its age changes all the time."""
        return f'W/"{known.order.source}:{known.order.seq}:{self.hash}"'


def exposure_id(session_id: str, action: str) -> str:
    """Names the showing of an action in a session; the same on every edge, so that it is counted once."""
    text = f"{session_id}\0{action}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=EXPOSURE_DIGITS // 2, person=b"exposure").hexdigest()
