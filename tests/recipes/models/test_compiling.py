"""Compiling in place: it happens, in the mode that was asked for, and keeps the names of parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recipes.data.task import ImageTask
from recipes.models.cnn import SmallCNN
from recipes.models.compiling import COMPILE_MODES, compile_in_place

TASK = ImageTask(num_classes=3, channels=1, height=8, width=8)


@pytest.mark.parametrize("compile", [True, *COMPILE_MODES])
def test_the_network_is_compiled_in_the_mode(compile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append(options))
    compile_in_place(SmallCNN(TASK, 4), compile)
    assert asked == [{"mode": None if compile is True else compile}]


def test_nothing_happens_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: pytest.fail("compiled"))
    compile_in_place(SmallCNN(TASK, 4), False)


def test_an_unknown_mode_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"compile='fast' is unknown: .*reduce-overhead"):
        compile_in_place(SmallCNN(TASK, 4), "fast")


def test_the_small_network_is_really_compiled() -> None:
    """torch 2.11 compiles no ``forward`` of a class of its own in place, without a word."""
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(len(inputs))
        return graph.forward

    network = SmallCNN(TASK, 4)
    names = list(network.state_dict())
    network.compile(backend=backend)
    out: Tensor = network(torch.zeros(2, 1, 8, 8))
    assert out.shape == (2, 3)
    assert compiled
    assert list(network.state_dict()) == names
