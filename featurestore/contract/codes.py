"""Countries and currencies as numbers of 16 bits: how a row of `EVENT` and a session's state keep them.

The numbers are persisted: they never change.
"""


def currency_code(text: str | None) -> int:
    """Three ASCII letters as one 16-bit number, 0 for anything else; `currency_name` is the inverse."""
    if text is None or len(text) != 3 or not (text.isascii() and text.isalpha()):
        return 0
    a, b, c = (ord(letter) - 65 for letter in text.upper())
    return (a * 26 + b) * 26 + c + 1


def currency_name(code: int) -> str:
    """The three letters of a `currency_code`, "" for 0."""
    if not code:
        return ""
    rest, c = divmod(code - 1, 26)
    return "".join(chr(65 + letter) for letter in (*divmod(rest, 26), c))


def country_code(text: str | None) -> int:
    """Two ASCII letters as one 16-bit number, 0 for anything else; `country_name` is the inverse."""
    if text is None or len(text) != 2 or not (text.isascii() and text.isalpha()):
        return 0
    upper = text.upper()
    return ord(upper[0]) << 8 | ord(upper[1])


def country_name(code: int) -> str:
    """The two letters of a `country_code`, "" for 0."""
    return chr(code >> 8) + chr(code & 0xFF) if code else ""
