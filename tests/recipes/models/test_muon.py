"""Muon and AdamW as one optimizer: the same weights as torch's two by hand, in every way in which a run may go."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lr_recipes import Horizon, schedules
from recipes.app import config
from recipes.app.validation import check
from recipes.data.task import ImageTask, TextTask
from recipes.models.cnn import ImageClassifier
from recipes.models.muon import MuonWithAdamW
from recipes.models.transformer import LanguageModel
from tests.callbacks.harness import PEAK, SCHEDULES, Tiny, fit, keep_all, plan

LINEAR = schedules.Linear(warmup=2)
OPTIONS = {"momentum": 0.9, "ns_steps": 4, "betas": (0.8, 0.9), "weight_decay": 0.3}
muon = partial(MuonWithAdamW, lr=0.01, **OPTIONS)


def language_model(**options: Any) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(optimizer=muon, task=TextTask(vocab_size=11, context=8), layers=2, heads=2, width=8, **options)


def weights(module: nn.Module) -> list[Tensor]:
    return [one.detach() for one in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def test_a_run_is_the_one_of_torch_s_two_optimizers_by_hand_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    windows = [*torch.randint(11, (4, 4, 9), generator=torch.Generator().manual_seed(0))]
    data: Any = DataLoader(windows, batch_size=None)
    options: dict[str, Any] = {"train": data, "val": data, "max_epochs": 2, "gradient_clip_val": 0.5}
    whole = fit(LINEAR, module=language_model(bias=True), callbacks=[keep_all(tmp_path, every=4)], **options)
    assert whole.used == plan(LINEAR, 8, base=0.01)

    model = language_model(bias=True)
    hidden = [p for name, p in model.named_parameters() if "blocks" in name and p.ndim == 2]
    embeddings = [model.network.tokens.weight, model.network.positions.weight]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    two: list[Any] = [
        torch.optim.Muon(hidden, weight_decay=0.3, momentum=0.9, ns_steps=4, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": embeddings}, {"params": vectors, "weight_decay": 0.0}], betas=(0.8, 0.9), weight_decay=0.3
        ),
    ]
    for lr, batch in zip(plan(LINEAR, 8, base=0.01), windows * 2, strict=True):
        model.zero_grad()
        model.loss(batch)[0].backward()
        nn.utils.clip_grad_norm_([*hidden, *embeddings, *vectors], 0.5)  # in this order: a sum in another one rounds
        for group in two[0].param_groups + two[1].param_groups:
            group["lr"] = lr
        for one in two:
            one.step()
    assert same(weights(whole.module), weights(model))

    options |= {"ckpt_path": tmp_path / "step=4.ckpt", "callbacks": [keep_all(tmp_path, every=4)]}
    resumed = fit(LINEAR, module=language_model(bias=True), **options)
    assert resumed.used == whole.used[4:]
    assert same(weights(resumed.module), weights(model))


class Pair(Tiny):
    """A matrix, and a vector."""

    def __init__(self) -> None:
        super().__init__(lambda both: MuonWithAdamW([{"params": both[:1], "hidden": True}, {"params": both[1:]}], PEAK))
        self.weights[0] = nn.Parameter(torch.eye(2))


def test_every_schedule_is_used_as_it_was_planned() -> None:
    for name, schedule in SCHEDULES.items():
        run = fit(schedule, module=Pair(), max_epochs=2)
        expected = plan(schedule, 16, steps_per_epoch=8)
        assert run.groups() == [pytest.approx((lr, lr)) for lr in expected], name


def test_what_moves_beside_the_lr_moves_where_it_is() -> None:
    run = fit(schedules.OneCycle(), module=Pair(), max_epochs=2)
    curve = schedules.OneCycle().resolve(Horizon(total_steps=16), peak=PEAK)
    muon_s, adamw_s = run.trainer.optimizers[0].param_groups
    assert muon_s["momentum"] == adamw_s["betas"][0] == pytest.approx(curve.beside["momentum"](15))
    assert not {"betas"} & muon_s.keys()
    assert not {"momentum"} & adamw_s.keys()


def stepped(optimizer: Any, updates: range) -> list[Tensor]:
    """The weights after some updates, in which each gradient follows from the weight and the update."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for n in updates:
        for p in parameters:
            p.grad = torch.cos(p.detach() * (n + 2))
        optimizer.step()
    return [p.detach() for p in parameters]


def test_groups_may_be_added_and_the_whole_may_be_copied_and_loaded() -> None:
    def made(at_once: int) -> MuonWithAdamW:
        first, vector, second = (nn.Parameter(torch.arange(4.0).view(2, 2) + n) for n in range(3))
        groups = [{"params": [first], "hidden": True}, {"params": [vector]}, {"params": [second], "hidden": True}]
        optimizer = MuonWithAdamW(groups[:at_once], lr=0.1, **OPTIONS)
        for group in groups[at_once:]:
            optimizer.add_param_group(group)
        return optimizer

    expected = stepped(made(at_once=3), range(4))
    late, loaded = made(at_once=1), made(at_once=3)
    before = stepped(late, range(2))
    copied = copy.deepcopy(late)
    loaded.load_state_dict(copied.state_dict())
    for group, weight in zip(loaded.param_groups, before, strict=True):
        group["params"][0].data.copy_(weight)
    assert same(stepped(late, range(2, 4)), expected)
    assert same(stepped(copy.deepcopy(copied), range(2, 4)), expected)
    assert same(stepped(loaded, range(2, 4)), expected)


# Which weights are whose


def names(module: Any) -> dict[str, tuple[bool, list[str]]]:
    known = {id(p): name.removeprefix("network.").removesuffix(".weight") for name, p in module.named_parameters()}
    groups = module.configure_optimizers().param_groups
    return {group["name"]: (group["hidden"], [known[id(p)] for p in group["params"]]) for group in groups}


def test_muon_gets_the_matrices_between_the_input_and_the_output() -> None:
    blocks = [f"blocks.{n}.{part}" for n in (0, 1) for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.out")]
    found = names(language_model())
    assert list(found) == ["hidden", "decay", "no_decay"]
    assert found["hidden"] == (True, blocks)
    assert found["decay"] == (False, ["tokens", "positions"])
    assert not found["no_decay"][0]
    by_layer = names(language_model(layer_decay=0.5))
    assert [name for name, (hidden, _) in by_layer.items() if hidden] == ["block1_hidden", "block2_hidden"]
    mlp = ImageClassifier(optimizer=muon, task=ImageTask(10, 1, 8, 8), network="mlp", head_lr_ratio=10.0)
    assert {name: of for name, of in names(mlp).items() if of[0]} == {"backbone_hidden": (True, ["2.0"])}


def test_a_network_without_hidden_matrices_is_refused() -> None:
    model = ImageClassifier(optimizer=muon, task=ImageTask(10, 1, 8, 8))
    with pytest.raises(ValueError, match=r"of stage1, stage2, stage3, head none .* has one .* set optimizer=adamw"):
        model.configure_optimizers()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("optimizer.momentum=-1", "optimizer: momentum should be >= 0 but is: -1"),
        ("optimizer.betas=[0.9,2]", "optimizer: Invalid beta parameter at index 1: 2"),
        ("optimizer.adjust_lr_fn=none", "optimizer: Adjust learning rate function none is not supported"),
    ],
)
def test_options_of_both_are_checked_before_anything_is_built(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(config.composed("output_dir=unused", "optimizer=muon", typed))
