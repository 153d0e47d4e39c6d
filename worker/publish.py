"""What the documentation takes from the code: ``python -m worker.publish`` writes it, a test holds it up to date.

Tables go between ``<!-- generated: NAME -->`` and ``<!-- end -->`` of the pages below. (The JSON Schemas and the
examples of documents are published by ``python -m tests.published``.)
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from decisions.settings import table
from featurestore.contract import event, junk, schema
from featurestore.session import layout, residuals
from featurestore.session.layout import MEMORY, STATE
from featurestore.store import keys
from worker.errors import ExitCode
from worker.metrics import catalogue
from worker.settings import Settings

ROOT: Final = Path(__file__).parent.parent
_END: Final = "<!-- end -->"

EXIT_CODES: Final = {
    ExitCode.OK: "done, or stopped by SIGTERM",
    ExitCode.USAGE: "a setting or an argument is missing or wrong",
    ExitCode.BUNDLE: "the model bundle was refused",
    ExitCode.POLICY: "the policy file was refused",
    ExitCode.STUCK: "nothing was applied for `stuck_after_s` while the log grew; a restart reads on",
    ExitCode.UNSAFE: "Kafka or Redis void the promise (`clickstage check` says how), or are out of reach",
    ExitCode.SHUTDOWN: "the shutdown overran `shutdown_s`; nothing applied is lost",
    ExitCode.CHECK: "a self-check found a difference; `inspect` knows nothing of the session",
    ExitCode.PORT: "a port to listen at is taken",
    ExitCode.REMARKS: "`check --policy` has remarks; the policy works",
    ExitCode.INTERNAL: "a bug",
}


def exit_codes() -> str:
    """The exit codes as a Markdown table."""
    return _table(("code", "meaning"), [(str(int(code)), text) for code, text in EXIT_CODES.items()])


def head_table() -> str:
    """The head of a stored session: where each field begins."""
    rows = [(str(at), name, kind) for name, at, kind in _fields(STATE, 0, until="page_hashes")]
    base = STATE.fields["page_hashes"][1] if STATE.fields is not None else 0
    rows += [(str(at), f"memory.{name}", kind) for name, at, kind in _fields(MEMORY, base)]
    return _table(("byte", "field", "type"), [(at, f"`{name}`", kind) for at, name, kind in rows])


def usual_bytes() -> str:
    """The bytes of the head that are hardly ever zero."""
    return (
        ", ".join(f"`{name}` {first}" + f" to {end - 1}" * (end - first > 1) for name, first, end in layout.USUAL) + "."
    )


def alike_table() -> str:
    """The fields of the head that are kept XOR another one."""
    rows: list[tuple[str, ...]] = [(f"`{name}`", f"`{other}`", str(size)) for name, other, size in layout.ALIKE]
    return _table(("field", "mostly holds the same as", "bytes"), rows)


def residual_table() -> str:
    """The fields of the head that other fields predict."""
    return _table(("field", "what is kept instead"), [*residuals.TAKEN])


def money_fields() -> str:
    """The amounts of the head, and the parts they are counted in."""
    return ", ".join(f"`{name}` ({parts:.0f})" for name, parts in residuals.MONEY) + "."


def type_table() -> str:
    """The event types' codes."""
    return ", ".join(f"{code} `{name}`" for code, name in enumerate(event.EVENT_TYPES)) + "."


def field_table() -> str:
    """The fields of an event."""
    described = schema.json_schema()["properties"]
    rows: list[tuple[str, ...]] = [
        (f"`{name}`" + " (required)" * (name in schema.REQUIRED), field.wanted, described[name].get("description", ""))
        for name, field in event.FIELDS.items()
    ]
    return _table(("field", "what it must be", "what it is for"), rows)


def passive_table() -> str:
    """The event types, by whether somebody acts."""
    acts = [name for name in event.EVENT_TYPES if name not in event.PASSIVE]
    return _table(
        ("", "types"),
        [
            ("interactions", " ".join(f"`{name}`" for name in acts)),
            ("passive", " ".join(f"`{name}`" for name in event.PASSIVE)),
        ],
    )


def junk_words() -> str:
    """What is no id."""
    return " ".join(f"`{word}`" for word in junk.WORDS)


def key_table() -> str:
    """Every Redis key, out of the module that makes them."""
    lines = [line.replace("``", "`") for line in (keys.__doc__ or "").splitlines() if line.startswith("|")]
    return "\n".join(lines)


PAGES: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "README.md": {"settings": lambda: table(Settings), "exit codes": exit_codes},
    "docs/contract.md": {"event fields": field_table, "event types": passive_table, "junk": junk_words},
    "docs/monitoring.md": {"metrics": catalogue.table},
    "featurestore/FORMAT.md": {
        "residuals": residual_table,
        "amounts": money_fields,
        "alike": alike_table,
        "usual": usual_bytes,
        "head": head_table,
        "types": type_table,
        "keys": key_table,
    },
}


def published(root: Path = ROOT) -> dict[Path, str]:
    """Every file as it should be.

    Raises:
        ValueError: a page lacks the marks of a generated part.
    """
    files = {}
    for page, parts in PAGES.items():
        text = (root / page).read_text()
        for name, make in parts.items():
            start = f"<!-- generated: {name} -->\n"
            pattern = re.compile(re.escape(start) + ".*?" + re.escape(_END), re.DOTALL)
            if not pattern.search(text):
                raise ValueError(f"{page} has no part {start.strip()!r} that ends in {_END!r}")
            filled = f"{start}{make()}\n{_END}"
            text = pattern.sub(lambda _, filled=filled: filled, text)  # type: ignore[misc] # mypy cannot infer the default
        files[root / page] = text
    return files


def main() -> int:
    """Write what differs and say so."""
    for path, text in published().items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


def _fields(dtype: "np.dtype[np.void]", base: int, until: str = "") -> list[tuple[str, int, str]]:
    fields = dtype.fields
    found: list[tuple[str, int, str]] = []
    if fields is None:
        return found
    for name in dtype.names or ():
        if name == until:
            break
        kind, offset = fields[name][0], fields[name][1]
        one = kind.base.name
        found.append((name, base + offset, f"{one}[{kind.shape[0]}]" if kind.shape else one))
    return found


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
