"""CIFAR-10: split, augmented and normalised on the device, and what is said where the files are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from recipes.data.cifar10 import CIFAR10Data, crop_and_flip
from recipes.data.seeded import seeded

CONF = Path(__file__).parents[3] / "conf"


def test_crop_and_flip_equals_padding_cropping_and_turning_one_by_one() -> None:
    images = torch.randint(256, (64, 6, 6, 3), dtype=torch.uint8, generator=seeded("images"))
    shifts = torch.randint(-2, 3, (2, 64, 1), generator=(draws := seeded("draws")))
    flips = torch.rand((64, 1), generator=draws) < 0.5
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), mode="reflect")
    result = crop_and_flip(images, 2, seeded("draws"))
    for k in range(64):
        top, left = 2 + int(shifts[0, k]), 2 + int(shifts[1, k])
        expected = padded[k, :, top : top + 6, left : left + 6].permute(1, 2, 0)
        assert torch.equal(result[k].float(), expected.flip(1) if flips[k] else expected)
    assert 16 < flips.sum() < 48
    assert set(shifts.flatten().tolist()) == {-2, -1, 0, 1, 2}


def test_missing_cifar_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"set data\.download=true .* or put the CIFAR-10") as caught:
        CIFAR10Data(root=str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_damaged_cifar_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(FileNotFoundError, match=r"missing or damaged .* set data\.download=true"):
        CIFAR10Data(root=str(tmp_path)).setup("fit")


def fake_cifar(root: str, train: bool, download: bool) -> SimpleNamespace:
    """Images whose pixels hold the number of their label, as torchvision stores them."""
    count = 50_000 if train else 10_000
    labels = np.arange(count) % 10
    images = np.broadcast_to((25 * labels).astype(np.uint8)[:, None, None, None], (count, 32, 32, 3))
    return SimpleNamespace(data=images.copy(), targets=labels.tolist())


def test_cifar_is_split_augmented_and_normalised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(CIFAR10=fake_cifar))
    data = CIFAR10Data(root=str(tmp_path), download=True, batch_size=500)
    data.setup("fit")
    assert [len(part) for part in (data.train, data.val, data.test)] == [45_000, 5_000, 10_000]
    totals = data.train.labels.bincount() + data.val.labels.bincount()
    assert totals.tolist() == [5_000] * 10  # every official training image is in one of them
    for loader in (data.train_dataloader(), data.val_dataloader()):
        images, labels = data.on_after_batch_transfer(next(iter(loader)), 0)
        assert images.shape == (500, 3, 32, 32)
        assert torch.allclose(images, ((25.0 * labels - 120.7) / 64.1)[:, None, None, None].expand_as(images))
    assert next(iter(data.train_dataloader())).first is not None
    assert next(iter(data.test_dataloader())).first is None


def test_the_config_builds(tmp_path: Path) -> None:
    config = OmegaConf.create({"seed": 5, "data": OmegaConf.load(CONF / "data" / "cifar10.yaml")})
    (tmp_path / "cifar-10-batches-py").mkdir()
    data = hydra.utils.instantiate(config.data, root=str(tmp_path))
    assert (data.seed, data.task.num_classes) == (5, 10)
