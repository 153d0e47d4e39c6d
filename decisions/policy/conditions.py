"""The conditions of a rule: ``cart_value >= 80 and device in [mobile, tablet]``.

A hand-written scanner, linear in the text: there is nothing in the language that could backtrack or run.

    conditions = condition { "and" condition }
    condition  = name ("<" | "<=" | ">" | ">=" | "==") value  |  name "in" "[" value { "," value } "]"
               | head "in" "top" number "%"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from featurestore.columns.hashing import hash_text
from featurestore.contract.codes import country_code
from featurestore.contract.event import DEVICES, SOURCES
from featurestore.session.features import FEATURES
from featurestore.session.segments import KINDS
from models.heads.scoring import OutputNames

EARLIER: Final = "earlier_segment"
"""What the visitor's session before was; known of visitors whose last session a bundle with segments has seen end."""

CONTEXT: Final = (
    "device",
    "source",
    "country",
    "first_time_visitor",
    "cart_value",
    "cart_items",
    "category",
    "purchases",
    EARLIER,
)
"""What a condition may name beside the features; numbered after them."""

VARIABLES: Final = (*FEATURES, *CONTEXT)
"""What every condition may name; the outputs of the bundle's heads are numbered after them."""

HeadOutputs = Sequence[Sequence[str]]
"""The names of each output of a bundle's heads, in order (`models.heads.scoring.Heads.variables`)."""

TOP: Final = ".top"
"""Behind a head's name: a condition on its rank, in percent of later visits that have less, not on its value."""

OPERATORS: Final = ("<", "<=", ">", ">=", "==", "in")
"""The index is the compiled operator code."""

MAX_VALUES: Final = 64
_TOPS: Final = tuple(f"{percent}%" for percent in range(10, 100, 10))
_NAMED: Final = ("device", "source", "country", "first_time_visitor", "category", EARLIER)
"""Variables whose values are names: only == and in make sense."""


class ConditionError(ValueError):
    """A condition cannot be read; the message says what to write instead."""


@dataclass(frozen=True)
class Condition:
    """One comparison. ``values`` are the numbers compared with, ``words`` the same as written."""

    variable: str
    operator: str
    values: tuple[float, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        if self.variable.endswith(TOP):
            return f"{self.variable.removesuffix(TOP)} in {self.words[0]}"
        right = f"[{', '.join(self.words)}]" if self.operator == "in" else self.words[0]
        return f"{self.variable} {self.operator} {right}"


def numbers(outputs: HeadOutputs) -> dict[str, int]:
    """The number of each variable in the compiled comparison, by each of its names."""
    known = {name: i for i, name in enumerate(VARIABLES)}
    return known | {name: len(VARIABLES) + i for i, names in enumerate(outputs) for name in names}


def compared(condition: Condition, outputs: HeadOutputs) -> tuple[str, tuple[float, ...]]:
    """What is compared in the end: the variable and the values. ``in top 20 %`` becomes its probability."""
    if not condition.variable.endswith(TOP):
        return condition.variable, condition.values
    name = condition.variable.removesuffix(TOP)
    return name, (_tenths(name, outputs)[round(condition.values[0] / 10) - 1],)


def _tenths(name: str, outputs: HeadOutputs) -> tuple[float, ...]:
    for names in outputs:
        if name in names and isinstance(names, OutputNames):
            return names.tenths
    return ()


def parse_conditions(text: str, outputs: HeadOutputs | None = None) -> tuple[Condition, ...]:
    """Read conditions joined by ``and``.

    Args:
        text: what the file says.
        outputs: of the bundle's heads; None to take any name for one, where the policy was checked already.

    Raises:
        ConditionError: with a remedy.
    """
    known = None if outputs is None else tuple(numbers(outputs))
    ranked = [name for names in outputs or () for name in names if _tenths(name, outputs or ())]
    tokens = _scan(text)
    found: list[Condition] = []
    at = 0
    while True:
        condition, at = _condition(tokens, at, known)
        if condition.variable.endswith(TOP) and known is not None:
            _check_ranked(condition.variable.removesuffix(TOP), ranked)
        found.append(condition)
        if at == len(tokens):
            return tuple(found)
        if tokens[at] != ("word", "and"):
            raise ConditionError(f"expected `and` before {tokens[at][1]!r}; for `or` write a second rule")
        at += 1


def category_code(name: str) -> int:
    """The 32-bit code that the fold stores for a category."""
    return hash_text(name) & 0xFFFF_FFFF


def _scan(text: str) -> list[tuple[str, str]]:
    """Tokens as (kind, text), kind one of word, quoted, mark."""
    tokens: list[tuple[str, str]] = []
    i = 0
    while i < len(text):
        c = text[i]
        if c.isspace():
            i += 1
        elif c in "<>=!~":
            j = i + 1
            while j < len(text) and text[j] in "<>=!~":
                j += 1
            tokens.append(("mark", text[i:j]))
            i = j
        elif c in "[],()":
            tokens.append(("mark", c))
            i += 1
        elif c in "\"'":
            j = text.find(c, i + 1)
            if j < 0:
                raise ConditionError(f"the quote {c} is never closed")
            tokens.append(("quoted", text[i + 1 : j]))
            i = j + 1
        else:
            j = i
            while j < len(text) and not text[j].isspace() and text[j] not in "<>=!~[],()\"'":
                j += 1
            tokens.append(("word", text[i:j]))
            i = j
    return tokens


def _condition(tokens: list[tuple[str, str]], at: int, known: tuple[str, ...] | None) -> tuple[Condition, int]:
    kind, variable = _token(tokens, at, "a feature, context or head name")
    if kind != "word" or (known is not None and variable not in known):
        raise ConditionError(f"unknown feature, context or head {variable!r}{suggest(variable, known or VARIABLES)}")
    _, operator = _token(tokens, at + 1, f"an operator after {variable!r}")
    if operator not in OPERATORS:
        raise ConditionError(f"unknown operator {operator!r}; use one of {' '.join(OPERATORS)}")
    if operator == "in" and tokens[at + 2 : at + 3] == [("word", "top")]:
        return _top(variable, tokens, at + 3)
    if operator == "in":
        words, at = _list(tokens, at + 2)
    else:
        if variable in _NAMED and operator != "==":
            raise ConditionError(f"{variable} is a name, not a number; compare it with == or in")
        kind, word = _token(tokens, at + 2, f"a value after {operator!r}")
        if kind == "mark":
            raise ConditionError(f"expected a value after {operator!r}, not {word!r}")
        words, at = (word,), at + 3
    return Condition(variable, operator, tuple(_value(variable, w) for w in words), words), at


def _top(variable: str, tokens: list[tuple[str, str]], at: int) -> tuple[Condition, int]:
    """``head in top 20 %``: its rank is 80 or more."""
    _, word = _token(tokens, at, "a percentage after top, like top 20 %")
    at += 1
    if tokens[at : at + 1] == [("word", "%")]:
        word, at = f"{word}%", at + 1
    if word not in _TOPS:
        raise ConditionError(f"top takes 10 %, 20 %, ... 90 %, not {word!r}")
    percent = float(word[:-1])
    return Condition(variable + TOP, ">=", (100 - percent,), (f"top {percent:g} %",)), at


def _check_ranked(name: str, ranked: list[str]) -> None:
    if name not in ranked:
        choice = f"; known are {', '.join(ranked[::2])}" if ranked else "; train a bundle with outcome heads"
        raise ConditionError(f"{name} has no tenths, so it has no top{choice}")


def _list(tokens: list[tuple[str, str]], at: int) -> tuple[tuple[str, ...], int]:
    if _token(tokens, at, "a list like [a, b] after 'in'") != ("mark", "["):
        raise ConditionError("`in` needs a list in brackets, like [a, b]")
    words: list[str] = []
    while True:
        kind, word = _token(tokens, at + 1, "a value in the list")
        if kind == "mark":
            raise ConditionError(f"expected a value in the list, not {word!r}; values are separated by commas")
        words.append(word)
        if len(words) > MAX_VALUES:
            raise ConditionError(f"a list holds at most {MAX_VALUES} values")
        mark = _token(tokens, at + 2, "] after the list")
        at += 2
        if mark == ("mark", "]"):
            return tuple(words), at + 1
        if mark != ("mark", ","):
            raise ConditionError(f"expected a comma or ] before {mark[1]!r}; put a name with spaces in quotes")


def _token(tokens: list[tuple[str, str]], at: int, what: str) -> tuple[str, str]:
    if at >= len(tokens):
        raise ConditionError(f"expected {what}, but the condition ends")
    return tokens[at]


def _value(variable: str, word: str) -> float:
    """The number that stands for ``word`` in the compiled comparison."""
    if variable == "device":
        return _code(word, DEVICES, variable)
    if variable == "source":
        return _code(word, SOURCES, variable)
    if variable == "first_time_visitor":
        if word not in {"true", "false"}:
            raise ConditionError(f"first_time_visitor is true or false, not {word!r}")
        return float(word == "true")
    if variable == "country":
        code = country_code(word)
        if code == 0 and word != "unknown":
            raise ConditionError(f"{word!r} is no country; use two letters like DE, or unknown")
        return float(code)
    if variable == EARLIER:
        return _code(word, KINDS, "kind of visit") + 1
    if variable == "category":
        return float(category_code(word))
    try:
        value = float(word)
    except ValueError:
        raise ConditionError(f"{variable} is a number; {word!r} is none") from None
    if not abs(value) < 1e15:
        raise ConditionError(f"{word!r} is out of range for {variable}")
    return value


def _code(word: str, table: tuple[str, ...], variable: str) -> float:
    if word not in table:
        raise ConditionError(f"unknown {variable} {word!r}{suggest(word, table)}")
    return float(table.index(word))


def suggest(word: str, choices: tuple[str, ...] | list[str]) -> str:
    """``; did you mean ...`` where something is close, else the choices."""
    close = get_close_matches(word, choices, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; use one of: {', '.join(choices)}"
