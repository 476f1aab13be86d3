"""Keeps the state of training while something else uses the model, and puts it back into the same objects.

No Lightning and no LR: what belongs to a run is chosen by whoever keeps it (``sweep_loop.py``).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

_PLAIN = (int, float, complex, str, bytes, bool, type(None))
# Objects that are kept with all of their attributes.
_OPEN = (nn.Module, Optimizer, LRScheduler, torch.amp.GradScaler)
_DATA = (DataLoader, Dataset, Sampler)
_PARTS = ("dataset", "sampler", "batch_sampler")  # of a loader; they may be of any class


class TrainingState:
    """What models, optimizers, data orders and random generators were, to be put back exactly.

    Nothing is replaced: tensors, lists and dicts are filled with what they held, so that whoever holds one of them (a
    compiled graph, an optimizer, a group's tensor LR) still holds the right one. Copies of tensors are on the CPU, so
    that they need no memory of the device.

    Kept are parameters, gradients, buffers and other attributes of modules; state, groups and hooks of optimizers;
    torch's schedulers; gradient scalers; and, of data, the order and whatever random generators a loader, sampler or
    data set holds, but not the data. Objects of other classes are not looked into.
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}  # the objects, so that no other one gets the same id

    def keep(self, value: Any) -> None:
        """Keep an object and what it holds."""
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            self._keep_tensor(value)
        elif isinstance(value, (dict, list, set, deque)):
            self._keep_container(value)
        elif isinstance(value, tuple):
            for item in value:
                self.keep(item)
        elif isinstance(value, torch.jit.ScriptModule):  # its attributes live elsewhere
            for tensor in (*value.parameters(), *value.buffers()):
                self.keep(tensor)
        elif isinstance(value, _OPEN):
            self.keep(vars(value))  # an optimizer's hooks and a module's own attributes are in there too
        else:
            self._keep_generator(value)

    def keep_data(self, value: Any) -> None:
        """Keep the order of data: plain attributes, lists and random generators of loaders, samplers and data sets."""
        if id(value) in self._seen or not hasattr(value, "__dict__"):
            return
        self._seen[id(value)] = value
        attributes = vars(value)
        names, plain = set(attributes), {name: one for name, one in attributes.items() if isinstance(one, _PLAIN)}

        def put_back() -> None:
            for name in [name for name, one in attributes.items() if name not in names and isinstance(one, _PLAIN)]:
                del attributes[name]  # the class has the value that it began with
            attributes.update(plain)

        self._undo.append(put_back)
        for name, one in list(attributes.items()):
            if isinstance(one, _DATA) or name in _PARTS:
                self.keep_data(one)
            elif isinstance(one, (list, set, deque)):
                self._keep_contents(one)
                for part in one:
                    if isinstance(part, _DATA):
                        self.keep_data(part)
            elif isinstance(value, Sampler) and isinstance(one, (Tensor, np.ndarray)):
                self._keep_order(one)
            else:
                self._keep_generator(one)

    def keep_random_numbers(self) -> None:
        """Keep the global random generators of Python, NumPy and torch, on the devices in use too."""
        python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None

        def put_back() -> None:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_rng_state(cpu)
            if cuda:
                torch.cuda.set_rng_state_all(cuda)
            if mps is not None:
                torch.mps.set_rng_state(mps)

        self._undo.append(put_back)

    def put_back(self) -> None:
        """Make everything what it was when it was kept."""
        with torch.no_grad():
            for undo in reversed(self._undo):
                undo()

    def _keep_tensor(self, tensor: Tensor) -> None:
        if tensor.is_inference() or _overlaps(tensor):
            return  # nobody can have written into it
        copy = tensor.detach().to("cpu", copy=True)
        leaf, wanted = tensor.is_leaf, tensor.requires_grad
        gradient = tensor.grad if leaf else None

        def put_back() -> None:
            tensor.copy_(copy)
            if leaf:
                tensor.detach_().requires_grad_(wanted)
                tensor.grad = gradient

        self._undo.append(put_back)
        if leaf:
            tensor.grad = None  # so that nobody writes into the kept one

    def _keep_container(self, value: Any) -> None:
        self._keep_contents(value)
        for item in list(value.values()) if isinstance(value, dict) else list(value):
            self.keep(item)

    def _keep_contents(self, value: Any) -> None:
        copy = list(value.items()) if isinstance(value, dict) else list(value)

        def put_back() -> None:
            if isinstance(value, dict):
                _fill(value, copy)
            else:
                value.clear()
                value.update(copy) if isinstance(value, set) else value.extend(copy)

        self._undo.append(put_back)

    def _keep_order(self, values: Any) -> None:
        copy = values.clone() if isinstance(values, Tensor) else values.copy()

        def put_back() -> None:
            values[...] = copy

        self._undo.append(put_back)

    def _keep_generator(self, value: Any) -> None:
        for kind, (read, write) in _GENERATORS.items():
            if isinstance(value, kind):
                self._undo.append(partial(write, value, read(value)))
                return


def _set_bits(generator: np.random.Generator, state: Any) -> None:
    generator.bit_generator.state = state


_GENERATORS: dict[type[Any], tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    torch.Generator: (torch.Generator.get_state, lambda one, state: one.set_state(state)),
    np.random.Generator: (lambda one: one.bit_generator.state, _set_bits),
    np.random.RandomState: (np.random.RandomState.get_state, np.random.RandomState.set_state),
    random.Random: (random.Random.getstate, random.Random.setstate),
}


def _overlaps(tensor: Tensor) -> bool:
    """Whether several elements share one place in memory, as in an expanded tensor."""
    with suppress(RuntimeError, NotImplementedError):  # some layouts have no strides
        return any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True))
    return False


def _fill(target: dict[Any, Any], items: list[tuple[Any, Any]]) -> None:
    """Give a dict its old items, in their old order; what has not changed is not touched."""
    old = dict(items)
    for key in [key for key in target if key not in old]:
        del target[key]
    if [id(key) for key in target] != [id(key) for key in old]:
        target.clear()
    for key, value in items:
        if target.get(key, target) is not value:
            target[key] = value
