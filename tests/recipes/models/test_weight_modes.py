"""A schedule-free optimizer beside the reference modules: what is validated, saved and tested is its average."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from schedulefree import AdamWScheduleFree
from torch import Tensor
from torch.utils.data import DataLoader

from lr_recipes import schedules
from recipes.data.task import ImageTask, TextTask
from recipes.models.cnn import ImageClassifier
from recipes.models.transformer import LanguageModel
from tests.callbacks.harness import fit, keep_all, plan

WARMUP = schedules.Fixed(warmup=2)
free = partial(AdamWScheduleFree, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9))


def language_model() -> LanguageModel:
    return LanguageModel(optimizer=free, task=TextTask(vocab_size=11, context=8), layers=1, heads=2, width=8)


def classifier() -> ImageClassifier:
    return ImageClassifier(optimizer=free, task=ImageTask(3, 1, 4, 4), network="mlp", width=8)


def windows(batches: int) -> list[Any]:
    return [*torch.randint(11, (batches, 4, 9), generator=torch.Generator().manual_seed(0))]


def images(batches: int) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 1, 4, 4, generator=generator), torch.arange(4) % 3) for _ in range(batches)]


def weights(module: LightningModule) -> list[Tensor]:
    return [one.detach().clone() for one in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def loss(module: Any, batch: Any) -> Tensor:
    if isinstance(module, LanguageModel):
        return module.loss(batch)[0]
    return torch.nn.functional.cross_entropy(module(batch[0]), batch[1])


@pytest.mark.parametrize(("make", "data"), [(language_model, windows), (classifier, images)])
def test_what_is_validated_saved_and_tested_is_the_average(make: Any, data: Any, tmp_path: Path) -> None:
    batches, held_out = (DataLoader(part, batch_size=None) for part in (data(4), data(6)[4:]))
    torch.manual_seed(0)
    module = make()
    by_hand = make()
    by_hand.load_state_dict(module.state_dict())
    options: dict[str, Any] = {"train": batches, "val": held_out, "max_epochs": 2, "val_check_interval": 2}
    run = fit(WARMUP, module=module, callbacks=[keep_all(tmp_path)], **options)
    assert run.used == plan(WARMUP, 8, base=0.01)
    validated = run.trainer.callback_metrics["val_loss"].item()

    optimizer = by_hand.configure_optimizers()
    for lr, batch in zip(plan(WARMUP, 8, base=0.01), [*batches] * 2, strict=True):
        optimizer.train()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss(by_hand, batch).backward()
        optimizer.step()
        optimizer.eval()  # as often as there are checkpoints: there and back again rounds
    assert same(weights(module), weights(by_hand))
    saved = torch.load(tmp_path / "step=8.ckpt", weights_only=True)
    assert same([*saved["state_dict"].values()], weights(by_hand))

    mean = torch.stack([loss(by_hand, batch) for batch in held_out]).mean().item()
    (tested,) = run.trainer.test(module, held_out, verbose=False)
    (of_file,) = run.trainer.test(module, held_out, ckpt_path=str(tmp_path / "step=8.ckpt"), verbose=False)
    assert [validated, tested["test_loss"], of_file["test_loss"]] == pytest.approx([mean] * 3)

    resumed = fit(WARMUP, module=make(), ckpt_path=tmp_path / "step=4.ckpt", callbacks=[keep_all(tmp_path)], **options)
    assert same(weights(resumed.module), weights(by_hand))
