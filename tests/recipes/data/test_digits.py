"""scikit-learn's digits: a fixed split, wrong labels that stay wrong, and messages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from recipes.data.digits import DigitsData, replaced
from recipes.data.seeded import seeded
from recipes.data.task import ImageTask

CONF = Path(__file__).parents[3] / "conf"


def test_digits_split_is_fixed_complete_and_stratified() -> None:
    data = DigitsData(seed=7)
    data.setup("fit")
    parts = [data.train, data.val, data.test]
    assert [len(part) for part in parts] == [1257, 270, 270]
    images = torch.cat([part.images for part in parts])
    distinct = Counter(image.numpy().tobytes() for image in images)
    assert set(distinct.values()) == {1}  # all 1,797 differ, so no image is in two parts
    for part in parts:
        assert part.labels.bincount().tolist() == pytest.approx([len(part) / 10] * 10, rel=0.1)
    other = DigitsData(seed=8)
    other.setup("fit")
    assert torch.equal(data.test.images, other.test.images)


def test_digits_are_normalised_with_training_statistics() -> None:
    data = DigitsData()
    data.setup("fit")
    assert data.train.images.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert data.train.images.std().item() == pytest.approx(1.0, abs=1e-5)
    assert data.task == ImageTask(num_classes=10, channels=1, height=8, width=8)
    assert data.train.images.shape[1:] == (1, 8, 8)


def test_a_training_epoch_holds_full_batches_of_different_images() -> None:
    data = DigitsData(batch_size=100)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [100] * 12 == [100] * len(loader)
    images = torch.cat([images for images, _ in batches])
    assert len({image.numpy().tobytes() for image in images}) == 1200
    evaluated = list(data.val_dataloader())
    assert sum(len(labels) for _, labels in evaluated) == 270


def test_fewer_digits_are_some_of_the_more_and_the_rest_stays_as_it_was() -> None:
    few, all_of_them = DigitsData(train_size=300), DigitsData()
    for data in (few, all_of_them):
        data.setup("fit")
    assert (len(few.train), len(list(few.train_dataloader()))) == (300, 300 // 32)
    assert torch.equal(few.train.labels, all_of_them.train.labels[:300])
    assert few.train.labels.bincount().min() > 20  # of 30
    assert torch.equal(few.test.labels, all_of_them.test.labels)
    assert few.train.images.std().item() == pytest.approx(1.0, abs=1e-5)


def test_wrong_digits_are_for_training_only_and_stay_wrong() -> None:
    noisy, other, clean = DigitsData(label_noise=0.2), DigitsData(label_noise=0.2, seed=2), DigitsData()
    for data in (noisy, other, clean):
        data.setup("fit")
    wrong = noisy.train.labels != clean.train.labels
    assert wrong.float().mean().item() == pytest.approx(0.2, abs=0.04)
    assert not torch.equal(wrong, other.train.labels != clean.train.labels)
    for part in ("val", "test"):
        assert torch.equal(getattr(noisy, part).labels, getattr(clean, part).labels)
    first = noisy.train.labels.clone()
    noisy.setup("test")
    assert torch.equal(noisy.train.labels, first)


def test_larger_digits_are_the_same_ones() -> None:
    data, large = DigitsData(), DigitsData(size=16)
    for one in (data, large):
        one.setup("fit")
    assert large.task == ImageTask(num_classes=10, channels=1, height=16, width=16)
    assert large.val.images.shape == (270, 1, 16, 16)
    assert torch.equal(large.val.labels, data.val.labels)
    shrunk = torch.nn.functional.avg_pool2d(large.val.images, 2)
    pairs = torch.stack([shrunk.flatten(), data.val.images.flatten()])
    assert torch.corrcoef(pairs)[0, 1].item() > 0.9


def test_data_hash_names_the_images() -> None:
    assert DigitsData().data_hash == DigitsData(seed=2, size=16).data_hash
    assert len(DigitsData().data_hash) == 64


def test_label_noise_replaces_its_share_by_other_classes() -> None:
    clean = torch.arange(20_000) % 4
    noisy = replaced(clean, 0.3, 4, seeded("test"))
    changed = noisy != clean
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert ((noisy - clean)[changed] % 4).bincount().tolist()[1:] == pytest.approx([2000] * 3, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be a whole number; set batch_size=1 or more"),
        ({"batch_size": 2.5}, r"batch_size=2\.5: must be a whole number"),
        (
            {"batch_size": 2000},
            "batch_size=2000: larger than the 1257 .* set batch_size=1257 or less",
        ),
        ({"num_workers": -1}, "num_workers=-1: .* set num_workers=0 or more"),
        ({"size": 4}, "size=4: .* set size=8 or more"),
        ({"train_size": 1258}, "train_size=1258: there are 1,257 training images; set 1257 or less"),
        ({"label_noise": -0.1}, r"label_noise=-0\.1: must be at least 0 and below 1"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DigitsData(**options)


def test_the_config_builds() -> None:
    config = OmegaConf.create({"seed": 5, "data": OmegaConf.load(CONF / "data" / "digits.yaml")})
    data = hydra.utils.instantiate(config.data)
    assert (data.seed, data.task.num_classes) == (5, 10)
