"""Pictures that are copies of each other: the same bytes, or the same scene saved in another way.

A perceptual hash proposes pairs (the signs of low frequencies of a cosine transform, after Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010); a small color picture of each
confirms them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import DTypeLike

from trainables.isolated import cpus

DUPLICATES_VERSION = 1
"""Raise it when other pictures would count as copies: every store is then made anew."""
BITS_APART = 4
"""Most bits of 64 in which the hashes of a pair may differ."""
GRAYS_APART = 12.0
"""Most gray levels by which the mean colors of a pair may differ."""
WAVES_APART = 0.03
"""Most by which the cosine between the low frequencies of a pair may fall short of 1."""
SHARE_APART = 0.02
"""Most of the variance of a pair's small pictures that may be in their difference."""
BLANK = 1.0
"""Gray levels of standard deviation below which a picture shows nothing."""
SMALL, FREQUENCIES, MAPPED = 16, 8, 32
BITS = FREQUENCIES**2 - 1
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CHUNK, BATCH = 64, 4096
BLOCK = 1 << 22
"""Pairs of hashes compared at once."""


@dataclass(frozen=True, kw_only=True)
class Prints:
    """What is kept of n pictures to compare them by."""

    waves: np.ndarray
    """float32 [n, 63]: the lowest frequencies but the mean, each picture's of length 1."""
    small: np.ndarray
    """uint8 [n, 16, 16, 3]."""
    blank: np.ndarray
    """bool [n]: one color all over."""

    def __len__(self) -> int:
        return len(self.waves)


def prints(images: np.ndarray) -> Prints:
    """The prints of pictures uint8 [n, S, S, 3]; read in small parts, so that it may be a memory map."""
    averages, waves = _averages(images.shape[1]), _waves()
    if len(images) <= CHUNK:
        return _prints(images, averages, waves)
    chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    with ThreadPoolExecutor(cpus()) as pool:
        return joined(list(pool.map(lambda chunk: _prints(chunk, averages, waves), chunks)))


def joined(found: Sequence[Prints]) -> Prints:
    """The prints of several runs of pictures as one."""
    empty = np.zeros((0, SMALL, SMALL, 3), np.uint8)
    return Prints(
        waves=np.concatenate([np.zeros((0, BITS), np.float32), *(p.waves for p in found)]),
        small=np.concatenate([empty, *(p.small for p in found)]),
        blank=np.concatenate([np.zeros(0, bool), *(p.blank for p in found)]),
    )


def _prints(images: np.ndarray, averages: np.ndarray, waves: np.ndarray) -> Prints:
    mapped = _shrunk(images, averages)
    low = (waves @ (mapped @ LUMA) @ waves.T).reshape(len(images), -1)[:, 1:]
    small = (mapped[:, ::2, ::2] + mapped[:, 1::2, ::2] + mapped[:, ::2, 1::2] + mapped[:, 1::2, 1::2]) / 4
    return Prints(
        waves=low / np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-6),
        small=np.rint(small).astype(np.uint8),
        blank=small.std(axis=(1, 2)).max(axis=1) < BLANK,
    )


def _shrunk(images: np.ndarray, averages: np.ndarray) -> np.ndarray:
    """float32 [n, 32, 32, 3]: the means of the cells of uint8 [n, S, S, 3]."""
    count, side = images.shape[:2]
    step, left = divmod(side, MAPPED)
    if left:
        rows = (averages @ images.reshape(count, side, -1).astype(np.float32)).reshape(-1, MAPPED, side, 3)
        columns: np.ndarray = (rows.transpose(0, 1, 3, 2).reshape(-1, side) @ averages.T).reshape(
            count, MAPPED, 3, MAPPED
        )
        return columns.transpose(0, 1, 3, 2)
    # whole cells are added up in a fraction of the time
    wide = np.uint16 if step <= 16 else np.uint32
    strips = images.reshape(count, MAPPED, step, -1)
    rows = _added([strips[:, :, k] for k in range(step)], wide).reshape(count, MAPPED, MAPPED, step, 3)
    means: np.ndarray = _added([rows[:, :, :, k] for k in range(step)], wide).astype(np.float32) / step**2
    return means


def _added(terms: Sequence[np.ndarray], type: DTypeLike) -> np.ndarray:
    total: np.ndarray = terms[0].astype(type)
    for term in terms[1:]:
        total += term
    return total


@cache
def _averages(side: int) -> np.ndarray:
    """float32 [32, side]: each row averages its share of `side` px."""
    edges = np.linspace(0, side, MAPPED + 1)
    starts, stops = edges[:-1, None], edges[1:, None]
    pixels = np.arange(side)
    overlap = np.clip(np.minimum(stops, pixels + 1) - np.maximum(starts, pixels), 0, None)
    averages: np.ndarray = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return averages


@cache
def _waves() -> np.ndarray:
    """float32 [8, 32]: the lowest frequencies of a cosine transform (DCT-II)."""
    turns = np.arange(FREQUENCIES)[:, None] * (np.arange(MAPPED) + 0.5) / MAPPED
    waves: np.ndarray = np.cos(np.pi * turns).astype(np.float32)
    return waves


def near_pairs(found: Prints) -> np.ndarray:
    """int64 [m, 2]: pairs of pictures that look the same, the lower index first; blank ones are in none.

    Of many pictures with equal prints each is paired with the first alone.
    """
    first: dict[bytes, int] = {}
    equal = []
    for i in np.flatnonzero(~found.blank).tolist():
        j = first.setdefault(found.small[i].tobytes(), i)
        if i != j:
            equal.append((j, i))
    asked = np.fromiter(first.values(), np.int64, len(first))
    waves = found.waves[asked]
    close = [np.zeros(0, np.int64)]
    for low, high in (np.sort(pair, axis=1).T for pair in _close_hashes(_hashes(waves))):
        alike = np.einsum("ij,ij->i", waves[low], waves[high]) >= 1 - WAVES_APART
        close.append(np.unique(low[alike] * len(asked) + high[alike]))
    pairs = asked[np.stack(np.divmod(np.unique(np.concatenate(close)), max(len(asked), 1)), axis=1)]
    every = np.concatenate([np.array(equal, np.int64).reshape(-1, 2), pairs[_look_alike(found.small, pairs)]])
    return every[np.lexsort(every.T[::-1])]


def _hashes(waves: np.ndarray) -> np.ndarray:
    """uint64 [n]: a bit a frequency, whether it is above the middle of all pictures.

    The data's own middle instead of the picture's: on handwriting, ink in the middle of a white page, the
    latter calls one pair in 80 close.
    """
    above = waves > np.median(waves, axis=0)
    padded = np.pad(above, ((0, 0), (0, 64 - BITS)))
    return np.packbits(padded, axis=1).view(np.uint64)[:, 0]


def _close_hashes(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs int64 [m, 2] whose hashes differ in at most BITS_APART bits, some of them several times.

    Hashes that close agree in three of BITS_APART + 3 pieces: only those that share three are compared.
    """
    count = BITS_APART + 3
    pieces = [sum(1 << bit for bit in range(start, 64, count)) for start in range(count)]
    for three in combinations(pieces, 3):
        shared = hashes & np.uint64(sum(three))
        order = np.argsort(shared, kind="stable")
        ends = np.searchsorted(shared[order], shared[order], side="right")
        yield from _compared(hashes[order], order, ends)


def _compared(hashes: np.ndarray, order: np.ndarray, ends: np.ndarray) -> Iterator[np.ndarray]:
    """The close ones among the pairs (i, j) with i < j < ends[i]."""
    lengths = ends - np.arange(len(ends)) - 1
    totals = np.concatenate([[0], np.cumsum(lengths)])
    start = 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(totals, totals[start] + BLOCK, side="right")) - 1)
        here = lengths[start:stop]
        first = np.repeat(np.arange(start, stop), here)
        second = first + 1 + np.arange(len(first)) - np.repeat(totals[start:stop] - totals[start], here)
        close = np.bitwise_count(hashes[first] ^ hashes[second]) <= BITS_APART
        yield np.stack([order[first[close]], order[second[close]]], axis=1)
        start = stop


def _look_alike(small: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """bool [m]: whether pairs [m, 2] of small pictures differ by no more than another encoding."""
    same = np.zeros(len(pairs), bool)
    for i in range(0, len(pairs), BATCH):
        a, b = (_flat(small[pairs[i : i + BATCH, k]]) for k in (0, 1))
        means = np.abs(a.mean(1) - b.mean(1)).max(1)
        a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
        apart = ((a - b) ** 2).sum((1, 2))
        spread = np.minimum((a**2).sum((1, 2)), (b**2).sum((1, 2)))
        same[i : i + BATCH] = (means <= GRAYS_APART) & (apart <= SHARE_APART * spread)
    return same


def _flat(small: np.ndarray) -> np.ndarray:
    return small.reshape(len(small), -1, 3).astype(np.float32)


def groups(names: Sequence[Sequence[str]], pairs: np.ndarray) -> list[tuple[int, ...]]:
    """Indices of pictures that belong together, ascending, at least two a group.

    Each of `names` gives every picture a name, and those of one name, not empty, belong together; `pairs` are
    int64 [m, 2].
    """
    parent = list(range(max(map(len, names), default=0)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        parent[high] = low

    for given in names:
        first: dict[str, int] = {}
        for i, name in enumerate(given):
            if name:
                join(first.setdefault(name, i), i)
    for i, j in pairs.tolist():
        join(i, j)
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(parent)):
        members[root(i)].append(i)
    return [tuple(group) for group in members.values() if len(group) > 1]


def numbered(found: Sequence[tuple[int, ...]], count: int) -> list[str]:
    """The name of each of `count` pictures' group, empty for those of none."""
    names = [""] * count
    for k, group in enumerate(found, 1):
        for i in group:
            names[i] = str(k)
    return names
