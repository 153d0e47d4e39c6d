"""Keyed hashing of session and visitor ids at the worker's edge, so that no store and no topic behind it holds them.

The pseudonym is the first 16 bytes of HMAC-SHA256 under the key, over ``session:`` or ``visitor:`` and the id in UTF-8,
in hexadecimal. HMAC-SHA256 because every language of a front end has it:

    Python   hmac.digest(key, b"session:" + session_id.encode(), "sha256")[:16].hex()
    Node     crypto.createHmac("sha256", key).update("session:" + id).digest("hex").slice(0, 32)
    shell    printf 'session:%s' "$ID" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$KEY |
             sed 's/.*= //' | cut -c1-32

Keyed hashes are pseudonyms, still personal data: lives and erasure apply to them as to ids. Another key is another set
of sessions: change it like a policy of retention, not like a password.
"""

import hmac
from typing import Final, Self

import msgspec

from featurestore.contract.event import Event
from featurestore.errors import SettingsError

KEY_BYTES: Final = 32


class IdKey:
    """Turns ids into pseudonyms; without a key it leaves them as they are.

    >>> IdKey.of("00" * 32).session("s1")
    '5bca103bee4f7bbb7fc7211881e96f6f'
    >>> IdKey.of("").session("s1")
    's1'
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, text: str) -> Self:
        """From the setting: 64 hexadecimal digits, or "" for none.

        Raises:
            SettingsError: it is neither.
        """
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b"?"
        if len(key) not in {0, KEY_BYTES}:
            raise SettingsError("CLICKSTAGE_ID_KEY must be 64 hexadecimal digits (32 bytes): openssl rand -hex 32")
        return cls(key)

    def __bool__(self) -> bool:
        """Whether ids are hashed at all."""
        return bool(self._key)

    def session(self, session_id: str) -> str:
        """What stands for a session id in every key and document."""
        return self._pseudonym("session:", session_id)

    def visitor(self, visitor_id: str) -> str:
        """What stands for a visitor id."""
        return self._pseudonym("visitor:", visitor_id)

    def apply(self, event: Event) -> None:
        """Replace the ids of a decoded event."""
        if self._key:
            msgspec.structs.force_setattr(event, "session_id", self.session(event.session_id))
            if event.visitor_id:
                msgspec.structs.force_setattr(event, "visitor_id", self.visitor(event.visitor_id))

    def _pseudonym(self, kind: str, text: str) -> str:
        return hmac.digest(self._key, (kind + text).encode(), "sha256")[:16].hex() if self._key else text
