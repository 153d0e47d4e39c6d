"""Who may: the shop of a write key, its origins, the session of a token, and how much each may send."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from edge.batcher import Busy
from edge.limits import Limit
from edge.problems import Problem
from edge.requests import Request, household
from edge.settings import EdgeSettings
from edge.shops import Shop, Shops
from edge.tokens import BadToken, Claim, Tokens
from featurestore.errors import StoreUnavailable

KEY_HEADER: Final = b"x-clickstage-key"
LOOK_AGAIN_S: Final = 30.0
"""A token that was found good is not looked up again for this long; until then a withdrawal at another process may not
be noticed."""
MOST_TOKENS: Final = 50_000
PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, if-none-match, x-clickstage-key, sp-anonymous",
    ),
    (b"access-control-max-age", b"7200"),
)


class Gate:
    """Lets requests in, or raises the `Problem` that says why not.

    Args:
        is_withdrawn: asks the store whether a session's consent was withdrawn.
    """

    def __init__(self, settings: EdgeSettings, shops: Shops, is_withdrawn: Callable[[str], Awaitable[bool]]) -> None:
        self._shops = shops
        self._tokens = Tokens(shops.signing_keys)
        self._life_s = settings.edge_token_s
        self._is_withdrawn = is_withdrawn
        self._good: OrderedDict[str, float] = OrderedDict()
        self._withdrawn: OrderedDict[str, None] = OrderedDict()
        burst = settings.edge_burst_s
        rates = settings.edge_key_rate, settings.edge_address_rate, settings.edge_session_rate
        self._by_key, self._by_address, self._by_session = (Limit(rate, rate * burst) for rate in rates)

    def shop(self, request: Request, key: str = "") -> Shop:
        """The shop whose key the request shows, if its page may use it.

        Raises:
            Problem: 401 no key or an unknown one, 403 a page of another origin.
        """
        key = key or request.query.get("key", "") or request.header(KEY_HEADER)
        shop = self._shops.by_key.get(key)
        if shop is None:
            raise Problem(401, "unknown_key", "give the shop's write key as ?key= or in X-Clickstage-Key")
        origin = request.header(b"origin")
        if origin and not shop.allows(origin):
            raise Problem(403, "origin", "pages of this origin may not use this key; add it to the shop's origins")
        return shop

    def allowed_origin(self, request: Request) -> str:
        """The Origin of the request, if some shop's pages come from there and the key it shows (if any) is theirs."""
        origin = request.header(b"origin")
        key = request.query.get("key", "")
        shops = [self._shops.by_key[key]] if key in self._shops.by_key else self._shops.by_key.values()
        return origin if origin and any(shop.allows(origin) for shop in shops) else ""

    def charge(self, shop: Shop, request: Request, session_id: str, units: int) -> None:
        """Count what a request brings; one that brings nothing counts as one.

        Raises:
            Problem: 429, and nothing of the request was taken.
        """
        now, units = time.monotonic(), max(units, 1)
        waits = (
            self._by_key.take(shop.name, units, now),
            self._by_address.take(household(request.address), units, now),
            self._by_session.take(session_id, units, now) if session_id else 0.0,
        )
        if any(waits):
            wait_s = max(1, round(max(waits) + 0.5))
            raise Problem(429, "too_many", "more events than the limit; send them later", retry_after_s=wait_s)

    def issue(self, session_id: str, now_ms: int) -> tuple[str, int]:
        """A token and when it ends, epoch ms."""
        expires_s = now_ms // 1000 + self._life_s
        return self._tokens.issue(session_id, expires_s), expires_s * 1000

    async def claim(self, token: str) -> Claim:
        """What a token says.

        Raises:
            Problem: 401 it is missing, forged or expired; 410 its session was withdrawn.
        """
        claim = self.genuine(token)
        if await self._was_withdrawn(claim.session_id):
            raise Problem(410, "withdrawn", "consent for this session was withdrawn; send nothing more of this shopper")
        return claim

    def same(self, claim: Claim, session_id: str) -> None:
        """Refuse a token of another session.

        Raises:
            Problem: 403.
        """
        if claim.session_id != session_id:
            raise Problem(403, "another_session", "the token is not of this session")

    def genuine(self, token: str) -> Claim:
        """What a token says, whether or not its session was withdrawn.

        Raises:
            Problem: 401 it is missing, forged or expired.
        """
        if not token:
            raise Problem(401, "no_token", "give the session's token: Authorization: Bearer ... (POST /v1/sessions)")
        try:
            return self._tokens.check(token, int(time.time()))
        except BadToken as error:
            raise Problem(401, "bad_token", f"{error}; begin a new session") from None

    def withdrawn(self, session_id: str) -> None:
        """Refuse this session's tokens from now on."""
        self._good.pop(session_id, None)
        self._withdrawn[session_id] = None
        if len(self._withdrawn) > MOST_TOKENS:
            self._withdrawn.popitem(last=False)

    def is_known_withdrawn(self, session_id: str) -> bool:
        """Whether this process knows that the session was withdrawn."""
        return session_id in self._withdrawn

    async def _was_withdrawn(self, session_id: str) -> bool:
        if session_id in self._withdrawn:
            return True
        now = time.monotonic()
        if self._good.get(session_id, 0.0) > now:
            return False
        try:
            withdrawn = await self._is_withdrawn(session_id)
        except (StoreUnavailable, Busy):
            return False  # the mark is the second line: the page that withdrew sends nothing more
        if withdrawn:
            self.withdrawn(session_id)
            return True
        self._good[session_id] = now + LOOK_AGAIN_S
        self._good.move_to_end(session_id)
        if len(self._good) > MOST_TOKENS:
            self._good.popitem(last=False)
        return False


def bearer(request: Request) -> str:
    """The token of the Authorization header, "" for none."""
    scheme, _, token = request.header(b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
