"""How steps are executed: what is tried, what wins, what is kept, and what happens without enough memory."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.test_train import QUICK, Listener, store, task
from trainables.config import TrialConfig, trial_config
from trainables.convolutions import quicken
from trainables.execution import (
    PLAIN,
    Execution,
    Findings,
    candidates,
    compiled,
    evaluation_batches,
    layout_is_safe,
)
from trainables.feed import Feed
from trainables.kinds.classification import Classification
from trainables.learn import Learner
from trainables.mixing import Targets
from trainables.objective import Objective
from trainables.stepping import Step, affordable, choose, fastest, probing
from trainables.task import Head
from trainables.train import train

CPU = torch.device("cpu")
KIND = Classification(heads=(Head(name="label", classes=("a", "b", "c")),))
CONFIG = TrialConfig(model="convnet", batch_size=8, amp="off")
OBJECTIVE = Objective(KIND, CONFIG, torch.zeros(8, 1, dtype=torch.int64))
FAST = Execution(channels_last=True, fused=True, quick_convolutions=True)


def network(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * 36, 3))


def batch(num_images: int = 8) -> tuple[Tensor, Targets]:
    torch.manual_seed(1)
    return torch.randn(num_images, 3, 6, 6), Targets(first=torch.randint(0, 3, (num_images, 1)))


class Narrow(nn.Module):
    """A device's memory that holds so many images and no more."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("Too many images.")
        self.seen.append(len(x))
        answer: Tensor = self.inner(x)
        return answer


def gradients(step: Step) -> list[Tensor]:
    return [p.grad.clone() for p in step.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("most", [1, 3, 4, 7])
def test_a_batch_that_does_not_fit_gives_the_whole_batchs_gradient(most: int) -> None:
    whole = Step(network(), OBJECTIVE, CONFIG, PLAIN)
    parted = Step(Narrow(network(), most), OBJECTIVE, CONFIG, PLAIN)
    loss, answer = whole(*batch(7))
    parted_loss, parted_answer = parted(*batch(7))
    assert parted.execution.micro_batches > 1 or most == 7
    torch.testing.assert_close(parted_answer, answer)
    torch.testing.assert_close(parted_loss, loss)
    torch.testing.assert_close(gradients(parted), gradients(whole))


@pytest.mark.parametrize("most", [16, 3])
def test_accumulated_batches_make_the_update_of_one_large_batch(most: int) -> None:
    config = dataclasses.replace(CONFIG, optimizer="sgd", batch_size=32)
    whole = Step(network(), OBJECTIVE, config, PLAIN)
    narrow = Narrow(network(), most)
    parted = Step(narrow, OBJECTIVE, dataclasses.replace(config, batch_size=16, accumulate=2), PLAIN)
    for _ in range(3):
        whole(*batch(32))
        parted(*batch(32))
    assert max(narrow.seen) <= most
    expected = dict(whole.model.named_parameters())
    for name, value in narrow.inner.named_parameters():
        torch.testing.assert_close(value, expected[name])


def test_the_last_incomplete_group_is_applied_and_the_schedule_counts_updates() -> None:
    def learner(**params: Any) -> Learner:
        given = {**QUICK, "norm": "group", "amp": "off", "schedule": "step", "epochs": 3, **params}
        return Learner(task().kind, store().parts["train"], trial_config(given))

    accumulated, large = learner(batch_size=8, accumulate=2), learner(batch_size=16)
    assert accumulated.num_updates == large.num_updates == 3
    for epoch in (1, 2):
        first, second = accumulated.learn(epoch), large.learn(epoch)
        assert first.lr == second.lr
        assert torch.equal(first.rows, second.rows)
        assert len(first.rows) == 41
    expected = large.model.state_dict()
    for name, value in accumulated.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def test_after_the_first_failure_no_batch_fails_again() -> None:
    model = Narrow(network(), 3)
    step = Step(model, OBJECTIVE, CONFIG, PLAIN)
    for _ in range(3):
        step(*batch())
    assert model.seen == [2] * 12
    assert step.execution == dataclasses.replace(PLAIN, micro_batches=4)


def test_batch_normalisation_never_sees_one_image_alone() -> None:
    model = Narrow(network(norm=True), 2)
    step = Step(model, OBJECTIVE, CONFIG, PLAIN)
    step(*batch())
    assert model.seen == [2, 2, 2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        Step(Narrow(network(norm=True), 1), OBJECTIVE, CONFIG, PLAIN)(*batch())


def test_micro_batches_and_evaluation_batches_are_remembered(tmp_path: Path) -> None:
    config = trial_config({**QUICK, "amp": "off"})
    file = tmp_path / "execution.json"
    learner = Learner(task().kind, store().parts["train"], config, findings=file)
    learner.step.model = learner.step._trained = Narrow(learner.model, 5)
    learner.learn(1)
    answers = learner.answers(Feed(store().parts["valid"], CPU))
    assert len(answers) == 26
    found = Findings(file, config, CPU).recall()
    assert found is not None
    assert (found.micro_batches, found.evaluation_batch) == (2, 4)
    again = Learner(task().kind, store().parts["train"], config, findings=file)
    assert again.step.execution == found


def test_evaluation_halves_until_nothing_is_left() -> None:
    assert list(evaluation_batches(PLAIN, CONFIG, CPU)) == [16, 8, 4, 2, 1]
    known = dataclasses.replace(PLAIN, evaluation_batch=3)
    assert list(evaluation_batches(known, CONFIG, CPU)) == [3, 1]


def test_plain_is_always_tried_and_wins_unless_beaten_by_a_margin() -> None:
    tried = candidates(CONFIG, network(), CPU)
    assert tried[0] == FAST
    assert tried[-1] == PLAIN
    assert len(set(tried)) == len(tried)
    assert fastest({FAST: 0.99, PLAIN: 1.0}) == PLAIN
    assert fastest({FAST: 0.9, PLAIN: 1.0}) == FAST
    assert fastest({FAST: 1.1, PLAIN: 1.0}) == PLAIN


@pytest.mark.parametrize(("amp", "expected"), [("off", {False}), ("bf16", {True})])
def test_what_is_asked_of_bf16_holds_for_every_candidate(amp: Any, expected: set[bool]) -> None:
    config = dataclasses.replace(CONFIG, amp=amp)
    assert {each.bf16 for each in candidates(config, network(), CPU)} == expected


def test_the_layout_that_corrupts_memory_is_never_tried() -> None:
    fragile = nn.Sequential(nn.Conv2d(3, 8, 1, 2))
    assert not layout_is_safe(fragile, CPU)
    assert not any(each.channels_last for each in candidates(CONFIG, fragile, CPU))
    assert layout_is_safe(nn.Sequential(nn.Conv2d(3, 8, 3, 2)), CPU)


def test_only_a_gpu_compiles() -> None:
    assert compiled(FAST, CPU) == []
    modes = [each.compiled for each in compiled(FAST, torch.device("cuda"))]
    assert modes == ["default", "reduce-overhead"]


def test_a_short_trial_is_not_probed_and_a_long_one_times_what_it_can_pay() -> None:
    made: list[Execution] = []

    def step(execution: Execution) -> Step:
        made.append(execution)
        return Step(network(), OBJECTIVE, CONFIG, execution)

    tried = candidates(CONFIG, network(), CPU)
    assert choose(step, tried, batch(), updates=799) == tried[0]
    assert made == []
    choose(step, tried, batch(), updates=800)
    assert made == [tried[0], PLAIN]
    assert affordable(100 * 4 * 3) == 3


def test_the_probe_leaves_network_and_random_numbers_alone() -> None:
    model = nn.Sequential(network(norm=True), nn.Dropout(0.5))
    given = batch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tried = candidates(CONFIG, model, CPU)
    assert choose(probing(model, OBJECTIVE, CONFIG), tried, given, updates=10**4) in tried
    assert torch.equal(torch.rand(3), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_probed_trial_and_one_that_recalls_the_finding_give_the_same_bits(tmp_path: Path) -> None:
    data = dataclasses.replace(store(train=400, valid=9), folder=tmp_path / "stores" / "one")
    data.folder.mkdir(parents=True)
    config = trial_config({**QUICK, "epochs": 17})
    for name in ("probed", "recalled"):
        train(task(), data, config, Listener(), folder=tmp_path / name)
    found = json.loads((data.folder.parent / "execution.json").read_text())
    assert len(found) == 1
    first, second = (
        [(tmp_path / name / file).read_bytes() for file in ("weights.safetensors", "execution.json")]
        for name in ("probed", "recalled")
    )
    assert first == second
    how = json.loads(first[1])
    assert {key: how[key] for key in dataclasses.asdict(PLAIN)} == next(iter(found.values()))
    assert (how["store_side"], how["resident"]) == (8, False)


def test_findings_of_many_trials_at_once_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "execution.json"
    configs = [dataclasses.replace(CONFIG, image_size=8 + i) for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda config: Findings(file, config, CPU).remember(FAST), configs))
    assert all(Findings(file, config, CPU).recall() == FAST for config in configs)


@pytest.mark.parametrize("text", ["", "[1]", '{"other": 3}', "{"])
def test_a_broken_file_of_findings_counts_as_empty(tmp_path: Path, text: str) -> None:
    file = tmp_path / "execution.json"
    file.write_text(text)
    findings = Findings(file, CONFIG, CPU)
    assert findings.recall() is None
    findings.remember(FAST)
    assert findings.recall() == FAST


def test_a_finding_of_another_version_is_probed_anew(tmp_path: Path) -> None:
    file = tmp_path / "execution.json"
    findings = Findings(file, CONFIG, CPU)
    file.write_text(json.dumps({findings.key: {"no longer": True}}))
    assert findings.recall() is None


LAYERS = [
    (nn.Conv2d(6, 6, 5, padding=2, groups=6), 2),
    (nn.Conv2d(6, 6, 7, padding=3, groups=6, bias=False), 4),
    (nn.Conv2d(6, 6, 7, padding=3, groups=6), 1),
    (nn.Conv2d(6, 6, 5, padding=2, stride=2, groups=6), 7),
    (nn.Conv2d(6, 6, 3, padding=1, groups=6), 2),
    (nn.Conv2d(6, 6, 3, padding=1, stride=2, groups=6), 9),
    (nn.Conv2d(6, 6, 4, padding=1, groups=6), 5),
    (nn.Conv2d(6, 64, 1), 3),
    (nn.Conv2d(6, 64, 3, padding=1, stride=2), 5),
    (nn.Conv2d(6, 64, 3, padding=1, bias=False), 2),
    (nn.Conv2d(6, 64, 4, stride=4), 9),
    (nn.Conv2d(1, 64, 3, padding=1), 4),
    (nn.Conv2d(1, 1, 3, padding=1), 4),
]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("layer", "side"), LAYERS)
def test_quick_convolutions_are_torchs(layer: nn.Conv2d, side: int, layout: torch.memory_format) -> None:
    layer = layer.to(memory_format=layout)
    quick = quicken(nn.Conv2d(**_arguments(layer)).to(memory_format=layout))
    assert type(quick) is not nn.Conv2d
    quick.load_state_dict(layer.state_dict())
    x = torch.randn(5, layer.in_channels, side, side).contiguous(memory_format=layout)
    found = []
    for each in (layer, quick):
        given = x.clone().requires_grad_()
        answer = each(given)
        wanted = torch.linspace(-1, 1, answer.numel()).view(answer.shape)
        found.append([answer, *torch.autograd.grad((answer * wanted).sum(), [given, *each.parameters()])])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def _arguments(layer: nn.Conv2d) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
    return {**{name: getattr(layer, name) for name in names}, "bias": layer.bias is not None}
