"""When two addresses are one page: `normalised` is what a page is counted by, before it is hashed.

Scheme and host go, and what advertisers and mailers append to tell visits apart: one product page that comes with 22
click ids is one page. A fragment goes unless it is an address of its own (``#/`` or ``#!``, single-page applications).
Everything else stays as it is, also the order of parameters. Nothing is cut.
"""

from collections.abc import Iterable
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import alike
from featurestore.columns.jit import inlined

PREFIXES: Final = ("utm_", "hsa_", "mtm_", "pk_", "piwik_", "gad_", "_hs")
"""Parameters that begin so are left out."""

PARAMETERS: Final = (
    *("gclid", "gclsrc", "dclid", "gbraid", "wbraid", "srsltid", "_ga", "_gl"),  # Google
    *("fbclid", "fb_action_ids", "fb_source", "igsh", "igshid"),  # Meta
    *("msclkid", "ttclid", "twclid", "li_fat_id", "epik", "rdt_cid", "sccid", "yclid", "ysclid", "_openstat"),
    *(
        "mc_cid",
        "mc_eid",
        "mkt_tok",
        "hsctatracking",
        "vero_id",
        "vero_conv",
        "_ke",
        "_kx",
        "oly_enc_id",
        "oly_anon_id",
    ),
    *("ef_id", "s_kwcid", "irclickid", "irgwc", "cjevent", "awc", "zanpid", "tblci", "obclid", "wickedid"),
    *("_branch_match_id", "ga_source", "ga_medium", "ga_campaign"),
)
"""Parameters that are left out; names of any case."""


class Pages:
    """The rule, with the parameters that a shop leaves out beside the usual ones.

    Args:
        more: names of parameters; one that ends in ``*`` is a prefix.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        names = [name.strip().lower().encode() for name in more if name.strip()]
        self._words = frozenset([*map(str.encode, PARAMETERS), *(name for name in names if not name.endswith(b"*"))])
        self._prefixes = tuple(
            sorted({*map(str.encode, PREFIXES), *(name[:-1] for name in names if name.endswith(b"*"))})
        )
        self.table = _table(sorted(self._words), self._prefixes)

    @classmethod
    def of(cls, text: str) -> Self:
        """From the setting: names between commas."""
        return cls(text.split(","))

    def normalised(self, page: str) -> str:
        """The address that a page is counted by.

        >>> USUAL.normalised("https://shop.example/p/1?utm_source=x&size=9&FBCLID=y#reviews")
        '/p/1?size=9'
        >>> USUAL.normalised("https://shop.example"), USUAL.normalised("/app?gclid=1#/cart"), USUAL.normalised("Home")
        ('/', '/app#/cart', 'Home')
        """
        address, mark, fragment = page.encode("utf-8", "surrogatepass").partition(b"#")
        kept = mark + fragment if fragment.startswith((b"/", b"!")) else b""
        path, question, query = _without_host(address).partition(b"?")
        if question:
            parameters = [part for part in query.split(b"&") if not self._leaves_out(part)]
            query = b"&".join(parameters)
        return (path + (b"?" + query if query else b"") + kept).decode("utf-8", "surrogatepass")

    def _leaves_out(self, parameter: bytes) -> bool:
        name = parameter.partition(b"=")[0].lower()
        return not parameter or name in self._words or name.startswith(self._prefixes)


def _without_host(address: bytes) -> bytes:
    """The address from its path on; as it is, where it names no host."""
    lower = address[:8].lower()
    size = 8 if lower == b"https://" else 7 if lower.startswith(b"http://") else 0
    if not size:
        return address
    host = min((at for at in map(address[size:].find, (b"/", b"?")) if at >= 0), default=len(address) - size)
    path = address[size + host :]
    return path if path.startswith(b"/") else b"/" + path


def _table(words: Iterable[bytes], prefixes: Iterable[bytes]) -> NDArray[np.void]:
    """Words and prefixes as one record, an argument of compiled code."""
    parts: dict[str, NDArray[Any]] = {}
    for name, values in (("words", list(words)), ("prefixes", list(prefixes))):
        parts[name] = np.frombuffer(b"".join(values), np.uint8)
        parts[f"{name}_ends"] = np.cumsum([len(value) for value in values])
    record = np.zeros(1, np.dtype([(name, part.dtype, part.shape) for name, part in parts.items()]))
    for name, part in parts.items():
        record[0][name] = part
    return record


USUAL: Final = Pages()
"""Without a shop's own parameters."""


_MARKS: Final = np.array([byte in b"?#" for byte in range(256)])
"""A table, since compiled code makes a set anew wherever it asks one."""


@inlined
def is_plain(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether a page is its own normal form, as nearly all are: no ``?``, ``#`` or ``://`` in it. For compiled code."""
    for j in range(start, end):
        byte = data[j]
        if _MARKS[byte]:
            return False
        if byte == 58 and j + 2 < end and data[j + 1] == 47 and data[j + 2] == 47:
            return False
    return True


@inlined
def normalise(data: NDArray[np.uint8], start: int, end: int, table: np.void, out: NDArray[np.uint8]) -> int:
    """Write the normal form of ``data[start:end]`` to ``out``; its size. For compiled code, as `Pages.normalised`."""
    stop = end
    for j in range(start, end):
        if data[j] == 35:
            stop = j
            break
    at = 0
    size = _scheme(data, start, stop)
    if size > 0:
        start += size
        while start < stop and data[start] != 47 and data[start] != 63:
            start += 1
        if start == stop or data[start] == 63:
            out[0] = 47
            at = 1
    while start < stop and data[start] != 63:
        out[at] = data[start]
        at += 1
        start += 1
    start += 1
    first = True
    while start <= stop:
        following = start
        while following < stop and data[following] != 38:
            following += 1
        if following > start and not _left_out(data, start, following, table):
            out[at] = 63 if first else 38
            at += 1
            first = False
            for j in range(start, following):
                out[at] = data[j]
                at += 1
        start = following + 1
    if stop + 1 < end and (data[stop + 1] == 47 or data[stop + 1] == 33):
        for j in range(stop, end):
            out[at] = data[j]
            at += 1
    return at


_HTTPS: Final = np.frombuffer(b"https://", np.uint8)
_HTTP: Final = np.frombuffer(b"http://", np.uint8)


@inlined
def _scheme(data: NDArray[np.uint8], start: int, end: int) -> int:
    """The size of the scheme that an address begins with, 0 for none."""
    if _begins(data, start, end, _HTTPS):
        return 8
    return 7 if _begins(data, start, end, _HTTP) else 0


@inlined
def _begins(data: NDArray[np.uint8], start: int, end: int, word: NDArray[np.uint8]) -> bool:
    return end - start >= word.size and alike(data, start, word, 0, word.size)


@inlined
def _left_out(data: NDArray[np.uint8], start: int, end: int, table: np.void) -> bool:
    """Whether the parameter in ``data[start:end]`` is one that tells visits apart and not pages."""
    stop = start
    while stop < end and data[stop] != 61:
        stop += 1
    begin = 0
    for w in range(table["words_ends"].size):
        size = table["words_ends"][w] - begin
        if size == stop - start and alike(data, start, table["words"], begin, size):
            return True
        begin = table["words_ends"][w]
    begin = 0
    for w in range(table["prefixes_ends"].size):
        size = table["prefixes_ends"][w] - begin
        if size <= stop - start and alike(data, start, table["prefixes"], begin, size):
            return True
        begin = table["prefixes_ends"][w]
    return False
