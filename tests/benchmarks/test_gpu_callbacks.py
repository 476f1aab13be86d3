"""What our callbacks must not do on a GPU, as far as a CPU can show that it would be found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from benchmarks import gpu_callbacks
from benchmarks.gpu_bench import CASES, batches_of, config, fit, model_of, ours
from benchmarks.gpu_callbacks import NOTHING_WRITTEN, WAIT, Stream, added_kernels, glyph_rates, waits_among

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")  # it can; the benchmark does not

SMALL = CASES["small-cnn"].reduced()
C10 = Path(torch.__file__).parent / "lib" / "libc10_cuda.so"


def test_our_callbacks_start_nothing(tmp_path: Path) -> None:
    passed, words = added_kernels(SMALL, "cpu", str(tmp_path))
    assert passed, words


def test_a_callback_that_starts_kernels_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            torch.zeros(1) + 1

    monkeypatch.setattr(gpu_callbacks, "ours", lambda cfg, folder: [Busy(), *ours(cfg, folder)])
    passed, words = added_kernels(SMALL, "cpu", str(tmp_path))
    assert not passed, words


def test_a_profiler_that_sees_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_callbacks._Kernels, "on_train_batch_start", lambda *args: None)
    monkeypatch.setattr(gpu_callbacks._Kernels, "on_train_end", lambda *args: None)
    passed, words = added_kernels(SMALL, "cpu", str(tmp_path))
    assert words.startswith("0 operators in 6 updates, 0 without")
    assert not passed


def test_a_wait_is_what_torch_calls_so_and_its_word_on_the_mode_is_none() -> None:
    prototype = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
    assert waits_among([prototype, f"{WAIT} CUDA operation (Triggered internally at ...)"]) == 1
    if C10.is_file():  # the build of torch without CUDA has none
        assert WAIT.encode() in C10.read_bytes()


def test_no_metric_is_written_while_waits_are_counted() -> None:
    """Lightning reads a metric that is written, which makes the host wait: that would be held against our callbacks."""
    written = []
    for more in ([], [NOTHING_WRITTEN]):
        cfg = config(SMALL, "cpu", *more)
        model, logged = model_of(cfg, SMALL), list[Any]()
        model.log_dict = lambda *args, logged=logged, **options: logged.append(args)  # type: ignore[method-assign]
        fit(model, cfg, batches_of(SMALL, "cpu"))
        written.append(len(logged))
    assert written == [1, 0]


def test_the_stream_stands_beside_fixed_batches() -> None:
    found = glyph_rates(SMALL, "cpu", compile=False)
    assert list(found) == ["made", "trained on, fixed batches", "trained on, the stream"]
    assert all(rate > 0 for rate in found.values())
    assert found["trained on, the stream"] < found["made"]
    stream = Stream(SMALL, "cpu", compile=False)
    (images, labels), (others, _) = stream[0], stream[1]
    assert images.shape == (4, 3, 8, 8)
    assert labels.max() < 10
    assert not torch.equal(images, others)
    assert torch.equal(images, stream[0][0])
