"""A policy file as plain data with a line number for everything in it.

YAML is read as a tree of marked nodes first. Anchors and aliases (which can blow a small file up to gigabytes), doubled
keys, deep nesting and large files are refused; no tag can create an object.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import yaml

from featurestore.errors import PolicyError

Path: TypeAlias = tuple[str | int, ...]

MAX_BYTES: Final = 262_144
MAX_DEPTH: Final = 12


@dataclass(frozen=True)
class Problem:
    """Something wrong at one place of the file."""

    line: int
    message: str


class PolicyFileError(PolicyError):
    """A policy file was refused; ``problems`` holds every problem found, the message lists them as file:line."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: p.line))
        super().__init__("\n".join(f"{name}:{p.line}: {p.message}" for p in self.problems))


@dataclass(frozen=True)
class Source:
    """``data`` is what the file says, ``lines`` maps the path of each value to its line (1-based)."""

    name: str
    data: object
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of the value at ``path``, or of its nearest parent that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def refused(self, problems: Iterable[tuple[Path, str]]) -> PolicyFileError:
        """The error that reports ``problems``, each a path and a message."""
        return PolicyFileError(self.name, [Problem(self.line(path), message) for path, message in problems])


def parse(text: str, name: str) -> Source:
    """Read the text of a policy file.

    Raises:
        PolicyFileError: it is no YAML, or uses what a policy must not.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PolicyFileError(name, [Problem(1, f"the file is larger than {MAX_BYTES} bytes; shorten it")])
    try:
        _refuse_aliases(text, name)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise PolicyFileError(name, [Problem(line, f"not YAML: {error.problem}; check the indentation")]) from None
    except (yaml.YAMLError, RecursionError):
        raise PolicyFileError(name, [Problem(1, "not YAML in UTF-8; save the file as plain text")]) from None
    if root is None:
        raise PolicyFileError(name, [Problem(1, "the file is empty; start from deploy/policies/default.yaml")])
    reader = _Reader()
    data = reader.value(root, ())
    if reader.problems:
        raise PolicyFileError(name, reader.problems)
    return Source(name, data, reader.lines)


def _refuse_aliases(text: str, name: str) -> None:
    """Before anything is built: one pass over the events finds aliases and depth without expanding them."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PolicyFileError(name, [Problem(line, "anchors and aliases (& and *) are not allowed; write it out")])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise PolicyFileError(name, [Problem(line, f"nested more than {MAX_DEPTH} levels deep; flatten it")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: Path) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, object]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(line, "a key must be one word"))
                continue
            key = str(key_node.value)  # as written: `NO` stays "NO", `1` stays "1"
            if key in seen:
                self.problems.append(Problem(line, f"{key!r} stands twice, first on line {seen[key]}; remove one"))
                continue
            seen[key] = line
            self.lines[*path, key] = line
            yield key, self.value(value_node, (*path, key))

    def _scalar(self, node: yaml.Node) -> object:
        try:
            value = self._scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError):
            value = None
        if value is None or isinstance(value, str | bool | int | float):
            return value
        return str(node.value)
