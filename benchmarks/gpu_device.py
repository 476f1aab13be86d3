"""The device that is measured on: what it is, what it can do by its data sheet and by measurement, and its clock.

`python -m benchmarks.gpu_device cuda` prints what it is, as JSON.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

BYTES = 4  # of a float32 number


class Rates(NamedTuple):
    """What a device can do in a second."""

    flops: float  # dense bfloat16 operations
    bytes: float  # moved to and from its memory


# Of NVIDIA's data sheets, by the name that the driver gives: variants of a card differ by a quarter in arithmetic, by
# two thirds in memory.
NOMINAL = {
    "NVIDIA H200": Rates(989e12, 4.8e12),
    "NVIDIA H200 NVL": Rates(835e12, 4.8e12),
    "NVIDIA GH200 144G HBM3e": Rates(989e12, 4.9e12),
    "NVIDIA GH200 480GB": Rates(989e12, 4.0e12),
    "NVIDIA GH200 120GB": Rates(989e12, 4.0e12),
    "NVIDIA H100 80GB HBM3": Rates(989e12, 3.35e12),
    "NVIDIA H100 NVL": Rates(835e12, 3.9e12),
    "NVIDIA H100 PCIe": Rates(756e12, 2.0e12),
    "NVIDIA A100-SXM4-80GB": Rates(312e12, 2.039e12),
    "NVIDIA A100 80GB PCIe": Rates(312e12, 1.935e12),
    "NVIDIA A100-SXM4-40GB": Rates(312e12, 1.555e12),
    "NVIDIA A100-PCIE-40GB": Rates(312e12, 1.555e12),
}


def setup_of(device: str) -> dict[str, str]:
    """Return what figures depend on: the device's name, and versions.

    Raises:
        LookupError: there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise LookupError("no CUDA GPU here")
    setup = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": version("lightning"),
    }
    return {**setup, "cuda": str(torch.version.cuda)} if device == "cuda" else setup


def prepare(device: str) -> None:
    """Set what every loop of this process shall use alike: cuDNN's fastest algorithms, TF32, one thread on a CPU."""
    if device == "cpu":
        torch.set_num_threads(1)  # small models: threads would wait for each other
    torch.backends.cudnn.benchmark = device == "cuda"
    torch.set_float32_matmul_precision("high")


def matmul_rate(device: str, size: int, seconds: float = 0.5) -> float:
    """Measure the floating point operations a second of a bfloat16 matrix product of ``size`` x ``size``."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * size**3 / seconds_of(lambda: a @ b, device, seconds)


def memory_rate(device: str, numbers: int, seconds: float = 0.5) -> float:
    """Measure the bytes a second of copying ``numbers`` float32 numbers: each is read and written."""
    a = torch.zeros(numbers, device=device)
    b = torch.empty_like(a)
    return 2.0 * BYTES * numbers / seconds_of(lambda: b.copy_(a), device, seconds)


def seconds_of(call: Callable[[], Any], device: str, seconds: float) -> float:
    """Return the time of one call, when repeated for about so many seconds."""
    call()
    once = timed(call, device)
    times = max(3, min(1000, int(seconds / max(once, 1e-6))))

    def repeat() -> None:
        for _ in range(times):
            call()

    return timed(repeat, device) / times


def timed(call: Callable[[], Any], device: str) -> float:
    """Return the seconds of a call, until the device has done its work."""
    wait(device)
    begun = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - begun


def wait(device: str) -> None:
    """Wait until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def main(arguments: list[str]) -> None:
    """Print what the device is; exit with 3 where there is none."""
    try:
        print(json.dumps(setup_of(*arguments)))
    except LookupError as error:
        print(error)
        sys.exit(3)


if __name__ == "__main__":
    main(sys.argv[1:])
