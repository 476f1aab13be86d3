"""The device: nominal figures by variant of a card, rates, and what every loop shall use alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.gpu_device import NOMINAL, main, matmul_rate, memory_rate, prepare, setup_of


@pytest.fixture
def _as_before() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision(), torch.get_num_threads()
    yield
    torch.backends.cudnn.benchmark = before[0]
    torch.set_float32_matmul_precision(before[1])
    torch.set_num_threads(before[2])


@pytest.mark.parametrize(
    ("name", "teraflops", "terabytes"),
    [
        ("NVIDIA H100 80GB HBM3", 989, 3.35),
        ("NVIDIA H100 PCIe", 756, 2.0),
        ("NVIDIA H100 NVL", 835, 3.9),
        ("NVIDIA H200", 989, 4.8),
        ("NVIDIA H200 NVL", 835, 4.8),
        ("NVIDIA GH200 480GB", 989, 4.0),
        ("NVIDIA A100-SXM4-40GB", 312, 1.555),
        ("NVIDIA A100-SXM4-80GB", 312, 2.039),
        ("NVIDIA A100 80GB PCIe", 312, 1.935),
    ],
)
def test_nominal_figures_are_those_of_the_variant(name: str, teraflops: float, terabytes: float) -> None:
    assert NOMINAL[name] == pytest.approx((1e12 * teraflops, 1e12 * terabytes))


def test_of_a_part_of_a_card_or_an_unknown_one_no_figure_is_claimed() -> None:
    assert not {"NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H20", "NVIDIA L40S"} & set(NOMINAL)


def test_rates_are_measured() -> None:
    assert matmul_rate("cpu", 32, seconds=0.01) > 1e6
    assert memory_rate("cpu", 1024, seconds=0.01) > 1e6


@pytest.mark.usefixtures("_as_before")
@pytest.mark.filterwarnings("ignore:.*TF32.*:UserWarning")  # torch's advice on its newer names
def test_cudnn_and_tf32_are_set_before_any_trainer_does_it() -> None:
    torch.backends.cudnn.benchmark = False
    prepare("cuda")
    assert torch.backends.cudnn.benchmark
    assert torch.get_float32_matmul_precision() == "high"
    prepare("cpu")
    assert (torch.backends.cudnn.benchmark, torch.get_num_threads()) == (False, 1)


def test_the_setup_is_printed_and_a_missing_device_has_a_status(capsys: Any) -> None:
    main(["cpu"])
    assert json.loads(capsys.readouterr().out) == setup_of("cpu")
    assert setup_of("cpu")["torch"] == torch.__version__
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="3"):
            main(["cuda"])
