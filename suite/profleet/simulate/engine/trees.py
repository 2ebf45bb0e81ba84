"""Tournament trees: which replica of a group has the least of something, in O(log n).

A tree with ``size`` leaves (a power of two) lies in ``tree[at : at + 2 * size]``: its root at 1,
the children of node ``i`` at ``2 i`` and ``2 i + 1``. The leftmost of equal leaves wins.
"""

from __future__ import annotations

from profleet.simulate.records import Ints, Small


def set_leaf(tree: Small | Ints, at: int, size: int, leaf: int, value: int) -> None:
    """Change one leaf and the winners above it."""
    i = size + leaf
    tree[at + i] = value
    i >>= 1
    while i >= 1:
        left = tree[at + 2 * i]
        right = tree[at + 2 * i + 1]
        least = min(left, right)
        if tree[at + i] == least:
            break
        tree[at + i] = least
        i >>= 1


def least_leaf(tree: Small | Ints, at: int, size: int) -> int:
    """The leaf with the least value; the leftmost of several."""
    i = 1
    while i < size:
        i = 2 * i
        if tree[at + i + 1] < tree[at + i]:
            i += 1
    return i - size
