"""Any scheduler of torch as a schedule. The reference is torch itself, on an optimizer of the same groups."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import Parameter
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import SWALR

from lr_recipes import Horizon
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.plan.resume import ResumeError
from lr_recipes.schedules import TorchSchedule, from_description
from tests.callbacks.harness import PEAK, Tiny, fit, keep_all
from tests.optimizer.loops import attached, parameter, read_momenta, sgd, torch_style, watch

UPDATES = 12
RUN = Horizon(total_steps=UPDATES, steps_per_epoch=4)
LRS = (0.01, 0.1)

Factory = Callable[[Any], Any]


def flat(step: int) -> float:
    return 1.0


def falling(step: int) -> float:
    return 0.9**step


def in_sequence(optimizer: Any) -> Any:
    warmup = LinearLR(optimizer, 0.25, total_iters=4)
    return SequentialLR(optimizer, [warmup, LambdaLR(optimizer, [flat, falling])], milestones=[4])


def in_a_chain(optimizer: Any) -> Any:
    return ChainedScheduler([LambdaLR(optimizer, [flat, falling]), ExponentialLR(optimizer, 0.8)])


def one_for_each_it_finds(optimizer: Any) -> Any:
    return LambdaLR(optimizer, [partial(pow, 0.5 + 0.1 * index) for index, _ in enumerate(optimizer.param_groups)])


def peaks_for_each_it_finds(optimizer: Any) -> Any:
    return CyclicLR(optimizer, 0.001, [0.1 * 0.5**k for k, _ in enumerate(optimizer.param_groups)], step_size_up=3)


def peaks_of_its_two_groups(optimizer: Any) -> Any:
    first, second = optimizer.param_groups
    return OneCycleLR(optimizer, max_lr=[2 * first["lr"], second["lr"]], total_steps=UPDATES + 1)


LISTS: dict[str, Factory] = {
    "LambdaLR": partial(LambdaLR, lr_lambda=[flat, falling]),
    "MultiplicativeLR": partial(MultiplicativeLR, lr_lambda=[lambda step: 0.9, lambda step: 0.5]),
    "OneCycleLR": partial(OneCycleLR, max_lr=[0.02, 0.1], total_steps=UPDATES + 1),
    "OneCycleLR of one peak": partial(OneCycleLR, max_lr=[0.1, 0.1], total_steps=UPDATES + 1),
    "OneCycleLR with momenta": partial(
        OneCycleLR, max_lr=[0.02, 0.1], total_steps=UPDATES + 1, base_momentum=[0.8, 0.5], max_momentum=[0.9, 0.6]
    ),
    "CyclicLR": partial(CyclicLR, base_lr=[0.001, 0.02], max_lr=[0.05, 0.1], step_size_up=3),
    "CyclicLR with momenta": partial(
        CyclicLR, base_lr=0.001, max_lr=[0.05, 0.1], step_size_up=3, base_momentum=[0.8, 0.5], max_momentum=[0.9, 0.6]
    ),
    "SWALR": partial(SWALR, swa_lr=[0.001, 0.05], anneal_epochs=5),
    "in a SequentialLR": in_sequence,
    "in a ChainedScheduler": in_a_chain,
    "one for each group that it finds": one_for_each_it_finds,
    "peaks for each group that it finds": peaks_for_each_it_finds,
    "peaks of two groups": peaks_of_its_two_groups,
}
each_list = pytest.mark.parametrize("factory", LISTS.values(), ids=LISTS.keys())


def momenta_at_each_step(optimizer: Optimizer) -> list[list[float | None]]:
    seen: list[list[float | None]] = []
    optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: seen.append(read_momenta(optimizer)))
    return seen


def as_torch_does(factory: Factory, optimizer: Optimizer, updates: int = UPDATES) -> list[list[float]]:
    used, scheduler = watch(optimizer), factory(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's SequentialLR warns of its own calls
        for _ in range(updates):
            optimizer.step()
            scheduler.step()
    return used


# A list has an entry for each group


@pytest.mark.behaviour("B47")
@each_list
@pytest.mark.parametrize("loop", [torch_style, attached])
def test_each_group_uses_what_torch_gives_it(factory: Factory, loop: Any) -> None:
    """LR and momentum, at every update; nothing is brought into a ratio."""
    theirs = sgd(*LRS)
    expected_momenta = momenta_at_each_step(theirs)
    expected = as_torch_does(factory, theirs)
    ours = sgd(*LRS)
    momenta = momenta_at_each_step(ours)
    used = loop(TorchSchedule(factory=factory).bind(ours, RUN), UPDATES)
    assert [lr for lrs in used for lr in lrs] == pytest.approx([lr for lrs in expected for lr in lrs], rel=1e-12)
    assert momenta == expected_momenta


@pytest.mark.behaviour("B47")
def test_adam_s_betas_follow_lists_too() -> None:
    def adam() -> Adam:
        return Adam([{"params": [parameter()], "lr": lr} for lr in LRS])

    theirs, ours = adam(), adam()
    expected, momenta = momenta_at_each_step(theirs), momenta_at_each_step(ours)
    as_torch_does(LISTS["OneCycleLR with momenta"], theirs)
    torch_style(TorchSchedule(factory=LISTS["OneCycleLR with momenta"]).bind(ours, RUN), UPDATES)
    assert momenta == expected
    assert ours.param_groups[1]["betas"][1] == 0.999


@pytest.mark.behaviour("B47")
def test_tensor_lrs_are_filled_in_place() -> None:
    tensors = [torch.tensor(lr, dtype=torch.float64) for lr in LRS]
    bound = TorchSchedule(factory=LISTS["LambdaLR"]).bind(sgd(*tensors), RUN)
    used = attached(bound, UPDATES)
    assert used == attached(TorchSchedule(factory=LISTS["LambdaLR"]).bind(sgd(*LRS), RUN), UPDATES)
    assert [group["lr"] is tensor for group, tensor in zip(bound.optimizer.param_groups, tensors, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.behaviour("B47")
def test_a_warmup_multiplies_every_group() -> None:
    used = torch_style(TorchSchedule(factory=LISTS["LambdaLR"], warmup=4).bind(sgd(*LRS), RUN), UPDATES)
    assert used == [
        pytest.approx([0.01 * min((n + 1) / 4, 1), 0.1 * 0.9**n * min((n + 1) / 4, 1)]) for n in range(UPDATES)
    ]


@pytest.mark.behaviour("B47")
def test_past_the_plan_every_group_stays_where_it_ended() -> None:
    used = torch_style(TorchSchedule(factory=LISTS["LambdaLR"]).bind(sgd(*LRS), RUN), UPDATES + 3)
    assert used[UPDATES:] == [pytest.approx([0.01, 0.1 * 0.9 ** (UPDATES - 1)])] * 3


@pytest.mark.behaviour("B47")
def test_what_the_next_update_shall_use_is_known() -> None:
    """By group, and held with the LR."""
    bound = TorchSchedule(factory=LISTS["LambdaLR"]).bind(sgd(*LRS), RUN)
    assert not bound.plan.uniform
    for _ in range(3):
        assert bound.planned_lrs == bound.get_lr() == bound.get_last_lr() == read_lrs(bound.optimizer)
        bound.optimizer.step()
        bound.step()
    bound.attach(every_update=False)
    bound.optimizer.step()
    assert (bound.position, bound.planned_lrs) == (4, pytest.approx([0.01, 0.1 * 0.9**3]))


@pytest.mark.behaviour("B47")
def test_a_single_value_keeps_the_ratio_of_groups() -> None:
    """A factory of one's own may look at its groups and still treat them alike: at the peak it is asked for."""
    for factory in (
        partial(OneCycleLR, max_lr=0.1, total_steps=UPDATES + 1),
        lambda optimizer: OneCycleLR(optimizer, [g["lr"] for g in optimizer.param_groups], total_steps=UPDATES + 1),
        lambda optimizer: SequentialLR(
            optimizer, [LinearLR(optimizer), CosineAnnealingLR(optimizer, 8, eta_min=0.01)], milestones=[4]
        ),
    ):
        bound = TorchSchedule(factory=factory).bind(sgd(0.001, 0.1), RUN)
        assert bound.plan.uniform
        assert [small / large for small, large in torch_style(bound, UPDATES)] == pytest.approx([0.01] * UPDATES)


@pytest.mark.behaviour("B47")
def test_a_list_of_another_length_is_refused() -> None:
    optimizer = sgd(0.1, 0.1, 0.1)
    with pytest.raises(ValueError, match=r"for 3 parameter groups: Expected 3 lr_lambdas, but got 2"):
        TorchSchedule(factory=LISTS["LambdaLR"]).bind(optimizer, RUN)
    assert read_lrs(optimizer) == [0.1] * 3


@pytest.mark.behaviour("B47")
def test_a_late_group_has_no_curve() -> None:
    bound = TorchSchedule(factory=LISTS["LambdaLR"]).bind(sgd(*LRS), RUN)
    bound.optimizer.step()
    bound.step()
    bound.optimizer.add_param_group({"params": [parameter()], "lr": 0.5})
    with pytest.raises(
        ValueError, match=r"curve for each of 2 parameter groups, and the optimizer now has 3.*requires_grad=False"
    ):
        bound.optimizer.step()


@pytest.mark.behaviour("B47")
def test_a_late_group_has_the_curve_that_the_factory_makes_for_it() -> None:
    bound = TorchSchedule(factory=one_for_each_it_finds).bind(sgd(*LRS), RUN)
    used = watch(bound.optimizer)
    for n in range(4):
        if n == 2:
            bound.optimizer.add_param_group({"params": [parameter()], "lr": 0.5})
        bound.optimizer.step()
        bound.step()
    assert used[1] == pytest.approx([0.01 * 0.5, 0.1 * 0.6])
    assert used[3] == pytest.approx([0.01 * 0.5**3, 0.1 * 0.6**3, 0.5 * 0.7**3])


# In a run of Lightning


def two_groups(parameters: list[Parameter]) -> Optimizer:
    groups = [{"params": [one], "lr": lr} for one, lr in zip(parameters, LRS, strict=True)]
    return SGD(groups, momentum=0.9)


def with_scheduler(factory: Factory) -> Callable[[list[Parameter]], Any]:
    def build(parameters: list[Parameter]) -> Any:
        optimizer = two_groups(parameters)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factory(optimizer), "interval": "step"}}

    return build


@pytest.mark.behaviour("B47")
@pytest.mark.parametrize("name", ["LambdaLR", "OneCycleLR with momenta", "CyclicLR"])
def test_a_run_is_lightnings_own(name: str) -> None:
    plain = fit(module=Tiny(with_scheduler(LISTS[name])), max_epochs=2, batches=6)
    ours = fit(TorchSchedule(factory=LISTS[name]), module=Tiny(two_groups), max_epochs=2, batches=6)
    assert len(ours.groups()) == UPDATES
    assert ours.groups() == [pytest.approx(lrs, rel=1e-12) for lrs in plain.groups()]


@pytest.mark.behaviour("B47")
def test_a_run_resumes_with_its_lists(tmp_path: Path) -> None:
    def run(schedule: TorchSchedule, **arguments: Any) -> list[tuple[float, ...]]:
        keep = keep_all(tmp_path / "kept")
        return fit(schedule, module=Tiny(two_groups), max_epochs=2, batches=6, callbacks=[keep], **arguments).groups()

    schedule = TorchSchedule(factory=LISTS["CyclicLR"])
    other = TorchSchedule(factory=partial(CyclicLR, base_lr=[0.001, 0.02], max_lr=[0.05, 0.2], step_size_up=3))
    whole, kept = run(schedule), tmp_path / "step=6.ckpt"
    (tmp_path / "kept" / "step=6.ckpt").rename(kept)
    assert run(schedule, ckpt_path=kept) == whole[6:]
    with pytest.raises(ResumeError, match=r"factory: CyclicLR\(.*max_lr=\[0.05, 0.1\].*-> .*max_lr=\[0.05, 0.2\]"):
        run(other, ckpt_path=kept)
    assert run(other, ckpt_path=kept, options={"resume": "checkpoint"}) == whole[6:]


@pytest.mark.behaviour("B47")
def test_the_plan_says_that_each_group_has_a_curve(caplog: Any) -> None:
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        fit(TorchSchedule(factory=LISTS["LambdaLR"]), module=Tiny(two_groups), max_epochs=1, batches=4)
    assert [line for line in caplog.text.splitlines() if line.startswith("  ")] == [
        "  group0    peak LR 0.01, floor 0.01",
        "    torch   updates 0 to 3   factor 1",
        "  group1    peak LR 0.1, floor 0.0729",
        "    torch   updates 0 to 3   factor 1 -> 0.729",
    ]


@pytest.mark.behaviour("B47")
def test_lists_of_a_configuration_are_lists() -> None:
    settings = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "_partial_": True, "max_lr": [0.02, 0.1]}
    config = {"_target_": "lr_recipes.schedules.TorchSchedule", "factory": {**settings, "total_steps": UPDATES + 1}}
    schedule = hydra.utils.instantiate(OmegaConf.create(config))
    assert schedule == TorchSchedule(factory=LISTS["OneCycleLR"])
    assert torch_style(schedule.bind(sgd(*LRS), RUN), UPDATES) == torch_style(
        TorchSchedule(factory=LISTS["OneCycleLR"]).bind(sgd(*LRS), RUN), UPDATES
    )


# What is saved


def test_lists_are_saved_as_plain_values() -> None:
    peaks = np.array([0.02, 0.1])
    schedule = TorchSchedule(
        factory=partial(OneCycleLR, max_lr=list(peaks), total_steps=np.int64(13), div_factor=torch.tensor(25.0))
    )
    state = schedule.bind(sgd(*LRS), RUN).state_dict()
    assert json.loads(json.dumps(state)) == state
    assert state["schedule"]["factory"]["kwargs"] == {"max_lr": [0.02, 0.1], "total_steps": 13, "div_factor": 25.0}
    torch.save(state, file := io.BytesIO())
    file.seek(0)
    assert torch.load(file, weights_only=True) == state
    assert from_description(state["schedule"]) == schedule


def test_a_list_of_functions_is_not_built_from_a_checkpoint() -> None:
    with pytest.raises(ValueError, match=r"LambdaLR, cannot be built from a checkpoint: give the same one"):
        from_description(TorchSchedule(factory=LISTS["LambdaLR"]).describe())


# An optimizer whose LRs are 0


RELATIVE = {
    "StepLR": partial(StepLR, step_size=3),
    "ExponentialLR": partial(ExponentialLR, gamma=0.9),
    "CosineAnnealingLR": partial(CosineAnnealingLR, T_max=UPDATES),
    "LambdaLR": partial(LambdaLR, lr_lambda=falling),
    "LambdaLR of a list": LISTS["LambdaLR"],
    "PolynomialLR": partial(torch_schedulers.PolynomialLR, total_iters=UPDATES),
    "in a SequentialLR": in_sequence,
}


@pytest.mark.behaviour("B47")
@pytest.mark.parametrize("factory", RELATIVE.values(), ids=RELATIVE.keys())
def test_lrs_of_0_stay_0(factory: Factory) -> None:
    assert torch_style(TorchSchedule(factory=factory).bind(sgd(0.0, 0.0), RUN), UPDATES) == [[0.0, 0.0]] * UPDATES
    run = fit(TorchSchedule(factory=factory), module=Tiny(frozen), max_epochs=1, batches=4)
    assert run.groups() == [(0.0, 0.0)] * 4


def frozen(parameters: list[Parameter]) -> Optimizer:
    return SGD([{"params": [one], "lr": 0.0} for one in parameters], momentum=0.9)


@pytest.mark.behaviour("B47")
def test_a_group_that_joins_an_optimizer_of_lr_0_follows_the_scheduler() -> None:
    bound = TorchSchedule(factory=RELATIVE["StepLR"]).bind(sgd(0.0), RUN)
    bound.optimizer.add_param_group({"params": [parameter()], "lr": 0.5})
    assert torch_style(bound, 6) == [[0.0, 0.5]] * 3 + [[0.0, pytest.approx(0.05)]] * 3


ABSOLUTE = {
    "OneCycleLR": (partial(OneCycleLR, max_lr=0.1, total_steps=20), [0.0]),
    "CosineAnnealingLR": (partial(CosineAnnealingLR, T_max=UPDATES, eta_min=0.01), [0.0, 0.0]),
    "a list": (partial(CyclicLR, base_lr=[0.01, 0.01], max_lr=0.1), [0.0, 0.1]),
}


@pytest.mark.behaviour("B47")
@pytest.mark.parametrize(("factory", "lrs"), ABSOLUTE.values(), ids=ABSOLUTE.keys())
def test_a_scheduler_that_sets_an_lr_where_there_is_none(factory: Factory, lrs: list[float]) -> None:
    """No factor of 0 gives it, so it is refused before the first update."""
    with pytest.raises(ValueError, match=r"built with lr=0, and \w+LR sets it to 0\.\d+ after . step.*Build it with"):
        TorchSchedule(factory=factory).bind(sgd(*lrs), RUN)


def test_lists_need_the_lr_of_each_group() -> None:
    """A module whose groups are fewer than the entries is told so before training."""
    with pytest.raises(ValueError, match="for 1 parameter group: Expected 1 lr_lambdas, but got 2"):
        fit(TorchSchedule(factory=LISTS["LambdaLR"]), module=Tiny(lambda p: SGD(p, lr=PEAK)), max_epochs=1)
