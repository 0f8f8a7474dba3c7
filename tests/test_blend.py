"""Merging predictions, against scikit-learn and loops."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from ensembles.blend import align, blend, tied_votes
from ensembles.merging import Blend, Rule
from trainables.errors import DataError
from trainables.predictions import Dense

RULES: tuple[Rule, ...] = ("vote", "logit", "prob")
# multiples of 1/8 are told apart by every rule and still make many ties
logit_banks = st.integers(1, 5).flatmap(
    lambda members: arrays(
        np.float32, (members, 6, 4), elements=st.integers(-40, 40).map(lambda value: value / 8)
    )
)


def dense(values: np.ndarray, head: str = "label") -> Dense:
    return Dense(ids=tuple(f"i{k}" for k in range(len(values))), fields={head: values.astype(np.float32)})


def softmax(logits: np.ndarray) -> np.ndarray:
    odds: np.ndarray = np.exp(logits.astype(np.float64))
    odds /= odds.sum(-1, keepdims=True)
    return odds


def merged(members: Sequence[Dense], rule: Rule, *weights: float) -> np.ndarray:
    both: Dense = blend(members, Blend(rule, weights or (1.0,) * len(members)))
    return both.fields["label"]


@pytest.fixture
def bank() -> list[Dense]:
    random = np.random.default_rng(0)
    return [dense(random.normal(size=(50, 4)) * 2) for _ in range(3)]


def test_prob_is_the_weighted_mean_of_the_probabilities(bank: list[Dense]) -> None:
    mean = np.average([softmax(m.fields["label"]) for m in bank], axis=0, weights=[1, 2, 5])
    assert np.allclose(merged(bank, "prob", 1, 2, 5), np.log(mean), atol=1e-5)


def test_logit_is_the_weighted_mean_of_the_logits(bank: list[Dense]) -> None:
    mean = np.average([m.fields["label"] for m in bank], axis=0, weights=[1, 2, 5])
    assert np.allclose(merged(bank, "logit", 1, 2, 5), np.log(softmax(mean)), atol=1e-5)


@pytest.mark.parametrize(("voting", "rule"), [("soft", "prob"), ("hard", "vote")])
def test_rules_agree_with_scikit_learns_voting_classifier(voting: str, rule: Rule) -> None:
    random = np.random.default_rng(1)
    targets = random.integers(0, 3, 300)
    inputs = random.normal(size=(300, 5)) + targets[:, None] * 0.8
    models = [
        ("lr", LogisticRegression()),
        ("nb", GaussianNB()),
        ("tree", DecisionTreeClassifier(max_depth=3)),
    ]
    reference = VotingClassifier(models, voting=voting, weights=[3, 2, 2]).fit(inputs[:200], targets[:200])
    members = [dense(np.log(m.predict_proba(inputs[200:]) + 1e-9)) for m in reference.estimators_]
    assert tied_votes(members, Blend("vote", (3, 2, 2))) == 0
    assert (merged(members, rule, 3, 2, 2).argmax(1) == reference.predict(inputs[200:])).all()


@given(logit_banks)
def test_votes_are_counted_and_ties_go_to_the_larger_summed_probability(values: np.ndarray) -> None:
    members = [dense(v) for v in values]
    winners, ties = merged(members, "vote").argmax(1), 0
    probabilities = softmax(values).sum(0)
    for row, winner in enumerate(winners):
        votes = Counter(int(m.argmax()) for m in values[:, row])
        leaders = [c for c, n in votes.items() if n == max(votes.values())]
        ties += len(leaders) > 1
        assert winner in leaders
        assert probabilities[row, winner] >= max(probabilities[row, leaders]) - 1e-5
    assert tied_votes(members, Blend("vote", (1.0,) * len(members))) == ties


@given(logit_banks, st.sampled_from(RULES))
def test_one_member_alone_answers_as_by_itself(values: np.ndarray, rule: Rule) -> None:
    assert (merged([dense(values[0])], rule).argmax(1) == values[0].argmax(1)).all()
    weights = (1.0, *(0.0,) * (len(values) - 1))
    assert (merged([dense(v) for v in values], rule, *weights).argmax(1) == values[0].argmax(1)).all()


@given(logit_banks, st.sampled_from(RULES), st.randoms(use_true_random=False))
def test_the_order_of_the_members_changes_nothing(values: np.ndarray, rule: Rule, random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    members = [dense(v) for v in values]
    one, other = merged(members, rule), merged([members[i] for i in order], rule)
    assert np.allclose(np.exp(one), np.exp(other), atol=1e-5)


@given(logit_banks, st.sampled_from(RULES))
def test_every_rule_gives_log_probabilities_whatever_the_weights_sum_to(
    values: np.ndarray, rule: Rule
) -> None:
    members = [dense(v) for v in values]
    ones, sevens = merged(members, rule), merged(members, rule, *(7.0,) * len(members))
    assert np.allclose(np.exp(ones).sum(1), 1, atol=1e-5)
    assert np.isfinite(ones).all()
    assert np.allclose(np.exp(ones), np.exp(sevens), atol=1e-5)


def test_two_weak_votes_beat_one_only_where_they_weigh_more() -> None:
    first, second = np.array([[9.0, 0, 0]]), np.array([[0, 0.1, 0]])
    members = [dense(first), dense(second), dense(second)]
    assert merged(members, "vote").argmax() == 1
    assert merged(members, "vote", 2.5, 1, 1).argmax() == 0
    assert merged(members, "vote", 0.6, 0.2, 0.4).argmax() == 0  # 0.6 each: a tie, and the first is surer
    assert tied_votes(members, Blend("vote", (0.6, 0.2, 0.4))) == 1


def test_heads_are_merged_one_by_one() -> None:
    random = np.random.default_rng(2)
    values = {head: random.normal(size=(2, 9, classes)) for head, classes in (("root", 5), ("vowel", 3))}
    ids = tuple("abcdefghi")
    members = [Dense(ids=ids, fields={h: v[i].astype(np.float32) for h, v in values.items()}) for i in (0, 1)]
    both = blend(members, Blend("prob", (1, 1)))
    assert list(both.fields) == ["root", "vowel"]
    for head, value in values.items():
        assert np.allclose(both.fields[head], merged([dense(v) for v in value], "prob"))
    assert tied_votes(members, Blend("vote", (1, 1))) == sum(
        any(v[0, row].argmax() != v[1, row].argmax() for v in values.values()) for row in range(9)
    )


def test_members_are_aligned_by_id() -> None:
    member = dense(np.arange(12.0).reshape(3, 4))
    turned = align([member, member.take([2, 0, 1])], member.ids)[1]
    assert turned.ids == member.ids
    assert (turned.fields["label"] == member.fields["label"]).all()


def test_members_of_other_images_or_classes_are_refused() -> None:
    member = dense(np.zeros((3, 4)))
    with pytest.raises(DataError, match="'i2' only once"):
        align([member, member.take([0, 1])], member.ids)
    with pytest.raises(DataError, match="some of them twice"):
        align([member, member.take([0, 1, 2, 2])], member.ids)
    with pytest.raises(DataError, match="answer differently"):
        align([member, dense(np.zeros((3, 5)))], member.ids)


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (1.0, -0.5), (1.0, float("nan"))])
def test_weights_that_weigh_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="Weights must be"):
        Blend("prob", weights)


def test_a_blend_needs_a_weight_a_member(bank: list[Dense]) -> None:
    with pytest.raises(ValueError, match="3 members, 2 weights"):
        blend(bank, Blend("prob", (1, 1)))


def test_what_no_rule_merges_is_named() -> None:
    with pytest.raises(TypeError, match="No rule merges str"):
        blend(["a"], Blend("prob", (1,)))
