"""Session ids and the tokens that prove them.

A session id is ``cs-`` and 128 random bits. Its token says until when it counts, and an HMAC binds the two:

    token = key id "." expiry (epoch s, base 36) "." session id "." tag
    tag   = base64url(HMAC-SHA256(secret, what stands before the last dot)[:16])

Whoever holds a token may write to, read, watch and erase that session and no other. An id that the edge made is worth
nothing without its token, so it does no harm that topics and analytics show it. Ids of other clients have no token.
Tokens are signed by the first key and accepted from all of them, so a key is rotated by putting a new one in front and
removing the old one a day later.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple

MADE_HERE: Final = "cs-"
"""What the ids of the edge begin with."""
ID_BYTES: Final = 16
TAG_BYTES: Final = 16
SECRET_BYTES: Final = 32
MAX_TOKEN: Final = 300
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Claim(NamedTuple):
    """What a token says."""

    session_id: str
    expires_s: int


class BadToken(Exception):
    """The token proves nothing: forged, expired, or signed by a key that is gone."""


class Tokens:
    """Makes and checks tokens.

    Args:
        keys: secret by key id; the first one signs. Ids hold no dot.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._signer = next(iter(self._keys))

    def issue(self, session_id: str, expires_s: int) -> str:
        """A token for a session."""
        return self._signed(self._signer, f"{self._signer}.{_base36(expires_s)}.{session_id}")

    def check(self, token: str, now_s: int) -> Claim:
        """What a token says, if it is genuine.

        Raises:
            BadToken: with the reason, which holds nothing of the token.
        """
        head, _, _ = token.rpartition(".")
        key_id, _, rest = head.partition(".")
        expiry, _, session_id = rest.partition(".")
        if len(token) > MAX_TOKEN or not session_id or key_id not in self._keys:
            raise BadToken("the token is not one of this edge, or its key was retired")
        if not hmac.compare_digest(self._signed(key_id, head).encode(), token.encode()):
            raise BadToken("the token does not belong to this session")
        claim = Claim(session_id, int(expiry, 36))
        if now_s >= claim.expires_s:
            raise BadToken("the token has expired")
        return claim

    def _signed(self, key_id: str, head: str) -> str:
        tag = hmac.digest(self._keys[key_id], head.encode("utf-8", "surrogatepass"), "sha256")[:TAG_BYTES]
        return f"{head}.{urlsafe_b64encode(tag).decode().rstrip('=')}"


def new_session_id() -> str:
    """128 random bits, 32 hexadecimal digits behind the prefix."""
    return MADE_HERE + secrets.token_hex(ID_BYTES)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
