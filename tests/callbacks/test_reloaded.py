"""A loader that is made anew between epochs: they have the length that they have, and no tail at the floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.plan.horizon import HorizonError
from tests.callbacks.harness import PEAK, Oracle, Tiny, keep_all, loader, quiet_trainer

pytestmark = [
    pytest.mark.behaviour("B48"),
    pytest.mark.filterwarnings("ignore:.*weights_only.*"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
]


class Growing(LightningDataModule):
    """Epoch ``n`` has ``sizes[n]`` batches."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return loader(self.sizes[self.trainer.current_epoch])


def train(
    schedule: Any, folder: Path, sizes: Sequence[int] = (4, 6, 8), ckpt_path: Path | None = None, **options: Any
) -> list[float]:
    total, keep = options.pop("total_steps", None), options.pop("keep", None) or keep_all(folder)
    oracle, callback = Oracle(), schedule
    if isinstance(schedule, schedules.Schedule):
        callback = LearningRateScheduler(schedule, total_steps=total)
    log = LearningRateLogger(folder, plot=False, audit="error")
    settings = {"max_epochs": len(sizes), "reload_dataloaders_every_n_epochs": 1, **options}
    trainer = quiet_trainer([callback, log, oracle, keep], **settings)
    trainer.fit(Tiny(), datamodule=Growing(sizes), ckpt_path=ckpt_path)
    return [lr for (lr,) in oracle.used[0]]


LINEAR = [PEAK * (1 - n / 18) for n in range(18)]
HALVES = [PEAK] * 4 + [PEAK / 2] * 6 + [PEAK / 4] * 8
# A milestone after 1.5 epochs: after 4 updates of the first epoch and 3 of the second.
MILESTONE = [PEAK] * 7 + [PEAK / 2] * 11
CASES: dict[str, tuple[Any, dict[str, Any], list[float]]] = {
    "a total": (schedules.Linear(), {"total_steps": 18}, LINEAR),
    "max_steps": (schedules.Linear(), {"max_epochs": None, "max_steps": 18}, LINEAR),
    "a cut each epoch": (schedules.Step(step_size="1 epoch", gamma=0.5), {}, HALVES),
    "a milestone": (schedules.MultiStep(milestones=["1.5 epochs"], gamma=0.5), {}, MILESTONE),
}


@pytest.mark.parametrize("case", CASES)
def test_epochs_have_the_length_that_they_have(case: str, tmp_path: Path) -> None:
    schedule, options, expected = CASES[case]
    assert train(schedule, tmp_path, **options) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cut", [2, 5, 11, 17])
@pytest.mark.parametrize("case", CASES)
def test_the_unchanged_run_resumes(case: str, cut: int, tmp_path: Path) -> None:
    """Not at 4 and 10: Lightning itself leaves out batches where a loader has another length after an epoch's last."""
    schedule, options, expected = CASES[case]
    train(schedule, tmp_path / "whole", **options)
    used = train(schedule, tmp_path / "resumed", ckpt_path=tmp_path / "whole" / f"step={cut}.ckpt", **options)
    assert used == pytest.approx(expected[cut:], rel=1e-12)


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_the_unchanged_run_resumes_between_epochs(case: str, epoch: int, tmp_path: Path) -> None:
    schedule, options, expected = CASES[case]
    keep = ModelCheckpoint(tmp_path / "whole", filename="{epoch}", save_top_k=-1)
    train(schedule, tmp_path / "whole", keep=keep, **options)
    used = train(schedule, tmp_path / "resumed", ckpt_path=tmp_path / "whole" / f"epoch={epoch}.ckpt", **options)
    assert used == pytest.approx(expected[(4, 10)[epoch] :], rel=1e-12)


def test_a_total_that_hangs_on_the_length_is_asked_for_before_the_first_update(tmp_path: Path) -> None:
    with pytest.raises(HorizonError, match=r"made anew every epoch.* if each keeps its 4 batches, the total is 12"):
        train(schedules.Linear(), tmp_path)
    assert not (tmp_path / "lr.csv").exists()
    train(schedules.Linear(), tmp_path, sizes=(4, 4, 4), total_steps=12)  # as the message says


def test_a_loader_that_the_run_never_makes_anew_is_like_any_other(tmp_path: Path) -> None:
    used = train(schedules.Linear(), tmp_path, sizes=(6, 6, 6), reload_dataloaders_every_n_epochs=3)
    assert used == pytest.approx(LINEAR, rel=1e-15)


def test_a_warmup_in_epochs(tmp_path: Path) -> None:
    """One and a half epochs: 4 updates and half of 6, which is known when the second begins."""
    used = train(LearningRateWarmup("1.5 epochs"), tmp_path)
    assert used[4:] == pytest.approx([PEAK * min((n + 1) / 7, 1) for n in range(4, 18)], rel=1e-15)
