"""Junk ids: what programs write when they have no id.

As a visitor id, junk would mix strangers. As a session id, it would make one bot of sixty people. As an event id, it
would make every event of a session after the first a duplicate. The list is closed: Clickstage never guesses at a
shop's own names.
"""

from typing import Final

WORDS: Final = (
    "-1",
    "(none)",
    "(not set)",
    "<nil>",
    "[object object]",
    "anonymous",
    "false",
    "n/a",
    "na",
    "nan",
    "nil",
    "none",
    "null",
    "true",
    "undefined",
    "unknown",
    "{}",
    "[]",
)
"""In lower case; compared without regard to the case of ASCII letters."""

LONGEST: Final = max(map(len, WORDS))
_KNOWN: Final = frozenset(WORDS)


WHITE: Final = " \t\r\n"


def is_junk(text: str) -> bool:
    """Whether a text is empty, one of `WORDS`, or nothing but zeros and hyphens; white space around it does not count.

    >>> [is_junk(text) for text in ("undefined", "NaN", "00000000-0000-0000-0000-000000000000", " ", "0", "10")]
    [True, True, True, True, True, False]
    """
    bare = text.strip(WHITE)
    return not bare.strip("0-") or (len(bare) <= LONGEST and bare.isascii() and bare.lower() in _KNOWN)


def pattern() -> str:
    """The same as a regular expression of JSON Schema, which knows no flag for case."""
    words = "|".join("".join(map(_letter, word)) for word in WORDS)
    return f"^[ \\t\\r\\n]*([0-]*|{words})[ \\t\\r\\n]*$"


def _letter(character: str) -> str:
    if character.isalpha():
        return f"[{character}{character.upper()}]"
    return "\\" + character if character in "()[]{}" else character
