"""The GPU benchmark, tried out on a CPU at a small size."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from benchmarks import gpu_bench
from benchmarks.gpu_bench import CASES, Case, Result, batches_of, config, fit, floors, main, model_of, ours
from benchmarks.gpu_floors import Floors

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),  # it can validate; the benchmark does not
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),  # torchvision's
]

SMALL = next(case for case in CASES if case.name.startswith("small CNN")).reduced()


def test_on_a_machine_without_a_gpu_it_says_so(capsys: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([]) == 0
    assert "SKIPPED" in capsys.readouterr().out


def test_the_cpu_mode_prints_a_row_and_compares_operators(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_bench, "REPEATS", 1)
    assert main(["--device", "cpu", "--only", "CNN"]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("| small CNN")]
    assert len(row.split("|")) == len(gpu_bench.HEADS) + 2
    assert "images/s" in row
    added, without = map(int, re.findall(r"(\d+) operators in .*, (\d+) without", out)[0])
    assert added == without > 0
    assert re.search(r"glyph stream +[\d,]+ images/s are made, [\d,]+ are trained on", out)


def test_an_unknown_case_lists_the_known_ones(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--only", "BERT"])
    assert "ResNet-18, batch 512" in capsys.readouterr().err


def test_floors_need_no_gpu(capsys: Any) -> None:
    assert main(["--floors", "--only", "124M"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| GPT 124M")]
    name, flops, moved, *least = (cell.strip() for cell in row.strip("|").split("|"))
    assert name.startswith("GPT 124M")
    assert float(flops) == pytest.approx(28, rel=0.05)
    assert float(least[0]) == pytest.approx(1e3 * max(float(flops) / 989, float(moved) / 4800), rel=0.01)


def test_when_the_time_is_over_no_other_case_begins(capsys: Any) -> None:
    main(["--device", "cpu", "--only", "ResNet", "--minutes", "0"])
    assert capsys.readouterr().out.count("not measured: the time is over") == 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_composes_and_has_floors_at_its_full_size(case: Case) -> None:
    found = floors(config(case, "cuda"), case)
    assert found.flops > 1e9
    assert found.bytes > 1e7


def test_the_large_models_have_the_sizes_of_their_names() -> None:
    sizes = {}
    for case in CASES:
        with torch.device("meta"):
            model = model_of(config(case, "cpu").copy(), case)
        sizes[case.name.partition(",")[0]] = sum(p.numel() for p in model.network.parameters())  # type: ignore[union-attr]
    assert sizes["ResNet-18"] == 11_173_962
    assert sizes["GPT 124M"] == pytest.approx(124.4e6, rel=0.01)
    assert sizes["GPT 10.65M"] == pytest.approx(10.65e6 + 256 * 384, rel=0.01)


def test_both_loops_train_alike() -> None:
    """The plain loop is the same training: it ends with the same weights as Lightning and our callbacks."""
    ends = []
    for loop in ("plain", "lightning"):
        torch.manual_seed(1)
        cfg = config(SMALL, "cpu")
        model, batches = model_of(cfg, SMALL), batches_of(SMALL, "cpu")
        if loop == "plain":
            gpu_bench.plain_loop(model, cfg, SMALL, batches, "cpu")
        else:
            gpu_bench.lightning_loop(model, cfg, SMALL, batches, "cpu")
        ends.append([p.detach().clone() for p in model.parameters()])
    for plain, lightning in zip(*ends, strict=True):
        assert torch.equal(plain, lightning)


def test_a_callback_that_starts_kernels_is_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch import Callback

    class Busy(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            torch.zeros(1) + 1

    monkeypatch.setattr(gpu_bench, "ours", lambda cfg, folder: [Busy(), *ours(cfg, folder)])
    passed, words = gpu_bench.added_kernels(SMALL, "cpu", str(tmp_path))
    assert not passed, words


def test_shares_and_rates() -> None:
    result = Result(SMALL, plain=[1.0, 2.0, 9.0], lightning=[2.0, 2.0, 10.0], floors=Floors(1.0, 1.0))
    assert result.share == 0.9
    assert result.rate == SMALL.batch / 2


def test_lightning_trains_on_the_batches_in_turn() -> None:
    cfg = config(SMALL, "cpu")
    model = model_of(cfg, SMALL)
    seen: list[float] = []
    step = model.training_step
    model.training_step = lambda batch: seen.append(float(batch[0].sum())) or step(batch)  # type: ignore[func-returns-value, method-assign]
    batches = batches_of(SMALL, "cpu")
    fit(model, cfg, batches)
    expected = [float(batch[0].sum()) for batch in batches]
    assert seen == [expected[n % len(expected)] for n in range(cfg.trainer.max_steps)]
