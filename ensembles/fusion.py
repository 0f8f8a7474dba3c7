"""Merge the boxes and the masks that several models found, under weights.

What a blend's rule means for objects:

- `prob`: weighted fusion. What members found at one place becomes one object; a member that did not find
  it counts as a score of 0, as in a mean of probabilities.
- `vote`: consensus. Only what members with more than half of the weight found stays.
- `logit`: soft suppression. Every find stays, and each lowers the logarithm of the scores that it overlaps.
- `nms`: of what overlaps only the find with the highest weighted score stays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from ensembles.merging import Blend, merge
from trainables import coco_rle
from trainables.boxes import COLUMNS, Boxes, Neighbours, in_score_order, neighbours, suppress
from trainables.errors import DataError
from trainables.instances import Instances, Masks

Objects = TypeVar("Objects", Boxes, Instances)

FUSED = 0.55
"""IoU from which boxes of two members are one object (Solovyev et al., 2021)."""
OVERLAPPING = 0.1
"""IoU from which a box looks at the object that another box joined."""
FUSED_MASKS = 0.5
"""IoU from which masks of two members are one object."""
SUPPRESSED = 0.5
"""IoU above which one box suppresses another."""
SIGMA = 0.5
"""Width of soft-NMS's Gaussian (Bodla et al., 2017)."""
FAINT = 1e-3
"""Scores that soft suppression pushes below are dropped."""


@dataclass(frozen=True)
class Pool:
    """What all members found in one image: rows [T, 6], whose they are [T], a weight a member.

    The weights sum to one.
    """

    rows: np.ndarray
    member: np.ndarray
    weights: np.ndarray

    @property
    def votes(self) -> np.ndarray:
        """Weight times score of each row, float64 [T]."""
        votes: np.ndarray = self.weights[self.member] * self.rows[:, 4].astype(np.float64)
        return votes

    def weighted(self) -> np.ndarray:
        """The rows, their scores times the weight relative to the largest weight."""
        rows = self.rows.copy()
        rows[:, 4] = self.votes / self.weights.max()
        return rows


def pooled(members: Sequence[np.ndarray], weights: Sequence[float]) -> Pool:
    """Rows [M, 6] of each member, in one pool."""
    member = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
    share = np.asarray(weights, dtype=np.float64)
    return Pool(np.concatenate(list(members)), member, share / share.sum())


def weighted_fusion(pool: Pool) -> np.ndarray:
    """Rows [M, 6]: boxes averaged by weight times score, scores by weight, 0 where a member lacks the box.

    Solovyev, Wang, Gabruseva, "Weighted boxes fusion", Image and Vision Computing 107, 2021; their
    rescaled score is this mean. Unlike theirs a member gives at most one box to an object, since it
    parted neighbours already: a member alone comes back as it is, by descending score.
    """
    fused, _, votes = _fused(pool)
    fused[:, 4] = votes
    return _sorted(fused)


def consensus(pool: Pool) -> np.ndarray:
    """Rows [M, 6] of the objects that more than half of the weight found, scored by their finders' mean."""
    fused, weight, votes = _fused(pool)
    fused[:, 4] = votes / weight
    return _sorted(fused[weight > 0.5 + 1e-9])


def soft_suppression(pool: Pool) -> np.ndarray:
    """Rows [M, 6] of all members, each lowered by the better ones that it overlaps (Gaussian soft-NMS)."""
    rows = _sorted(pool.weighted())
    rows[:, 4] = soft_nms(rows[:, 4], neighbours(rows))
    return _sorted(rows[rows[:, 4] >= FAINT])


def suppression(pool: Pool) -> np.ndarray:
    """Rows [M, 6] of all members that non-maximum suppression keeps."""
    rows = pool.weighted()
    kept: np.ndarray = rows[suppress(in_score_order(rows), neighbours(rows), SUPPRESSED)]
    return kept


def soft_nms(scores: np.ndarray, near: Neighbours, *, linear: float | None = None) -> np.ndarray:
    """Scores float64 [T] after each object, the best left first, has lowered those that it overlaps.

    By exp(-IoU^2 / SIGMA), or, with `linear` an IoU, by 1 - IoU where the IoU exceeds it.
    Bodla et al., "Soft-NMS: improving object detection with one line of code", ICCV 2017.
    """
    factors = np.exp(-np.square(near.overlaps) / SIGMA)
    if linear is not None:
        factors = np.where(near.overlaps > linear, 1 - near.overlaps, 1.0)
    factors = np.maximum(factors, 1e-12)
    waiting = scores.astype(np.float64)
    lowered = np.empty_like(waiting)
    for _ in range(len(lowered)):
        best = int(waiting.argmax())
        lowered[best], waiting[best] = waiting[best], -np.inf
        part = slice(near.starts[best], near.starts[best + 1])
        waiting[near.others[part]] *= factors[part]
    return lowered


RULES: Mapping[str, Callable[[Pool], np.ndarray]] = {
    "prob": weighted_fusion,
    "vote": consensus,
    "logit": soft_suppression,
    "nms": suppression,
}


@dataclass(frozen=True)
class MaskPool:
    """What all members found in one image: the masks, and their boxes as a pool."""

    masks: Masks
    pool: Pool
    members: tuple[Masks, ...]

    @staticmethod
    def of(members: Sequence[Masks], weights: Sequence[float]) -> "MaskPool":
        """Raises DataError where the members answer the image in different sizes."""
        sizes = {masks.size for masks in members}
        if len(sizes) > 1:
            raise DataError(f"Members answer one image in several sizes: {sorted(sizes)}.")
        pool = pooled([masks.boxes() for masks in members], weights)
        return MaskPool(_joined(members), pool, tuple(members))

    def neighbours(self) -> Neighbours:
        """The overlapping pairs of one label among all members' masks."""
        rows = [[_overlaps(one, other) for other in self.members] for one in self.members]
        overlaps = np.triu(np.block(rows), 1)
        i, j = np.nonzero((overlaps > 0) & (self.masks.labels[:, None] == self.masks.labels))
        return Neighbours.from_pairs(i, j, overlaps[i, j], len(self.masks))

    @property
    def scores(self) -> np.ndarray:
        """Scores times the weight relative to the largest weight."""
        scores: np.ndarray = self.pool.weighted()[:, 4]
        return scores

    def objects(self) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Rows that are one object each, the weight of their finders and the sum of their votes."""
        groups = _groups(self.pool, self.neighbours(), in_score_order(self.pool.weighted()))
        found = [self.pool.weights[self.pool.member[group]].sum() for group in groups]
        votes = [self.pool.votes[group].sum() for group in groups]
        return groups, np.array(found), np.array(votes)


def weighted_masks(found: MaskPool) -> Masks:
    """One mask an object, by the vote of its pixels; scored as boxes are by `weighted_fusion`."""
    groups, _, votes = found.objects()
    return _rescored(_voted(found, groups), votes)


def consensus_masks(found: MaskPool) -> Masks:
    """The objects that more than half of the weight found, scored by their finders' mean."""
    groups, weight, votes = found.objects()
    stays = np.flatnonzero(weight > 0.5 + 1e-9)
    return _rescored(_voted(found, [groups[i] for i in stays]), votes[stays] / weight[stays])


def soft_suppressed_masks(found: MaskPool) -> Masks:
    """All masks, each lowered by the better ones that it overlaps."""
    lowered = soft_nms(found.scores, found.neighbours())
    stays = np.flatnonzero(lowered >= FAINT)
    return _rescored(found.masks.pick(stays), lowered[stays])


def suppressed_masks(found: MaskPool) -> Masks:
    """The masks that non-maximum suppression keeps."""
    kept = suppress(in_score_order(found.pool.weighted()), found.neighbours(), SUPPRESSED)
    return _rescored(found.masks.pick(kept), found.scores[kept])


MASK_RULES: Mapping[str, Callable[[MaskPool], Masks]] = {
    "prob": weighted_masks,
    "vote": consensus_masks,
    "logit": soft_suppressed_masks,
    "nms": suppressed_masks,
}


@merge.register
def _(first: Boxes, members: Sequence[Boxes], how: Blend) -> Boxes:
    weights = [how.weights[i] for i in how.used]
    merge = RULES[how.rule]
    images = zip(*(member.images for member in members), strict=True)
    return Boxes(ids=first.ids, images=tuple(merge(pooled(rows, weights)) for rows in images))


@merge.register
def _(first: Instances, members: Sequence[Instances], how: Blend) -> Instances:
    weights = [how.weights[i] for i in how.used]
    merge = MASK_RULES[how.rule]
    images = zip(*(member.images for member in members), strict=True)
    return Instances(ids=first.ids, images=tuple(merge(MaskPool.of(masks, weights)) for masks in images))


def _sorted(rows: np.ndarray) -> np.ndarray:
    ordered: np.ndarray = rows[in_score_order(rows)]
    return ordered


@dataclass
class _Cluster:
    """Boxes that are one object, and the box that they make."""

    label: float
    edges: tuple[float, ...] = ()
    moment: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    mass: float = 0.0
    weight: float = 0.0
    votes: float = 0.0
    members: frozenset[int] = frozenset()

    def overlap(self, row: Sequence[float]) -> float:
        """IoU with a box."""
        x1, y1, x2, y2 = self.edges
        width, height = min(x2, row[2]) - max(x1, row[0]), min(y2, row[3]) - max(y1, row[1])
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / ((x2 - x1) * (y2 - y1) + (row[2] - row[0]) * (row[3] - row[1]) - shared)

    def join(self, row: Sequence[float], member: int, *, vote: float, weight: float) -> None:
        """Take a box in, which moves the cluster's towards it."""
        pull = max(vote, 1e-12)
        self.mass += pull
        self.moment = tuple(m + pull * edge for m, edge in zip(self.moment, row[:4], strict=True))
        self.edges = tuple(m / self.mass for m in self.moment)
        self.weight += weight
        self.votes += vote
        self.members |= {member}


def _fused(pool: Pool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes float32 [M, 6] merged across members, the weight of their finders and the sum of their votes.

    Rows come by descending vote; each joins the cluster that it overlaps most, of those that hold no box
    of its member and one that it clearly overlaps, or begins one.
    """
    votes = pool.votes
    order = in_score_order(np.column_stack([pool.rows[:, :4], votes, pool.rows[:, 5]]))
    near = neighbours(pool.rows).above(OVERLAPPING)
    rows, member, vote = pool.rows.astype(np.float64).tolist(), pool.member.tolist(), votes.tolist()
    weights = pool.weights.tolist()
    clusters: list[_Cluster] = []
    place = [-1] * len(rows)
    for i in order.tolist():
        at, most = len(clusters), FUSED
        for k in sorted({place[other] for other in near.of(i)[0].tolist()} - {-1}):
            if member[i] not in clusters[k].members and (overlap := clusters[k].overlap(rows[i])) > most:
                at, most = k, overlap
        if at == len(clusters):
            clusters.append(_Cluster(label=rows[i][5]))
        clusters[at].join(rows[i], member[i], vote=vote[i], weight=weights[member[i]])
        place[i] = at
    merged = [(*c.edges, c.votes, c.label) for c in clusters]
    return (
        np.array(merged, dtype=np.float32).reshape(-1, COLUMNS),
        np.array([c.weight for c in clusters]),
        np.array([c.votes for c in clusters]),
    )


def _groups(pool: Pool, near: Neighbours, order: np.ndarray) -> list[np.ndarray]:
    """Rows that are one object: the best row left, and of each other member what overlaps it most."""
    free = np.ones(len(order), dtype=bool)
    groups = []
    for i in order.tolist():
        if not free[i]:
            continue
        others, overlaps = near.of(i)
        fits = free[others] & (overlaps > FUSED_MASKS) & (pool.member[others] != pool.member[i])
        nearest = others[fits][np.argsort(-overlaps[fits], kind="stable")]
        _, firsts = np.unique(pool.member[nearest], return_index=True)
        groups.append(np.concatenate([[i], nearest[firsts]]).astype(np.int64))
        free[groups[-1]] = False
    return groups


def _voted(found: MaskPool, groups: Sequence[np.ndarray]) -> Masks:
    """One mask a group, by the pixels' votes."""
    every, votes = found.masks, np.maximum(found.pool.votes, 1e-12)
    counts = []
    for group in groups:
        if len(group) == 1:
            counts.append(every.counts[group[0]])
            continue
        runs = coco_rle.voted([every.runs[i] for i in group], votes[group], every.size)
        counts.append(coco_rle.pack(runs))
    firsts = every.pick([int(group[0]) for group in groups])
    return Masks(size=every.size, counts=tuple(counts), scores=firsts.scores, labels=firsts.labels)


@lru_cache(maxsize=8192)
def _overlaps(one: Masks, other: Masks) -> np.ndarray:
    """IoU [M, K] of two members' masks of one image: the same under any weights, and asked for again by every
    blend of the two."""
    return coco_rle.iou(one.runs, other.runs, one.size)


def _joined(members: Sequence[Masks]) -> Masks:
    """All members' objects of one image."""
    joined = Masks(
        size=members[0].size,
        counts=tuple(counts for masks in members for counts in masks.counts),
        scores=np.concatenate([masks.scores for masks in members]),
        labels=np.concatenate([masks.labels for masks in members]),
    )
    joined.__dict__["runs"] = tuple(runs for masks in members for runs in masks.runs)  # known already
    return joined


def _rescored(masks: Masks, scores: np.ndarray) -> Masks:
    """The masks with other scores, the highest first."""
    order = np.argsort(-scores, kind="stable")
    scored = Masks(
        size=masks.size, counts=masks.counts, scores=scores.astype(np.float32), labels=masks.labels
    )
    return scored.pick(order)
