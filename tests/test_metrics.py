"""The scores against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, recall_score

from trainables.metrics import QUADRATIC_KAPPA, macro_recall, weighted_recall
from trainables.predictions import Dense


def decided(**heads: list[int]) -> Dense:
    """Predictions whose likeliest classes are these."""
    count = len(next(iter(heads.values())))
    fields = {name: np.eye(9, dtype=np.float32)[labels] for name, labels in heads.items()}
    return Dense(ids=tuple(map(str, range(count))), fields=fields)


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60)


@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    answers, known = (list(side) for side in zip(*pairs, strict=True))
    value = QUADRATIC_KAPPA.fn(decided(grade=answers), np.array(known)[:, None])
    if len({*answers, *known}) == 1:
        assert value == 1.0
    else:
        expected = cohen_kappa_score(known, answers, labels=range(5), weights="quadratic")
        assert value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS)
def test_macro_recall_is_that_of_scikit_learn_over_the_classes_that_occur(
    pairs: list[tuple[int, int]],
) -> None:
    answers, known = (np.array(side) for side in zip(*pairs, strict=True))
    expected = recall_score(known, answers, average="macro", labels=np.unique(known))
    assert macro_recall(answers, known) == pytest.approx(expected)


def test_the_heads_count_by_their_weights_whatever_their_order() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 3, (50, 3))
    answers = {name: rng.integers(0, 3, 50).tolist() for name in ("vowel", "root", "dots")}
    metric = weighted_recall({"root": 2.0, "vowel": 1.0, "dots": 1.0})
    recalls = [
        recall_score(known[:, i], labels, average="macro") for i, labels in enumerate(answers.values())
    ]
    assert metric.fn(decided(**answers), known) == pytest.approx(np.average(recalls, weights=[1, 2, 1]))
    assert metric.utility(0.5) == 0.5
