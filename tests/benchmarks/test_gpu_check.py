from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import CHECKS, COMPILED, Check, recipes, run_check
from recipes.reproduction.rows import ROWS

SMALL = ("model.width=8", "data.train_size=512", "data.val_size=36", "data.batch_size=64")
CNN = Check("cnn", ("model=cnn", "data=glyphs", "optimizer=sgd", "schedule=one_cycle", *SMALL), updates=12)
TEXT = ("data.context=16", "data.train_windows=64", "data.batch_size=16", "trainer.limit_val_batches=1")
LAYER = ("model.layers=1", "model.width=16")


def small(check: Check, **changes: object) -> Check:
    """A transformer of the checks, which a CPU trains in a second."""
    assert check.name.startswith("transformer")
    return replace(check, overrides=(*check.overrides, *TEXT, *LAYER), val_loss=9.0, **changes)  # type: ignore[arg-type]


def test_used_equals_planned() -> None:
    passed, words = run_check(CNN, "cpu")
    assert passed, words
    assert words.startswith("12 of 12 updates, 0 overflowed, used and planned differ by 0.0e+00 of the peak, val_loss")


def test_a_model_that_learns_nothing_and_a_run_that_is_cut_short_fail() -> None:
    assert not run_check(replace(CNN, val_loss=0.001), "cpu")[0]
    passed, words = run_check(CNN, "cpu", ["trainer.max_steps=11"])
    assert not passed, words


def test_a_foreign_lr_is_seen() -> None:
    # the plan is that of the config, and another schedule drives the run
    other = "callbacks.learning_rate_scheduler.schedule={_target_:lr_recipes.schedules.Fixed}"
    assert not run_check(CNN, "cpu", [other])[0]


@pytest.mark.filterwarnings("ignore:the run ended at update")  # those that overflowed are missing at its end
@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_overflow_in_fp16_are_no_updates(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    check = next(check for check in CHECKS if check.scaler and "fused" in check.name)
    check = small(replace(check, overrides=(*check.overrides, f"optimizer.fused={str(fused).lower()}")), updates=24)
    passed, words = run_check(check, "cpu")
    assert passed, words
    assert int(words.split()[4]) > 4  # overflowed
    monkeypatch.setattr(gpu_check, "INIT_SCALE", 1.0)
    assert not run_check(check, "cpu")[0]  # it shall overflow


def test_a_tensor_lr_follows_the_plan() -> None:
    (check,) = (check for check in CHECKS if check.tensor_lr)
    passed, words = run_check(small(check, updates=6), "cpu")
    assert passed, words


def test_a_plateau_is_compared_with_its_record() -> None:
    found = {check.name: check for check in recipes("cpu")}
    assert list(found) == [row.name for row in ROWS if row.part == "table"]
    passed, words = run_check(found["small_experiment"], "cpu")
    assert passed, words


def test_each_way_to_train_is_checked() -> None:
    typed = [" ".join(check.overrides) for check in (*CHECKS, *COMPILED)]
    for words in ("model=cnn", "model=transformer", "fused=true", "foreach=true", "compile=true", "reduce-overhead"):
        assert any(words in one for one in typed), words
    assert len({check.name for check in (*CHECKS, *COMPILED)}) == len(typed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_on_a_gpu(check: Check) -> None:
    passed, words = run_check(replace(check, updates=50, val_loss=9.0), "cuda")
    assert passed, words
