"""A partition's fields change by its transitions and no other way."""

import ast
from collections import Counter
from dataclasses import fields
from pathlib import Path

import worker
from featurestore.store.keys import Shard
from worker.partitions.partition import MOST_ENDING, Partition

FIELDS = {field.name for field in fields(Partition)} - {"number", "shards"}
WORKER = Path(worker.__file__).parent


def _assigned(node: ast.AST) -> list[ast.Attribute]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    flat = [leaf for target in targets if target is not None for leaf in ast.walk(target)]
    return [leaf for leaf in flat if isinstance(leaf, ast.Attribute) and isinstance(leaf.ctx, ast.Store)]


def test_no_module_sets_a_field_of_a_partition() -> None:
    """Who wants to change one finds every cause in one file."""
    found = []
    for path in sorted(WORKER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                found += [
                    f"{path.relative_to(WORKER)}:{target.lineno} {target.attr}"
                    for target in _assigned(node)
                    if target.attr in FIELDS and not (isinstance(target.value, ast.Name) and target.value.id == "self")
                ]
    assert not found


def test_a_hundred_thousand_ends_in_one_bucket_become_lists_of_a_bounded_size() -> None:
    """A shopper who sets the time of events can aim at a bucket; each list is read and deleted in one turn."""
    partition, shard = Partition(0, [Shard(0), Shard(0, 1)]), Shard(0, 1)
    partition.asked(6)
    placed: Counter[int] = Counter()
    for _ in range(100):
        placed.update(partition.puts(shard, [7] * 1_000))
    assert max(placed.values()) == MOST_ENDING
    assert sorted(placed) == list(range(7, 7 + len(placed)))
    assert placed.total() == 100_000
    assert partition.puts(Shard(0), [7, 2]) == [7, 6], "another shard has lists of its own"
    partition.asked(9)
    assert min(partition.ending[1]) == 9


def test_every_field_that_changes_has_a_transition() -> None:
    tree = ast.parse((WORKER / "partitions" / "partition.py").read_text(encoding="utf-8"))
    changed = {target.attr for node in ast.walk(tree) for target in _assigned(node)}
    assert changed == FIELDS
