"""What every task, kind, model, space and method must do; each is found by its name."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from ensembles.blend import blend
from ensembles.merging import Blend
from ensembles.methods import known_methods, load_method
from orchestrator.study import Study, sample_space
from trainables.config import Scalar, trial_config
from trainables.errors import InvalidSubmission, OrchestratorError, UsageError
from trainables.families import answers_of, load_family
from trainables.named import known_modules, load_named
from trainables.predictions import Dense
from trainables.task import Task, load_task

TASKS = known_modules("trainables.tasks")
FAMILIES = [name for name in known_modules("trainables.models") if answers_of(name) == "classes"]
OF_CLASSES = [name for name in TASKS if load_task(name).kind.answers == "classes"]
"""The tasks of dense kinds, and their models, have contracts of their own in test_dense_contracts.py."""
SPACES = known_modules("search_spaces")
TIMM = ["test_resnet", "test_vit"]
CONTEXTS: list[dict[str, Any]] = [
    {"device": device, "pixels": pixels} for device in ("cpu", "cuda") for pixels in (28, 64, 512)
]


def closed(name: str) -> Task:
    """A task by its name, with classes of ours where it leaves them to the data."""
    task = load_task(name)
    if all(head.classes for head in task.kind.heads):
        return task
    return task.with_heads(tuple(replace(head, classes=("ant", "bee", "cat")) for head in task.kind.heads))


def spaces_of(task: Task) -> set[str]:
    return {task.space, *task.space_rules}


def random_answers(task: Task, count: int, *, seed: int = 0) -> tuple[Dense, np.ndarray]:
    """Logits of `count` images and the classes that they favour."""
    rng = np.random.default_rng(seed)
    fields = {h.name: rng.normal(size=(count, h.num_classes)).astype(np.float32) for h in task.kind.heads}
    ids = tuple(f"{i:04d}" for i in range(count))
    return Dense(ids=ids, fields=fields), np.stack([v.argmax(1) for v in fields.values()], axis=1)


def test_there_is_something_of_each_family() -> None:
    assert {"digits", "food11"} <= set(TASKS)
    assert "convnet" in FAMILIES
    assert set(SPACES) >= {load_task(name).space for name in TASKS}
    assert {"vote", "logit_sum", "prob_mean", "greedy"} <= set(known_methods())


@pytest.mark.parametrize("name", TASKS)
class TestTask:
    def test_its_name_is_its_file(self, name: str) -> None:
        assert load_task(name).name == name

    def test_without_data_it_makes_them_or_says_where_to_get_them(self, name: str, tmp_path: Path) -> None:
        task = load_task(name)
        missing = None
        try:
            splits = task.read(tmp_path / "nothing")
        except UsageError as error:
            missing = error
        if missing is None:
            assert splits.train
            assert splits.test
        else:
            assert str(tmp_path) in str(missing)
            assert missing.fix

    def test_its_rules_hold(self, name: str) -> None:
        task = load_task(name)
        config = trial_config({"model": "convnet", "pretrained": True})
        if task.rules.pretrained:
            task.rules.check(config)
        else:
            assert task.rules.wording
            with pytest.raises(UsageError, match="Pretrained weights are forbidden"):
                task.rules.check(config)

    def test_its_baselines_have_a_source(self, name: str) -> None:
        assert all(baseline.source for baseline in load_task(name).baselines)


@pytest.mark.parametrize("name", OF_CLASSES)
class TestTaskOfClasses:
    def test_a_perfect_answer_has_the_best_score(self, name: str) -> None:
        task = closed(name)
        perfect, targets = random_answers(task, 50)
        poor, _ = random_answers(task, 50, seed=1)
        utility = task.metric.utility
        assert utility(task.metric.fn(perfect, targets)) > utility(task.metric.fn(poor, targets))

    def test_its_answer_passes_its_own_check_and_a_cut_one_does_not(self, name: str, tmp_path: Path) -> None:
        task = closed(name)
        predictions, _ = random_answers(task, 7)
        path = tmp_path / task.answer.filename
        task.answer.write(predictions, path)
        task.answer.check(path, predictions.ids)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        with pytest.raises(InvalidSubmission, match=path.name):
            task.answer.check(path, predictions.ids)

    def test_its_kind_learns_from_its_outputs(self, name: str) -> None:
        kind = closed(name).kind
        config = trial_config({"model": "convnet", "label_smoothing": 0.1})
        outputs = torch.zeros(6, kind.num_outputs(config), requires_grad=True)
        targets = torch.stack([torch.arange(6) % head.num_classes for head in kind.heads], dim=1)
        kind.losses(outputs, targets, config).mean().backward()
        assert outputs.grad is not None
        favoured = torch.zeros(6, kind.num_outputs(config)).sub(outputs.grad)
        read = kind.predict([str(i) for i in range(6)], favoured, config)
        for head, column in zip(kind.heads, targets.T, strict=True):
            assert read.fields[head.name].shape == (6, head.num_classes)
            assert (read.fields[head.name].argmax(1) == column.numpy()).all()


@pytest.mark.parametrize("model", [*FAMILIES, *TIMM])
class TestModel:
    @pytest.mark.parametrize("side", [32, 64])
    def test_it_answers_and_learns(self, model: str, side: int) -> None:
        if model == "test_vit" and side == 32:
            side = 96  # a transformer takes any side; one that its patches do not divide is another matter
        torch.manual_seed(0)
        config = trial_config({"model": model, "image_size": side})
        net = load_family(model).build(config, 5)
        outputs = net(torch.randn(4, 3, side, side))
        assert outputs.shape == (4, 5)
        outputs.square().sum().backward()
        assert all(p.grad is not None for p in net.parameters() if p.requires_grad)

    def test_the_same_seed_builds_the_same_weights(self, model: str) -> None:
        config = trial_config({"model": model, "image_size": 64})
        states = []
        for _ in range(2):
            torch.manual_seed(7)
            states.append(load_family(model).build(config, 3).state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_an_option_it_does_not_know_is_refused(self, model: str) -> None:
        with pytest.raises(UsageError, match="Unknown parameter"):
            trial_config({"model": model, "no_such_option": 1})

    def test_its_configuration_survives_json(self, model: str) -> None:
        config = trial_config({"model": model, "lr": 0.003})
        assert trial_config(json.loads(config.to_json())) == config


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda c: f"{c['device']}-{c['pixels']}")
@pytest.mark.parametrize("name", SPACES)
def test_every_configuration_of_a_space_is_valid(name: str, context: dict[str, Any]) -> None:
    space = load_named("search_spaces", name, "space", "search space")
    owner = closed(next((t for t in TASKS if name in spaces_of(load_task(t))), "digits")).under(name)
    defaults: dict[str, Scalar] = {**owner.defaults, "epochs": 2}
    configs, described = sample_space(
        owner, space, count=40, seed=0, defaults=defaults, fixed={}, context=context
    )
    assert described
    for config in {config.model: config for config in configs}.values():
        with torch.device("meta"):
            scratch = replace(config, pretrained=False, weights="")
            load_family(config.model).build(scratch, owner.kind.num_outputs(config))


@pytest.mark.parametrize("name", SPACES)
def test_a_space_can_be_fixed_to_any_of_its_values(name: str) -> None:
    space = load_named("search_spaces", name, "space", "search space")
    trial = optuna.create_study().ask()
    for key, value in CONTEXTS[1].items():
        trial.set_user_attr(key, value)
    chosen = dict(space(trial))
    defaults: dict[str, Scalar] = {"epochs": 2}
    study = Study(space, direction="maximize", seed=1, defaults=defaults, fixed=chosen, context=CONTEXTS[1])
    for _ in range(3):
        _, config = study.ask()
        assert {key: config.params()[key] for key in chosen} == chosen


@pytest.mark.parametrize("name", known_methods())
class TestMethod:
    def members(self) -> SimpleNamespace:
        task = load_task("digits")
        truth, targets = random_answers(task, 60)
        rng = np.random.default_rng(3)
        noisy = [
            Dense(ids=truth.ids, fields={k: v + rng.normal(size=v.shape) for k, v in truth.fields.items()})
            for _ in range(4)
        ]
        return SimpleNamespace(all=noisy, targets=targets, metric=task.metric)

    def test_its_weights_are_shares(self, name: str) -> None:
        m = self.members()
        how = load_method(name)(4, lambda b: m.metric.fn(blend(m.all, b), m.targets)).normalised()
        assert len(how.weights) == 4
        assert min(how.weights) >= 0
        assert sum(how.weights) == pytest.approx(1)

    def test_of_one_member_it_makes_that_member(self, name: str) -> None:
        m = self.members()
        how = load_method(name)(1, lambda b: 0.0)
        merged = blend(m.all[:1], how)
        for head, values in merged.fields.items():
            assert (values.argmax(1) == m.all[0].fields[head].argmax(1)).all()

    def test_it_is_not_lost_on_members_that_agree(self, name: str) -> None:
        m = self.members()
        same = [m.all[0]] * 3
        how = load_method(name)(3, lambda b: m.metric.fn(blend(same, b), m.targets))
        assert m.metric.fn(blend(same, how), m.targets) == m.metric.fn(m.all[0], m.targets)


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(OrchestratorError, match="greedy"):
        load_method("gredy")
    assert isinstance(load_method("vote")(2, lambda b: 0.0), Blend)
