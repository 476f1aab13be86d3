"""The GPU benchmark, tried out on a CPU at a small size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from benchmarks import gpu_bench
from benchmarks.gpu_bench import CASES, Case, Result, Timed, batches_of, compared, config, fit, floors, main, model_of
from benchmarks.gpu_floors import Floors
from benchmarks.gpu_parts import verdicts

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),  # it can validate; the benchmark does not
    # torchvision's, and torch 2.11's compiler warns of what it does itself
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]

SMALL = CASES["small-cnn"].reduced()
TEXT = CASES["gpt-124m"].reduced()


def test_floors_need_no_gpu(capsys: Any) -> None:
    main(["--only", "gpt-124m"])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| GPT 124M")]
    name, flops, moved, *least = (cell.strip() for cell in row.strip("|").split("|"))
    assert name.startswith("GPT 124M")
    assert float(flops) == pytest.approx(28, rel=0.05)
    assert float(least[0]) == pytest.approx(1e3 * max(float(flops) / 989, float(moved) / 4800), rel=0.01)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_case_composes_and_has_floors_at_its_full_size(case: Case) -> None:
    cfg = config(case, "cuda")
    found = floors(cfg, case)
    assert found.flops > 1e9
    assert found.bytes > 1e7
    assert cfg.trainer.precision == "bf16-mixed"
    assert cfg.model.compile in (True, "reduce-overhead")


def test_on_a_cpu_everything_is_float32() -> None:
    assert {config(case.reduced(), "cpu").trainer.precision for case in CASES.values()} == {"32-true"}


def test_the_large_models_have_the_sizes_of_their_names() -> None:
    sizes = {}
    for name in ("resnet-512", "gpt-124m", "gpt-10m"):
        with torch.device("meta"):
            model: Any = model_of(config(CASES[name], "cpu"), CASES[name])
        sizes[name] = sum(p.numel() for p in model.network.parameters())
    assert sizes["resnet-512"] == 11_173_962
    assert sizes["gpt-124m"] == pytest.approx(124.4e6, rel=0.01)
    assert sizes["gpt-10m"] == pytest.approx(10.65e6 + 256 * 384, rel=0.01)


@pytest.mark.parametrize("case", [SMALL, TEXT], ids=["images", "text"])
def test_both_loops_train_alike(case: Case) -> None:
    """The plain loop is the same training: it ends with the same weights as Lightning and our callbacks."""
    ends, losses = [], []
    for loop in (gpu_bench.plain_loop, gpu_bench.lightning_loop):
        torch.manual_seed(1)
        cfg = config(case, "cpu")
        model, batches = model_of(cfg, case), batches_of(case, "cpu")
        losses.append(loop(model, cfg, case, batches, "cpu").loss)
        ends.append([p.detach().clone() for p in model.parameters()])
    assert losses[0] == losses[1]
    for plain, lightning in zip(*ends, strict=True):
        assert torch.equal(plain, lightning)


@pytest.mark.parametrize("case", [SMALL, TEXT], ids=["images", "text"])
def test_a_case_is_compiled_once_for_both_loops_and_for_its_own_shape(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16, where the loops could differ in autocast; the second case of a kind is as static as the first."""
    monkeypatch.setattr(gpu_bench, "WARM_UP", 2)
    for batch in (4, 3):
        one = replace(case, batch=batch, updates=2)
        cfg = config(one, "cpu", "trainer.precision=bf16-mixed")
        model: Any = model_of(cfg, one)
        counter = CompileCounterWithBackend("eager")
        model.network.compile(backend=counter)
        assert compared(model, cfg, one, "cpu").graphs == 1
        (graph,) = counter.graphs
        inputs = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
        assert not [given for given in inputs if isinstance(given, torch.SymInt) or "s" in str(given.shape)[11:]]


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


def test_the_fastest_attention_comes_first_and_what_cannot_is_left_out() -> None:
    found = gpu_bench.kernel_seconds(TEXT, "cpu", seconds=0.001)
    assert list(found.values()) == sorted(found.values())
    assert set(found) == {"flash", "math"}  # of a CPU
    assert config(TEXT, "cpu", f"model.attention={next(iter(found))}").model.attention in found


# What is kept


def result(**changes: Any) -> Result:
    plain, lightning = ([Timed(seconds, 0.5) for seconds in runs] for runs in ([1.0, 2.0, 9.0], [2.0, 2.0, 10.0]))
    case = replace(CASES["gpt-124m"], name="a case")
    return replace(Result(case, plain, lightning, Floors(1.0, 1.0), 1, 0), **changes)


def test_shares_and_rates() -> None:
    assert result().share == 0.9
    kept = result().values()
    assert (kept["rate"], kept["unit"]) == (32 * 1024 / 2, "tokens/s")
    assert (kept["plain_seconds"], kept["lightning_seconds"]) == (2.0, 2.0)
    assert str(result()).count("loss 0.500") == 6
    assert "attention by cudnn, flash, efficient, math" in str(result(attention="cudnn"))


def test_what_must_be_so_of_a_case() -> None:
    def passed(found: Result) -> dict[str, bool]:
        return {name: passed for name, passed, _ in verdicts(found)}

    assert passed(result()) == {"losses": True, "compiled once": True, "share": False}
    assert passed(result(graphs=2))["compiled once"] is False
    assert passed(result(plain=[Timed(2.0, float("nan"))] * 3)) == {
        "losses": False,
        "compiled once": True,
        "share": True,
    }
    assert set(passed(result(case=SMALL))) == {"losses"}
