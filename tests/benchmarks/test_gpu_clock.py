"""The checks of the clock that a CPU allows; the others need a GPU (`make gpu-check`)."""

from __future__ import annotations

import pytest

from benchmarks.gpu_clock import NEAR, _compared, checks, compiled_step, scaler_skips
from lr_recipes.optimizer.follow import BoundSchedule


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_skips_do_not_count(fused: bool) -> None:
    assert scaler_skips("cpu", fused=fused) == (True, "4 updates, largest difference 0.0e+00")


@pytest.mark.parametrize("fused", [False, True])
def test_a_clock_that_counts_skipped_steps_is_found_out(monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    if fused:
        monkeypatch.setattr("lr_recipes.optimizer.clock.took_effect", lambda optimizer: True)
    else:
        monkeypatch.setattr(BoundSchedule, "attach", lambda self: None)
    assert not scaler_skips("cpu", fused=fused)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*TF32.*:UserWarning")  # of torch's compiler itself
def test_a_compiled_step_follows_a_tensor_lr() -> None:
    passed, words = compiled_step("cpu")
    assert passed, words
    assert words.endswith("1 graph")


def test_rounding_of_the_compiler_is_no_difference_and_another_update_is_one() -> None:
    assert NEAR > 2.8e-7  # what inductor rounds on a CPU
    assert _compared([0.1 + 5e-7], [0.1])[0]
    assert not _compared([0.1 + 5e-6], [0.1])[0]
    assert not _compared([0.1], [0.1, 0.1])[0]


def test_the_gpu_has_one_check_more_and_the_compiled_step_is_last() -> None:
    assert set(checks("cuda")) - set(checks("cpu")) == {"CUDA graph"}
    assert list(checks("cuda"))[-1] == "compiled step"
