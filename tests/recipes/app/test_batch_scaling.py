"""The LR that follows the global batch: in training, in a preview, and with what a user may type."""

from __future__ import annotations

import logging

import pytest
from omegaconf import DictConfig

from recipes.app import config
from recipes.app.batch_scaling import is_scaled, scaled_lr, scaling_in_words
from recipes.app.preview import previews_of
from recipes.app.training import build
from recipes.app.validation import check


def composed(*overrides: str) -> DictConfig:
    own = ["output_dir=unused", "recipe=large_batch", "batch_scaling.base_lr=0.1", "trainer=cpu"]
    return config.composed(*own, *overrides)


@pytest.mark.parametrize(
    ("overrides", "lr"),
    [
        ([], 0.2),
        (["data.batch_size=1024"], 0.4),
        (["data.batch_size=128"], 0.05),
        (["batch_scaling.rule=sqrt", "data.batch_size=1024"], 0.2),
        (["batch_scaling.base_lr=0.3", "batch_scaling.base_batch_size=512"], 0.3),
        (["trainer.accumulate_grad_batches=3"], 0.6),
        (["trainer.devices=2", "trainer.num_nodes=4"], 1.6),
        (["trainer=ddp", "trainer.devices=[0,2,3]"], 0.6),
        (["optimizer.lr=0.4", "data.batch_size=1024"], 0.4),  # a number is what it says
    ],
)
def test_the_peak_follows_the_global_batch(overrides: list[str], lr: float) -> None:
    cfg = composed(*overrides)
    check(cfg)
    assert cfg.optimizer.lr == pytest.approx(lr)
    (shown,) = previews_of(cfg).values()
    assert set(shown.base_lrs.values()) == {cfg.optimizer.lr}
    assert is_scaled(cfg) is ("optimizer.lr=0.4" not in overrides)
    assert ("global batch" in shown.table) is is_scaled(cfg)


def test_every_recipe_can_scale_its_lr() -> None:
    scaling = ["batch_scaling.base_lr=0.01", "batch_scaling.base_batch_size=64", "optimizer.lr='${scaled_lr:}'"]
    cfg = config.composed("output_dir=unused", "recipe=classical_cnn", "data.batch_size=128", *scaling)
    assert cfg.optimizer.lr == 0.02


def test_a_run_says_how_its_lr_came_about_and_uses_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = build(composed("trainer.accumulate_grad_batches=2")).model
    said = "LR 0.4 = 0.1 x 1024 / 256 (linear, global batch 1024 = 1 device x 2 accumulation x 512)"
    assert caplog.messages.count(said) == 1
    assert {group["lr"] for group in model.configure_optimizers().param_groups} == {0.4}  # type: ignore[union-attr]


def test_a_run_with_an_lr_of_its_own_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        build(composed("optimizer.lr=0.3"))
    assert [one for one in caplog.messages if "global batch" in one] == []


def test_several_machines_and_the_root_are_named() -> None:
    cfg = composed("batch_scaling.rule=sqrt", "trainer.devices=4", "trainer.num_nodes=2")
    assert scaling_in_words(cfg) == (
        "LR 0.4 = 0.1 x sqrt(4096 / 256) (sqrt, global batch 4096 = 2 machines x 4 devices x 1 accumulation x 512)"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_scaling.base_batch_size=0", "base_batch_size=0: must be a whole number of 1 or more"),
        ("batch_scaling.base_batch_size=-256", "base_batch_size=-256: must be a whole number of 1 or more"),
        ("batch_scaling.base_batch_size=2.5", r"base_batch_size=2.5: must be a whole number"),
        ("batch_scaling.base_batch_size=null", "base_batch_size=None: must be a whole number"),
        ("batch_scaling.base_lr=0", "base_lr=0: must be above 0"),
        ("batch_scaling.base_lr=null", "base_lr=None: must be above 0"),
        ("batch_scaling.base_lr=inf", "base_lr=inf: must be above 0"),
        ("batch_scaling.rule=cubic", "rule='cubic' is unknown: choose one of linear, sqrt"),
        ("data.batch_size=x", "data.batch_size='x': must be a whole number of at least 1"),
        ("data.batch_size=0", "data.batch_size=0: must be a whole number of at least 1"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0: must be a whole number of at least 1"),
        ("trainer.accumulate_grad_batches=2.5", "accumulate_grad_batches=2.5: must be a whole number of at least 1"),
        ("+batch_scaling.rul=sqrt", "batch_scaling has no 'rul' .did you mean 'rule'"),
    ],
)
def test_refuses(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(composed(override))


def test_the_rules() -> None:
    assert scaled_lr(0.1, 256, "linear", 256) == scaled_lr(0.1, 256, "sqrt", 256) == 0.1
    assert scaled_lr(0.1, 256, "linear", 64) == 0.025
    assert scaled_lr(0.1, 256, "sqrt", 64) == 0.05
