"""How often a compiled optimizer step is compiled while the LR follows a schedule: `python -m benchmarks.graphs`.

With a tensor LR once: the tensor is filled in place and stays the same object. With a float LR torch compiles a second
time when the number first changes, and then treats it as one that varies.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lr_recipes import Horizon, schedules

UPDATES = 100


def compilations(tensor: bool, scheduled: bool = True) -> list[int]:
    """Return how often the step had been compiled after each update.

    Args:
        tensor: whether the LR is a tensor.
        scheduled: whether a schedule moves it.
    """
    from torch._dynamo.testing import CompileCounter

    torch.compiler.reset()
    weight = nn.Parameter(torch.zeros(4))
    lr: Any = torch.tensor(0.1) if tensor else 0.1
    optimizer = torch.optim.AdamW([weight], lr=lr, foreach=False)
    bound = schedules.Cosine(warmup=10).bind(optimizer, Horizon(total_steps=UPDATES))
    counter = CompileCounter()
    step = torch.compile(optimizer.step, backend=counter)
    found = []
    for _ in range(UPDATES):
        weight.grad = torch.ones(4)
        step()
        if scheduled:
            bound.step()
        found.append(counter.frame_count)
    return found


def table() -> str:
    """Return the counts as Markdown."""
    lines = [f"| LR of a compiled AdamW step | compiled after 2 updates | after {UPDATES} |", "|---|---|---|"]
    for name, tensor in (("tensor", True), ("float", False)):
        found = compilations(tensor)
        lines.append(f"| {name} | {found[1]} | {found[-1]} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(
        arguments
    )
    print(table())


if __name__ == "__main__":
    main()
