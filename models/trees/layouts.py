"""Two ways to lay an ensemble out for the processor, and which one it gets.

*Leaf sets* suit trees of up to some hundred leaves, which clean labels give: the set of reachable leaves is looked up
per feature and intersected, without a single step down a tree. *Walking* suits large trees: compact nodes, eight rows
interleaved. Both read the same ranks and add the same integers, so their results are equal bit for bit.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from models.trees.kernels import (
    BLOCK,
    DE_BRUIJN,
    DE_BRUIJN_8,
    DE_BRUIJN_32,
    EIGHTH,
    HALF,
    LEAVES,
    SLOT_SHIFT,
    SLOT_SHIFT_8,
    SLOT_SHIFT_32,
    predict_by_leafsets,
    predict_by_walking,
    rank_rows,
)

# A leaf set costs about as much per word as walking costs for this many steps (bench/forest.py --both).
STEPS_PER_WORD: Final = 4
MAX_WORDS_A_TREE: Final = 8
MAX_FEATURES: Final = 256
_LEAF_RANK: Final = 0xFFFFFFFF


class Share(NamedTuple):
    """How much of a word a tree gets in a block.

    Attributes:
        trees: that share a word.
        leaves: that a tree, or a word of a tree of several words, has room for.
        begin: the bit of its first leaf; bit 0 of a word of several stays free.
        slots: where the value of each leaf stands among the ``room`` values of the share, shape (leaves,).
        room: values a share takes.
    """

    trees: int
    leaves: int
    begin: int
    slots: NDArray[np.int64]
    room: int


_BITS: Final = np.uint64(1) << np.arange(64, dtype=np.uint64)
_BYTE: Final = Share(
    8, EIGHTH, 0, ((_BITS[:EIGHTH] * DE_BRUIJN_8 & np.uint64(0xFF)) >> np.uint64(SLOT_SHIFT_8)).astype(np.int64), EIGHTH
)
_HALF_WORD: Final = Share(
    2,
    HALF,
    0,
    ((_BITS[:HALF] * DE_BRUIJN_32 & np.uint64(0xFFFFFFFF)) >> np.uint64(SLOT_SHIFT_32)).astype(np.int64),
    HALF,
)
_WORD: Final = Share(1, LEAVES, 1, (_BITS * DE_BRUIJN >> SLOT_SHIFT).astype(np.int64)[1:], 64)
_SHARES: Final = {0: _HALF_WORD, -1: _BYTE}
"""Of the widths of trees that share a word."""
_VECTOR: Final = 8
"""Words of a block come in multiples of these, so that no loop over them has a rest."""


def order_keys(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Integers in the order of the floats: the sign and magnitude of IEEE 754 as two's complement; -0 becomes 0."""
    bits = (values + np.float32(0)).view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


@dataclass(frozen=True)
class Trees:
    """The trees themselves, as they are stored: nodes breadth first within a tree, the right child after the left.

    ``start`` (t + 1,) first node of each tree · ``feature`` (n,) split feature, -1 at a leaf · ``threshold`` (n,) goes
    left if ``x <= threshold`` · ``left`` (n,) left child, counted from the tree's first node · ``value`` (n, k)
    fixed-point values of the outputs; at an inner node the mean of its training rows.
    """

    start: NDArray[np.int64]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    value: NDArray[np.int64]

    def leaves(self) -> NDArray[np.int64]:
        """Leaves of each tree: one more than its inner nodes."""
        return (np.diff(self.start) + 1) // 2

    def depths(self) -> NDArray[np.int64]:
        return tree_depths(self.start, self.left, self.feature)

    def outputs(self) -> NDArray[np.int64] | None:
        """The one output that each tree adds to, shape (t,); None if some tree adds to several."""
        used = np.logical_or.reduceat(self.value != 0, self.start[:-1], axis=0)
        return None if (used.sum(axis=1) > 1).any() else used.argmax(axis=1)


@dataclass(frozen=True)
class Finish:
    """How sums become outputs; see `kernels.finish_rows`."""

    unit: NDArray[np.float64]
    bias: NDArray[np.float64]
    links: NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """The ensemble's thresholds per feature, sorted, distinct and padded for a search of fixed length.

    ``columns`` says which column of the rows each feature is, ``fill`` what stands in for NaN there.
    """

    columns: NDArray[np.int64]
    fill: NDArray[np.float64]
    keys: NDArray[np.int32]
    start: NDArray[np.int64]
    half: NDArray[np.int64]
    first: NDArray[np.int64]  # first absolute rank of each feature, then the number of all ranks

    @classmethod
    def build(
        cls,
        feature: NDArray[np.int32],
        threshold: NDArray[np.float32],
        columns: NDArray[np.int64],
        fill: NDArray[np.float64],
    ) -> "Ranks":
        """Thresholds of all nodes; a leaf has feature -1."""
        keys, start, half, first = [], [0], [], [0]
        for j in range(columns.size):
            distinct = np.unique(order_keys(threshold[feature == j]))
            half.append((1 << len(distinct).bit_length()) // 2)
            keys.append(np.concatenate([distinct, np.full(2 * half[-1] - len(distinct), 2**31 - 1, np.int32)]))
            start.append(start[-1] + 2 * half[-1])
            first.append(first[-1] + len(distinct) + 1)
        as_int = [np.array(part, np.int64) for part in (start, half, first)]
        return cls(columns, fill, np.concatenate([*keys, np.zeros(1, np.int32)]), *as_int)

    def rank(self, X: NDArray[np.float64], ranks: NDArray[np.uint32]) -> None:
        """See `kernels.rank_rows`."""
        rank_rows(X, self.columns, self.fill, self.keys, self.start, self.half, self.first, ranks)

    def of_nodes(self, feature: NDArray[np.int32], threshold: NDArray[np.float32]) -> NDArray[np.int64]:
        """Absolute rank of each node's threshold: a row goes right if its rank is greater. Leaves: the largest."""
        ranks = np.full(len(feature), _LEAF_RANK, np.int64)
        for j in range(len(self.half)):
            mine = feature == j
            keys = self.keys[self.start[j] : self.start[j + 1]]
            ranks[mine] = self.first[j] + np.searchsorted(keys, order_keys(threshold[mine]))
        return ranks


@dataclass(frozen=True)
class Walk:
    """Eight-byte nodes, breadth first, siblings adjacent; see `kernels.walk_rows`."""

    ranks: Ranks
    nodes: NDArray[np.uint64]
    start: NDArray[np.int64]
    depth: NDArray[np.int64]
    value: NDArray[np.int64]

    name = "walk"

    @classmethod
    def build(cls, trees: Trees, ranks: Ranks) -> "Walk":
        leaf = trees.feature < 0
        inner = np.arange(len(leaf)) - np.repeat(trees.start[:-1], np.diff(trees.start))
        left = np.where(leaf, inner, trees.left).astype(np.uint64)
        rank = ranks.of_nodes(trees.feature, trees.threshold).astype(np.uint64)
        feature = np.where(leaf, 0, trees.feature).astype(np.uint64)
        nodes = (rank << np.uint64(32)) | (left << np.uint64(8)) | feature
        return cls(ranks, nodes, trees.start, trees.depths(), trees.value)

    def predict(self, X: NDArray[np.float64], finish: Finish, out: NDArray[np.float64]) -> None:
        r = self.ranks
        predict_by_walking(
            X, r.columns, r.fill, r.keys, r.start, r.half, r.first,
            self.nodes, self.start, self.depth, self.value,
            finish.unit, finish.bias, finish.links, out,
        )  # fmt: skip


@dataclass(frozen=True)
class LeafSets:
    """Tables of reachable leaves; see `kernels.leafset_rows`."""

    ranks: Ranks
    width: NDArray[np.int64]
    size: NDArray[np.int64]
    count: NDArray[np.int64]
    segment: NDArray[np.int64]
    local: NDArray[np.uint16]
    table: NDArray[np.uint64]
    start: NDArray[np.int64]
    value: NDArray[np.int64]
    value_start: NDArray[np.int64]

    name = "leafsets"

    @classmethod
    def build(cls, trees: Trees, ranks: Ranks) -> "LeafSets":
        rank = ranks.of_nodes(trees.feature, trees.threshold)
        low, high = leaf_ranges(trees.start, trees.left, trees.feature)
        outputs, k = trees.outputs(), trees.value.shape[1]
        blocks = _blocks(_widths(trees.leaves()), outputs)
        # One number a leaf where each tree adds to one output: a quarter of the memory of four.
        leaf_value = trees.value if outputs is None else trees.value.sum(axis=1, keepdims=True)
        n_ranks = int(ranks.first[-1])
        local = np.zeros((len(blocks), n_ranks + 1), np.uint16)
        tables, values, sizes = [], [], []
        for b, (width, members) in enumerate(blocks):
            share = _SHARES.get(width, _WORD)
            sizes.append(-(-max(width, 1) * len(members) // (share.trees * _VECTOR)) * _VECTOR)
            used = np.zeros(n_ranks + 1, np.bool_)
            for t in members:
                split = rank[trees.start[t] : trees.start[t + 1]]
                used[split[split != _LEAF_RANK]] = True
            rows = number_local_ranks(used, ranks.first, local[b])
            universe = np.zeros(sizes[-1], np.uint64)
            value = np.zeros((len(members) * max(width, 1) * share.room, leaf_value.shape[1]), np.int64)
            place_leaves(members, max(width, 1), share, trees.start, trees.feature, low, leaf_value, universe, value)
            table = np.tile(universe, (rows, 1))
            fill_table(
                members, share, trees.start, trees.feature, trees.left,
                rank, low, high, ranks.first, local[b], table,
            )  # fmt: skip
            tables.append(table.reshape(-1))
            values.append(value)
        return cls(
            ranks,
            np.array([width for width, _ in blocks], np.int64),
            np.array(sizes, np.int64),
            np.array([len(members) for _, members in blocks], np.int64),
            np.zeros((0, k + 1), np.int64) if outputs is None else _segments(blocks, outputs, k),
            local,
            np.concatenate(tables),
            np.cumsum([0, *map(len, tables)], dtype=np.int64),
            np.concatenate(values),
            np.cumsum([0, *map(len, values)], dtype=np.int64),
        )

    def predict(self, X: NDArray[np.float64], finish: Finish, out: NDArray[np.float64]) -> None:
        r = self.ranks
        predict_by_leafsets(
            X, r.columns, r.fill, r.keys, r.start, r.half, r.first,
            self.width, self.size, self.count, self.segment, self.local, self.table, self.start,
            self.value, self.value_start,
            finish.unit, finish.bias, finish.links, out,
        )  # fmt: skip


def choose(trees: Trees) -> type[Walk] | type[LeafSets]:
    """The layout that is expected to be faster, from the numbers of leaves and the depths alone."""
    widths = _widths(trees.leaves())
    words = np.select([widths == width for width in _SHARES], [1 / share.trees for share in _SHARES.values()], widths)
    fits = widths.max(initial=0) <= MAX_WORDS_A_TREE
    return LeafSets if fits and words.sum() * STEPS_PER_WORD <= trees.depths().sum() + len(words) else Walk


def _widths(leaves: NDArray[np.int64]) -> NDArray[np.int64]:
    """Words that each tree needs; 0 if half a word will do, -1 if a byte will."""
    return np.select([leaves <= EIGHTH, leaves <= HALF], [-1, 0], -(-leaves // LEAVES))


def _blocks(widths: NDArray[np.int64], outputs: NDArray[np.int64] | None) -> list[tuple[int, NDArray[np.int64]]]:
    """Trees of equal width, as many as fit into a block; those of one output stand together."""
    blocks = []
    for width in np.unique(widths).tolist():
        alike = np.flatnonzero(widths == width)
        if outputs is not None:
            alike = alike[np.argsort(outputs[alike], kind="stable")]
        fit = BLOCK // width if width > 0 else _SHARES[width].trees * BLOCK
        blocks += [(width, alike[at : at + fit]) for at in range(0, len(alike), fit)]
    return blocks


def _segments(blocks: list[tuple[int, NDArray[np.int64]]], outputs: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Where the trees of each output begin within each block; shape (blocks, k + 1)."""
    return np.array([np.searchsorted(outputs[members], np.arange(k + 1)) for _, members in blocks], np.int64)


@compiled
def tree_depths(start: NDArray[np.int64], left: NDArray[np.int32], feature: NDArray[np.int32]) -> NDArray[np.int64]:
    """Steps to the deepest leaf of each tree; children come after their parents."""
    depths = np.zeros(len(start) - 1, np.int64)
    level = np.zeros(len(left), np.int64)
    for t in range(len(depths)):
        for i in range(start[t], start[t + 1]):
            if feature[i] >= 0:
                child = start[t] + left[i]
                level[child] = level[child + 1] = level[i] + 1
            depths[t] = max(depths[t], level[i])
    return depths


@compiled
def leaf_ranges(
    start: NDArray[np.int64], left: NDArray[np.int32], feature: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each node the leaves below it, ``low <= leaf < high``, numbered from left to right within the tree."""
    low, high = np.zeros(len(left), np.int64), np.ones(len(left), np.int64)
    for t in range(len(start) - 1):
        for i in range(start[t + 1] - 1, start[t] - 1, -1):
            if feature[i] >= 0:
                child = start[t] + left[i]
                high[i] = high[child] + high[child + 1]  # so far the number of leaves
        for i in range(start[t], start[t + 1]):
            if feature[i] >= 0:
                child = start[t] + left[i]
                low[child], low[child + 1] = low[i], low[i] + high[child]
            high[i] += low[i]
    return low, high


@compiled
def number_local_ranks(used: NDArray[np.bool_], first: NDArray[np.int64], local: NDArray[np.uint16]) -> int:
    """Map each absolute rank to a table row, one row per interval between used thresholds; returns the rows."""
    row = 0
    for j in range(len(first) - 1):
        for rank in range(first[j], first[j + 1]):
            local[rank] = row
            if used[rank]:
                row += 1
        row += 1
    local[first[-1]] = row
    return row + 1


@compiled
def place_leaves(
    members: NDArray[np.int64],
    width: int,
    share: Share,
    start: NDArray[np.int64],
    feature: NDArray[np.int32],
    low: NDArray[np.int64],
    value: NDArray[np.int64],
    universe: NDArray[np.uint64],
    placed: NDArray[np.int64],
) -> None:
    """Give each leaf of the block its bit in ``universe`` and its row in ``placed``."""
    for g in range(len(members)):
        shift = share.begin + share.leaves * (g % share.trees)
        for i in range(start[members[g]], start[members[g] + 1]):
            if feature[i] < 0:
                word, nth = low[i] // share.leaves, low[i] % share.leaves
                universe[word * len(members) + g // share.trees] |= np.uint64(1) << np.uint64(nth + shift)
                placed[(g * width + word) * share.room + share.slots[nth]] = value[i]


@compiled
def fill_table(
    members: NDArray[np.int64],
    share: Share,
    start: NDArray[np.int64],
    feature: NDArray[np.int32],
    left: NDArray[np.int32],
    rank: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    first: NDArray[np.int64],
    local: NDArray[np.uint16],
    table: NDArray[np.uint64],
) -> None:
    """Remove from each table row the leaves that its interval cannot reach; bits as in `place_leaves`."""
    leaves = share.leaves
    for g in range(len(members)):
        shift = share.begin + leaves * (g % share.trees)
        origin = start[members[g]]
        for i in range(origin, start[members[g] + 1]):
            if feature[i] < 0:
                continue
            top, end = local[first[feature[i]]], local[first[feature[i] + 1] - 1]
            for side in range(2):
                child = origin + left[i] + side
                # rows up to the node's own go left and cannot reach the right child, the others the left one
                row_from, row_to = (local[rank[i]] + 1, end + 1) if side == 0 else (top, local[rank[i]] + 1)
                for word in range(low[child] // leaves, (high[child] - 1) // leaves + 1):
                    a, b = max(low[child] - word * leaves, 0), min(high[child] - word * leaves, leaves)
                    # a run of b - a ones from the bit of leaf a on
                    gone = ((np.uint64(2) << np.uint64(b - a - 1)) - np.uint64(1)) << np.uint64(a + shift)
                    for row in range(row_from, row_to):
                        table[row, word * len(members) + g // share.trees] &= ~gone
