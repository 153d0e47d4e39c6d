"""What compiled functions may do where a function that counts no references calls them."""

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[4]
_MAKERS: Final = {"zeros", "empty", "ones", "full", "zeros_like", "empty_like", "array", "copy", "astype", "arange"}


def _kernels() -> dict[str, tuple[str, ast.FunctionDef]]:
    """Decorator and body of every kernel, by name."""
    found: dict[str, tuple[str, ast.FunctionDef]] = {}
    for package in ("featurestore", "models", "decisions"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef):
                    names = {d.id for d in node.decorator_list if isinstance(d, ast.Name)} & {"compiled", "inlined"}
                    if names:
                        found[node.name] = names.pop(), node
    return found


def _calls(body: ast.FunctionDef) -> set[str]:
    """The last parts of the names that a function calls."""
    called = (node.func for node in ast.walk(body) if isinstance(node, ast.Call))
    return {f.id if isinstance(f, ast.Name) else f.attr for f in called if isinstance(f, ast.Name | ast.Attribute)}


def test_what_an_inlined_function_calls_makes_no_array() -> None:
    """It is compiled as its first caller is. In a process that folds before it has loaded a bundle that failed."""
    kernels = _kernels()
    left = [name for name, (kind, _) in kernels.items() if kind == "inlined"]
    seen = set(left)
    while left:
        calls = _calls(kernels[left.pop()][1])
        assert not calls & _MAKERS
        left += (new := calls & kernels.keys() - seen)
        seen |= new
    assert {"apply_event", "nearest"} <= seen
