"""Runs a network through ``torch.compile``."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
COMPILE_MODES = get_args(CompileMode)


def compile_in_place(network: nn.Module, compile: bool | CompileMode) -> None:
    """Compile a network, whose parameters keep their names.

    Args:
        network: the network; it must have a ``forward`` of its own.
        compile: whether to compile, or a mode of ``torch.compile``: ``"reduce-overhead"`` captures CUDA graphs, for
            networks whose step is shorter than the host takes to start it.

    Raises:
        ValueError: the mode is unknown.
    """
    if isinstance(compile, str) and compile not in COMPILE_MODES:
        raise ValueError(f"compile={compile!r} is unknown: set true, false or a mode, {', '.join(COMPILE_MODES)}")
    if compile:
        network.compile(mode=compile if isinstance(compile, str) else None)
