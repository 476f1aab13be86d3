"""MNIST-1D: the authors' own training and test set, other signals for validation, chosen classes, and messages."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from recipes.data.mnist1d import _OF_CLASS, Mnist1DData, _signals
from recipes.data.task import ImageTask

CONF = Path(__file__).parents[3] / "conf"


def made(**options: Any) -> Mnist1DData:
    data = Mnist1DData(**options)
    data.setup("fit")
    return data


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_making_them_leaves_the_global_seeds_alone() -> None:
    _signals.cache_clear()  # the first test of the file, so that they are made once for all of them
    draws = []
    for make in (lambda: None, made):
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        make()
        draws.append(drawn())
    assert draws[0] == draws[1]


def test_training_and_test_set_are_those_of_the_authors() -> None:
    """The numbers are what ``make_dataset(get_dataset_args())`` of the package gives."""
    data = made()
    assert [len(part) for part in (data.train, data.val, data.test)] == [4000, 1000, 1000]
    assert data.train.images[0].flatten()[:4].tolist() == pytest.approx([-0.33201, -0.47191, -0.77870, -1.00974], 1e-4)
    assert data.test.images[-1].flatten()[-4:].tolist() == pytest.approx([0.44723, 0.65988, 0.87773, 1.19315], 1e-4)
    assert data.train.labels[:8].tolist() == [2, 6, 4, 5, 6, 6, 6, 0]
    assert data.test.labels[-8:].tolist() == [3, 6, 1, 2, 5, 9, 6, 4]
    assert tuple(data.train.labels.bincount().tolist()) == _OF_CLASS


def test_no_signal_is_in_two_parts_and_all_are_standardised() -> None:
    data = made()
    parts = [data.train, data.val, data.test]
    signals = torch.cat([part.images.flatten(1) for part in parts])
    # each by itself, so that one that is in two parts is found whatever the parts were divided by
    alone = (signals - signals.mean(1, keepdim=True)) / signals.std(1, keepdim=True)
    assert len({signal.numpy().tobytes() for signal in alone.round(decimals=3)}) == 6000
    for part in parts:
        assert part.images.shape[1:] == (1, 1, 40)
        assert part.images.mean().item() == pytest.approx(0.0, abs=0.01)
        assert part.images.std().item() == pytest.approx(1.0, abs=0.01)
    assert data.val.labels.bincount().tolist() == [100] * 10
    assert data.task == ImageTask(num_classes=10, channels=1, height=1, width=40)


def test_chosen_classes_are_the_same_signals_with_labels_from_0() -> None:
    all_of_them, late = made(), made(first_class=5, num_classes=5, train_size=200)
    assert late.task.num_classes == 5
    chosen = all_of_them.train.labels >= 5
    assert torch.equal(late.train.images, all_of_them.train.images[chosen][:200])
    assert torch.equal(late.train.labels, all_of_them.train.labels[chosen][:200] - 5)
    assert torch.equal(late.test.images, all_of_them.test.images[all_of_them.test.labels >= 5])
    assert late.val.labels.bincount().tolist() == [100] * 5


def test_the_seed_is_that_of_training_alone() -> None:
    first, second = made(seed=1), made(seed=2)
    assert first.data_hash == second.data_hash
    assert torch.equal(first.val.images, second.val.images)
    batches = [next(iter(data.train_dataloader()))[1].tolist() for data in (first, made(seed=1), second)]
    assert batches[0] == batches[1] != batches[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_class": -1}, "first_class=-1: .* set first_class=0 or more"),
        ({"num_classes": 1}, "num_classes=1: .* set num_classes=2 or more"),
        ({"first_class": 6, "num_classes": 5}, "from first_class=6 on there are 4; set first_class=5 or less, or few"),
        ({"train_size": 4001}, "train_size=4001: there are 4,000 training signals of the classes 0 to 9; set 4000 or"),
        ({"num_classes": 5}, "train_size=4000: there are 1,993 training signals of the classes 0 to 4; set 1993 or"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mnist1DData(**options)


def test_a_missing_generator_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(ImportError, match=r"needs the package mnist1d .*: install the extra 'recipes'"):
        _signals.__wrapped__()


def test_the_config_builds() -> None:
    config = OmegaConf.create({"seed": 5, "data": OmegaConf.load(CONF / "data" / "mnist1d.yaml")})
    data = hydra.utils.instantiate(config.data)
    assert (data.seed, data.task.num_classes) == (5, 10)
