"""Copies of schedulers, and of the optimizers that they write, to be ticked ahead: the originals are never touched.

A copy shares with its original what no scheduler changes: parameters, modules, data. All that a tick may change is its
own: groups, tensors with an LR, counters, and what functions keep in closures. What cannot be copied, such as a
generator, is refused.
"""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from lr_recipes.optimizer.warmup import BENEATH

# Of these nothing is copied: they are large, and no scheduler's state.
_SHARED = (nn.Module, DataLoader, Dataset, ModuleType, type, BuiltinFunctionType, torch.device, torch.dtype)
_SMALL = 4096  # numbers of a tensor that may be a scheduler's state: an LR, a curve; larger ones are data, or weights
_ATOMS = (bool, int, float, complex, str, bytes, type(None))


class CannotCopy(Exception):
    """Something that a scheduler holds cannot be copied; its text is what."""


class Twins:
    """Copies that hold each other where their originals do.

    Args:
        known: what stands for an original wherever it is met, as pairs.
        viewed: of objects of these classes only the attributes are copied, and the lists, dicts and sets in them.
    """

    def __init__(self, known: Iterable[tuple[Any, Any]] = (), viewed: tuple[type, ...] = ()) -> None:
        self._viewed = viewed
        self._memo: dict[int, Any] = {}
        self._kept: list[Any] = []  # an id is that of one object only as long as it lives
        for original, twin in known:
            self.note(original, twin)

    def note(self, original: Any, twin: Any) -> None:
        """Let ``twin`` stand for ``original`` from now on."""
        self._memo[id(original)] = twin
        self._kept.append(original)

    def optimizer(self, original: Optimizer) -> Any:
        """Return an optimizer with the same parameters, and groups of its own; it has no state and does not step."""
        twin = object.__new__(type(original))
        self.note(original, twin)
        vars(twin).update(
            {name: value for name, value in vars(original).items() if name not in ("step", "zero_grad")},
            state=defaultdict(dict),
            param_groups=self._groups(original.param_groups),
            _opt_called=True,  # torch warns of a scheduler that is ticked before its optimizer has stepped
        )
        for name, value in vars(original).items():
            if isinstance(value, Optimizer):  # it wraps another one, and mostly shares that one's groups
                vars(twin)[name] = self.of(value)
        return twin

    def _groups(self, groups: list[dict[str, Any]]) -> Any:
        if id(groups) not in self._memo:
            self.note(groups, [self._group(group) for group in groups])
        return self._memo[id(groups)]

    def _group(self, group: dict[str, Any]) -> Any:
        if id(group) not in self._memo:
            self.note(group, {key: list(value) if key == "params" else self.of(value) for key, value in group.items()})
        return self._memo[id(group)]

    def of(self, value: Any) -> Any:
        """Return the copy of anything.

        Raises:
            CannotCopy: it, or something that it holds, cannot be copied.
        """
        kind = getattr(type(value), BENEATH, type(value))  # of a scheduler that is warmed up, the one that it is
        if kind in _ATOMS:
            return value
        if id(value) in self._memo:
            return self._memo[id(value)]
        if isinstance(value, _SHARED) or (isinstance(value, Tensor) and value.numel() > _SMALL):
            return value
        for known, make in _COPIERS.items():
            if kind is known:
                return make(self, value)
        if isinstance(value, Tensor):  # on no device that one would have to wait for at each tick
            return self._keep(value, value.detach().to("cpu", copy=True))
        if isinstance(value, Optimizer):
            return self.optimizer(value)
        if isinstance(value, self._viewed):
            view = self.view(value)
            self.contents(view)
            return view
        if _is_ordinary(kind):
            return self._object(value, kind)
        return self._keep(value, self._by_its_own_rule(value))

    def view(self, original: Any, kind: type | None = None) -> Any:
        """Return another object with the same attributes: what is set on it is not set on the original.

        Args:
            original: the object.
            kind: class of the view; by default that of the original.
        """
        return self._keep(original, view_of(original, kind))

    def contents(self, view: Any) -> None:
        """Give a view lists, dicts and sets of its own, where those that it has can be copied."""
        for name, value in vars(view).items():
            if type(value) in (list, dict, set, deque):
                with suppress(CannotCopy):
                    vars(view)[name] = self.of(value)

    def _keep(self, original: Any, twin: Any) -> Any:
        self.note(original, twin)
        return twin

    def _by_its_own_rule(self, value: Any) -> Any:
        try:
            return copy.deepcopy(value, self._memo)
        except Exception as error:  # whatever its own rule raises
            raise CannotCopy(f"a {type(value).__name__}") from error

    def _object(self, value: Any, kind: type) -> Any:
        twin = self._keep(value, object.__new__(kind))
        for name, held in vars(value).items():
            vars(twin)[name] = self.of(held)
        return twin

    def _function(self, value: FunctionType) -> Any:
        # With variables of its own: those of the functions around it, of its module, and its default arguments.
        cells = tuple(CellType() for _ in value.__closure__ or ())
        names = {name for code in _codes(value.__code__) for name in code.co_names}
        twin = FunctionType(value.__code__, dict(value.__globals__), value.__name__, value.__defaults__, cells)
        self.note(value, twin)
        vars(twin).update(vars(value))
        twin.__kwdefaults__ = self.of(value.__kwdefaults__)
        twin.__defaults__ = self.of(value.__defaults__)
        for cell, original in zip(cells, value.__closure__ or (), strict=True):
            with suppress(ValueError):  # of a variable that is not set yet
                cell.cell_contents = self.of(original.cell_contents)
        for name in names & set(twin.__globals__):
            if type(twin.__globals__[name]) in (list, dict, set, deque):
                twin.__globals__[name] = self.of(twin.__globals__[name])
        return twin


def _codes(code: Any) -> list[Any]:
    """A code, and those of the functions within it."""
    return [code, *(one for inner in code.co_consts if inspect.iscode(inner) for one in _codes(inner))]


def _is_ordinary(kind: type) -> bool:
    """Whether an object of a class is what stands in its ``__dict__``, and nothing else."""
    has_rule = any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__reduce_ex__", "__reduce__", "__deepcopy__", "__copy__", "__new__", "__setstate__")
    )
    slots = any("__slots__" in vars(one) and vars(one)["__slots__"] for one in kind.__mro__)
    return bool(kind.__flags__ & (1 << 9) and kind.__dictoffset__) and not has_rule and not slots


def _list(twins: Twins, value: Any) -> Any:
    twin: deque[Any] | list[Any] = deque(maxlen=value.maxlen) if isinstance(value, deque) else []
    twins.note(value, twin)
    twin.extend(map(twins.of, value))
    return twin


def _dict(twins: Twins, value: Any) -> Any:
    twin: dict[Any, Any] = {}
    twins.note(value, twin)
    twin.update((twins.of(key), twins.of(one)) for key, one in value.items())
    return twin


def _partial(twins: Twins, value: Any) -> Any:
    keywords = {key: twins.of(one) for key, one in value.keywords.items()}
    return partial(twins.of(value.func), *map(twins.of, value.args), **keywords)


_COPIERS: dict[Any, Callable[[Twins, Any], Any]] = {
    list: _list,
    deque: _list,
    dict: _dict,
    tuple: lambda twins, value: tuple(map(twins.of, value)),
    set: lambda twins, value: set(map(twins.of, value)),
    partial: _partial,
    FunctionType: Twins._function,
    MethodType: lambda twins, value: MethodType(twins.of(value.__func__), twins.of(value.__self__)),
}


def view_of(one: Any, kind: type | None = None) -> Any:
    """Return another object with the same attributes: what is set on it is not set on the original."""
    twin: Any = object.__new__(type(one) if kind is None else kind)
    vars(twin).update(vars(one))
    return twin
