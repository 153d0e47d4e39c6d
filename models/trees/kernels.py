"""The compiled loops of a tree ensemble: ranks, the two layouts, and the end of the sum.

Everything after `rank_rows` is integer arithmetic. A row's value is turned once into its *rank*, the number of the
ensemble's thresholds for that feature that lie below it, so ``x <= threshold[k]`` is ``rank <= k`` for every tree; and
leaves hold fixed-point integers, so neither the order of the trees, nor the layout, nor the batch can change a bit
of the result.

An ensemble has k outputs and knows nothing of what they mean. Where each tree adds to one output only (boosting, a
single output, several heads in one pass), its leaves hold one number and the trees of an output stand together.

Ranks are absolute: feature ``j`` owns the ranks ``first[j] .. first[j] + (its thresholds)``.
"""

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined

BLOCK = 64  # most words in a block of leaf sets, so that its tables stay in the L2 cache
CHUNK = 1024  # rows whose ranks and sums are held at once; a multiple of eight
COUNTED = 64  # thresholds of a feature that are compared one and all, eight at a time, instead of searched
LEAVES = 63  # leaves in a word of several: bit 0 stays free, so that an empty word finds the empty slot 0
HALF = 32  # leaves of a tree that shares its word with another; its half is never empty
EIGHTH = 8  # leaves of a tree that shares its word with seven others
IDENTITY = 0  # links: how raw scores become outputs
SOFTMAX = 1
LOGISTIC = 2
DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # (1 << i) * DE_BRUIJN >> 58 differs for each i
SLOT_SHIFT = np.uint64(58)
DE_BRUIJN_32 = np.uint32(0x077CB531)  # the same of 32 bits, and >> 27
SLOT_SHIFT_32 = np.uint32(27)
DE_BRUIJN_8 = np.uint8(0x1D)  # the same of eight bits, and >> 5
SLOT_SHIFT_8 = np.uint8(5)

F32 = np.float32
I32 = np.int32
U32 = np.uint32
U64 = np.uint64
U16 = np.uint16
U8 = np.uint8


@compiled
def rank_rows(
    X: NDArray[np.float64],
    columns: NDArray[np.int64],
    fill: NDArray[np.float64],
    keys: NDArray[np.int32],
    start: NDArray[np.int64],
    half: NDArray[np.int64],
    first: NDArray[np.int64],
    ranks: NDArray[np.uint32],
) -> None:
    """Absolute rank of each feature of ``X`` (n, any) into ``ranks`` (at least n rows, at least m columns).

    Feature ``j`` of m is column ``columns[j]`` of ``X``; ``fill[j]`` stands in for NaN. ``keys`` holds each feature's
    sorted thresholds as order-preserving integers (`order_keys`), padded with the largest to ``2 * half[j]`` from
    ``start[j]`` on. Values are rounded to float32 first, as scikit-learn does; -0 equals 0 and NaN goes right
    everywhere, because no comparison with it holds.
    """
    n, m = X.shape[0], columns.shape[0]
    rounded = np.empty(m, F32)
    bits = rounded.view(I32)
    for r in range(n):
        for j in range(m):
            x = X[r, columns[j]]
            y = F32(x if x == x else fill[j])  # noqa: PLR0124 (NaN)
            rounded[j] = y + F32(0.0) if y == y else F32(np.inf)  # noqa: PLR0124
        for j in range(m):
            b = bits[j]
            x_key = I32(b ^ ((b >> I32(31)) & I32(0x7FFFFFFF)))
            begin = U64(start[j])
            step = half[j]
            if 2 * step <= COUNTED:
                below = I32(0)
                for k in range(begin, begin + U64(2 * step)):
                    below += I32(keys[k] < x_key)
                ranks[r, j] = U32(first[j] + below)
                continue
            at = begin
            while step > 0:  # the sign of a difference instead of a comparison: no branch to mispredict
                less = (np.int64(keys[at + U64(step - 1)]) - np.int64(x_key)) >> 63
                at += U64(step & less)
                step >>= 1
            ranks[r, j] = U32(U64(first[j]) + at - begin)


@compiled
def walk_rows(
    ranks: NDArray[np.uint32],
    n: int,
    nodes: NDArray[np.uint64],
    start: NDArray[np.int64],
    depth: NDArray[np.int64],
    value: NDArray[np.int64],
    total: NDArray[np.int64],
) -> None:
    """Add every tree's leaf value to ``total`` (n, k): trees outside, eight rows at a time inside.

    A node is ``rank << 32 | left << 8 | feature``; the right child is ``left + 1``; a leaf is its own left child
    with the largest rank, so all rows of a tree take ``depth`` steps without a branch. Eight independent walks hide
    each other's latency. ``ranks`` has room for n rounded up to eight rows; the spare rows are walked and ignored.
    """
    m = U64(ranks.shape[1])
    flat = ranks.reshape(-1)
    low, mid, up, right = U64(255), U64(0xFFFFFF), U64(8), U64(32)
    for t in range(depth.shape[0]):
        tree = nodes[start[t] : start[t + 1]]
        leaves = value[start[t] : start[t + 1]]
        for r in range(0, n, 8):
            o0 = U64(r) * m
            o1, o2, o3, o4 = o0 + m, o0 + U64(2) * m, o0 + U64(3) * m, o0 + U64(4) * m
            o5, o6, o7 = o0 + U64(5) * m, o0 + U64(6) * m, o0 + U64(7) * m
            i0 = i1 = i2 = i3 = i4 = i5 = i6 = i7 = U64(0)
            for _ in range(depth[t]):
                a = tree[i0]
                i0 = ((a >> up) & mid) + U64(U64(flat[o0 + (a & low)]) > (a >> right))
                a = tree[i1]
                i1 = ((a >> up) & mid) + U64(U64(flat[o1 + (a & low)]) > (a >> right))
                a = tree[i2]
                i2 = ((a >> up) & mid) + U64(U64(flat[o2 + (a & low)]) > (a >> right))
                a = tree[i3]
                i3 = ((a >> up) & mid) + U64(U64(flat[o3 + (a & low)]) > (a >> right))
                a = tree[i4]
                i4 = ((a >> up) & mid) + U64(U64(flat[o4 + (a & low)]) > (a >> right))
                a = tree[i5]
                i5 = ((a >> up) & mid) + U64(U64(flat[o5 + (a & low)]) > (a >> right))
                a = tree[i6]
                i6 = ((a >> up) & mid) + U64(U64(flat[o6 + (a & low)]) > (a >> right))
                a = tree[i7]
                i7 = ((a >> up) & mid) + U64(U64(flat[o7 + (a & low)]) > (a >> right))
            for c in range(total.shape[1]):
                total[r, c] += leaves[i0, c]
                total[r + 1, c] += leaves[i1, c]
                total[r + 2, c] += leaves[i2, c]
                total[r + 3, c] += leaves[i3, c]
                total[r + 4, c] += leaves[i4, c]
                total[r + 5, c] += leaves[i5, c]
                total[r + 6, c] += leaves[i6, c]
                total[r + 7, c] += leaves[i7, c]


@compiled
def walk_one(
    ranks: NDArray[np.uint32],
    row: int,
    nodes: NDArray[np.uint64],
    start: NDArray[np.int64],
    depth: NDArray[np.int64],
    value: NDArray[np.int64],
    total: NDArray[np.int64],
) -> None:
    """What `walk_rows` does, for one row: four trees at a time, as a single walk would wait for memory at each step."""
    x = ranks[row]
    low, mid, up, right = U64(255), U64(0xFFFFFF), U64(8), U64(32)
    n_trees = depth.shape[0]
    for t in range(0, n_trees, 4):
        t1, t2, t3 = min(t + 1, n_trees - 1), min(t + 2, n_trees - 1), min(t + 3, n_trees - 1)
        s0, s1, s2, s3 = U64(start[t]), U64(start[t1]), U64(start[t2]), U64(start[t3])
        i0 = i1 = i2 = i3 = U64(0)
        for _ in range(max(depth[t], depth[t1], depth[t2], depth[t3])):
            a = nodes[s0 + i0]
            i0 = ((a >> up) & mid) + U64(U64(x[a & low]) > (a >> right))
            a = nodes[s1 + i1]
            i1 = ((a >> up) & mid) + U64(U64(x[a & low]) > (a >> right))
            a = nodes[s2 + i2]
            i2 = ((a >> up) & mid) + U64(U64(x[a & low]) > (a >> right))
            a = nodes[s3 + i3]
            i3 = ((a >> up) & mid) + U64(U64(x[a & low]) > (a >> right))
        for c in range(total.shape[1]):
            total[row, c] += value[s0 + i0, c]
            if t + 1 < n_trees:
                total[row, c] += value[s1 + i1, c]
            if t + 2 < n_trees:
                total[row, c] += value[s2 + i2, c]
            if t + 3 < n_trees:
                total[row, c] += value[s3 + i3, c]


@compiled
def leafset_rows(
    ranks: NDArray[np.uint32],
    n: int,
    width: NDArray[np.int64],
    size: NDArray[np.int64],
    count: NDArray[np.int64],
    segment: NDArray[np.int64],
    local: NDArray[np.uint16],
    table: NDArray[np.uint64],
    start: NDArray[np.int64],
    value: NDArray[np.int64],
    value_start: NDArray[np.int64],
    total: NDArray[np.int64],
) -> None:
    """Add every tree's leaf value to ``total`` (n, k) by intersecting sets of leaves instead of walking.

    The ``size[b]`` words of ``table`` from ``start[b] + local[b, rank] * size[b]`` on are, for block ``b``, the set of
    leaves that a value of that rank can still reach. The intersection over all features leaves one bit per tree: its
    leaf. The block has ``count[b]`` trees of ``width[b]`` words each, word ``w`` of tree ``g`` at ``w * count[b] + g``;
    or, with a width of 0, of half a word each; or, with a width of -1, of a byte each, the lowest part of a word
    first. The idea of one bit per leaf is that of QuickScorer (Lucchese et al., SIGIR 2015); one table row per rank
    instead of one test per node is ours.
    ``ranks`` has a multiple of three columns; the spare ones point at a row of ones. ``segment`` (blocks, k + 1) says
    which trees of a block add to which output, where each tree adds to one only; else it is empty.
    """
    columns = ranks.shape[1]
    words = np.empty(BLOCK, U64)
    halves, bytes_ = words.view(U32), words.view(U8)
    slots = np.empty(EIGHTH * BLOCK, U16)
    part = np.empty((2, 4), np.int64)
    for b in range(local.shape[0]):
        to_row = local[b]
        rows = table[start[b] : start[b + 1]]
        leaves = value[value_start[b] : value_start[b + 1]]
        n_words, room = U64(size[b]), U64(leaves.shape[0] // count[b])
        for r in range(n):
            x = U64(to_row[ranks[r, 0]]) * n_words
            y = U64(to_row[ranks[r, 1]]) * n_words
            z = U64(to_row[ranks[r, 2]]) * n_words
            for k in range(n_words):
                words[k] = rows[x + k] & rows[y + k] & rows[z + k]
            for j in range(3, columns, 3):
                x = U64(to_row[ranks[r, j]]) * n_words
                y = U64(to_row[ranks[r, j + 1]]) * n_words
                z = U64(to_row[ranks[r, j + 2]]) * n_words
                for k in range(n_words):
                    words[k] &= rows[x + k] & rows[y + k] & rows[z + k]
            find_slots(words, halves, bytes_, width[b], count[b], slots)
            # Summed in memory: sums in registers become gather instructions, several times as slow on many machines.
            # By turns in several places, as each addition waits for the one before it in its place.
            if segment.shape[0] > 0:
                for c in range(segment.shape[1] - 1):
                    at, end = U64(segment[b, c]), U64(segment[b, c + 1])
                    part[:] = 0
                    while at + U64(4) <= end:
                        part[0, 0] += leaves[at * room + U64(slots[at]), 0]
                        part[0, 1] += leaves[(at + U64(1)) * room + U64(slots[at + U64(1)]), 0]
                        part[0, 2] += leaves[(at + U64(2)) * room + U64(slots[at + U64(2)]), 0]
                        part[0, 3] += leaves[(at + U64(3)) * room + U64(slots[at + U64(3)]), 0]
                        at += U64(4)
                    while at < end:
                        part[0, 0] += leaves[at * room + U64(slots[at]), 0]
                        at += U64(1)
                    total[r, c] += part[0, 0] + part[0, 1] + part[0, 2] + part[0, 3]
            elif total.shape[1] == 4:
                part[:] = 0
                for g in range(U64(count[b])):
                    leaf, own = leaves[g * room + U64(slots[g])], part[g & U64(1)]
                    t0, t1, t2, t3 = own[0] + leaf[0], own[1] + leaf[1], own[2] + leaf[2], own[3] + leaf[3]
                    own[0], own[1], own[2], own[3] = t0, t1, t2, t3
                for c in range(4):
                    total[r, c] += part[0, c] + part[1, c]
            else:
                for g in range(U64(count[b])):
                    for c in range(total.shape[1]):
                        total[r, c] += leaves[g * room + U64(slots[g]), c]


@inlined
def find_slots(
    words: NDArray[np.uint64],
    halves: NDArray[np.uint32],
    bytes_: NDArray[np.uint8],
    width: int,
    count: int,
    slots: NDArray[np.uint16],
) -> None:
    """The slot of each tree's one leaf among the slots of its tree; ``halves`` and ``bytes_`` are the words."""
    if width < 0:
        for g in range(U64(count)):
            slots[g] = U8(bytes_[g] * DE_BRUIJN_8) >> SLOT_SHIFT_8
    elif width == 0:
        for g in range(U64(count)):
            slots[g] = U32(halves[g] * DE_BRUIJN_32) >> SLOT_SHIFT_32
    else:
        for g in range(U64(count)):
            slots[g] = (words[g] * DE_BRUIJN) >> SLOT_SHIFT
        for w in range(U64(1), U64(width)):
            for g in range(U64(count)):
                slot = (words[w * U64(count) + g] * DE_BRUIJN) >> SLOT_SHIFT
                slots[g] += slot + w * U64(64) if slot != U64(0) else U64(0)


@compiled
def finish_rows(
    total: NDArray[np.int64],
    n: int,
    unit: NDArray[np.float64],
    bias: NDArray[np.float64],
    links: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Fixed-point sums to outputs: ``bias + total / unit``, then the link of each group of outputs.

    ``unit`` (k,) and ``bias`` (k,) · ``links`` (groups, 3): first output, one past the last, and `IDENTITY`, `SOFTMAX`
    or `LOGISTIC`.
    """
    for r in range(n):
        for c in range(out.shape[1]):
            out[r, c] = bias[c] + total[r, c] / unit[c]
        for g in range(links.shape[0]):
            first, end, link = links[g, 0], links[g, 1], links[g, 2]
            if link == SOFTMAX:
                top = out[r, first]
                for c in range(first + 1, end):
                    top = max(top, out[r, c])
                together = 0.0
                for c in range(first, end):
                    out[r, c] = np.exp(out[r, c] - top)
                    together += out[r, c]
                for c in range(first, end):
                    out[r, c] /= together
            elif link == LOGISTIC:
                for c in range(first, end):
                    out[r, c] = 1.0 / (1.0 + np.exp(-out[r, c]))


@compiled
def predict_by_walking(
    X: NDArray[np.float64],
    columns: NDArray[np.int64],
    fill: NDArray[np.float64],
    keys: NDArray[np.int32],
    key_start: NDArray[np.int64],
    half: NDArray[np.int64],
    first: NDArray[np.int64],
    nodes: NDArray[np.uint64],
    start: NDArray[np.int64],
    depth: NDArray[np.int64],
    value: NDArray[np.int64],
    unit: NDArray[np.float64],
    bias: NDArray[np.float64],
    links: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Rank, walk and finish, `CHUNK` rows at a time so that ranks and sums stay in the cache."""
    n, m = X.shape[0], columns.shape[0]
    room = min(n + 7, CHUNK)
    ranks = np.zeros((room, m), U32)
    total = np.empty((room, out.shape[1]), np.int64)
    for at in range(0, n, CHUNK):
        rows = min(CHUNK, n - at)
        rank_rows(X[at : at + rows], columns, fill, keys, key_start, half, first, ranks)
        total[:] = 0
        if rows < 8:
            for r in range(rows):
                walk_one(ranks, r, nodes, start, depth, value, total)
        else:
            walk_rows(ranks, rows, nodes, start, depth, value, total)
        finish_rows(total, rows, unit, bias, links, out[at : at + rows])


@compiled
def predict_by_leafsets(
    X: NDArray[np.float64],
    columns: NDArray[np.int64],
    fill: NDArray[np.float64],
    keys: NDArray[np.int32],
    key_start: NDArray[np.int64],
    half: NDArray[np.int64],
    first: NDArray[np.int64],
    width: NDArray[np.int64],
    size: NDArray[np.int64],
    count: NDArray[np.int64],
    segment: NDArray[np.int64],
    local: NDArray[np.uint16],
    table: NDArray[np.uint64],
    start: NDArray[np.int64],
    value: NDArray[np.int64],
    value_start: NDArray[np.int64],
    unit: NDArray[np.float64],
    bias: NDArray[np.float64],
    links: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Rank, intersect and finish, `CHUNK` rows at a time."""
    n, m = X.shape[0], columns.shape[0]
    room = min(n, CHUNK)
    ranks = np.full((room, 3 * max((m + 2) // 3, 1)), U32(local.shape[1] - 1), U32)
    total = np.empty((room, out.shape[1]), np.int64)
    for at in range(0, n, CHUNK):
        rows = min(CHUNK, n - at)
        rank_rows(X[at : at + rows], columns, fill, keys, key_start, half, first, ranks)
        total[:] = 0
        leafset_rows(ranks, rows, width, size, count, segment, local, table, start, value, value_start, total)
        finish_rows(total, rows, unit, bias, links, out[at : at + rows])
