"""Reads what the code of a module and of its callbacks does with metrics, LRs and schedulers, without running it.

Only code of the user's own is read, and only what stands there plainly: a name that is put together, or a helper in
another file, is not followed. So what is said here is a hint, and is used where there is no other way to know.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_LIBRARIES = ("lightning", "pytorch_lightning", "lightning_fabric", "torch", "lr_recipes", "builtins", "abc")
_BUILDS = ("configure_optimizers", "__init__", "lr_scheduler_step")  # where schedulers are built, or Lightning's tick
_VALIDATES = ("validation_step", "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end")


class OwnCode(NamedTuple):
    """What the user's own code does.

    Attributes:
        logs: names of metrics that it logs, each with the methods that log it; a name with a gap is a pattern.
        logs_more: whether it logs under names that cannot be read.
        writes_lr: methods, with their class, that write the LR of a group.
        ticks: methods, with their class, that tick a scheduler.
        touches: methods, with their class, that have to do with the groups of an optimizer.
        skips_steps: whether ``optimizer_step`` decides by itself whether the optimizer steps.
    """

    logs: dict[str, set[str]]
    logs_more: bool
    writes_lr: list[str]
    ticks: list[str]
    touches: list[str]
    skips_steps: bool

    def logs_metric(self, name: str) -> bool | None:
        """Whether a metric is logged; ``None`` where that cannot be read."""
        if self.where(name):
            return True
        return None if self.logs_more else False

    def where(self, name: str) -> set[str]:
        """The methods that log a metric."""
        short = re.sub(r"(_epoch|_step|/dataloader_idx_\d+)$", "", name)
        return {
            method
            for logged, methods in self.logs.items()
            for method in methods
            if any(re.fullmatch(logged, one) for one in (name, short))
        }

    def in_validation(self, name: str) -> bool | None:
        """Whether a metric comes from a validation; ``None`` where that cannot be read."""
        methods = self.where(name)
        if methods and all(method in _VALIDATES for method in methods):
            return True
        if methods and all(method.startswith(("training_step", "on_train")) for method in methods):
            return False
        if "val" in name.lower():
            return True
        return False if "train" in name.lower() else None


def own_code(module: Any, callbacks: Iterable[Any]) -> OwnCode:
    """Read the code of a module and of callbacks."""
    found = OwnCode({}, False, [], [], [], False)
    for one in (module, *callbacks):
        kept = {name for name, value in vars(one).items() if hasattr(value, "step") and hasattr(value, "optimizer")}
        for method, tree in _methods(type(one)):
            if tree is None:
                found = found._replace(logs_more=True)
                continue
            found = _read(found, type(one).__name__, method, tree, {f"self.{name}" for name in kept})
    return found


def _methods(kind: type) -> Iterator[tuple[str, ast.AST | None]]:
    """The methods that stand in the user's own classes, the one that is called where there are several of a name.

    ``None`` stands for one that cannot be read.
    """
    seen: set[str] = set()
    for owner in kind.__mro__:
        if owner.__module__.partition(".")[0] in _LIBRARIES:
            continue
        for name, value in vars(owner).items():
            function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
            if name in seen or not inspect.isfunction(function):
                continue
            seen.add(name)
            try:
                yield name, ast.parse(textwrap.dedent(inspect.getsource(function)))
            except (OSError, TypeError, SyntaxError):  # typed into a shell, or made by code
                yield name, None


def _read(found: OwnCode, kind: str, method: str, tree: ast.AST, kept: set[str]) -> OwnCode:
    more, where = found.logs_more, f"{kind}.{method}"
    builds = method in _BUILDS
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not builds and _hands_itself_on(node):
            more = True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("log", "log_dict"):
                names = list(_logged(node))
                more = more or not names
                for name in names:
                    found.logs.setdefault(name, set()).add(method)
            if node.func.attr == "step" and not builds and _is_scheduler(node.func.value, tree, kept):
                found.ticks.append(where)
            if node.func.attr == "update" and not builds and any(word.arg == "lr" for word in node.keywords):
                found.writes_lr.append(where)
        if isinstance(node, (ast.Assign, ast.AugAssign)) and not builds:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_is_lr(target) for target in targets):
                found.writes_lr.append(where)
        if isinstance(node, ast.Attribute) and node.attr == "param_groups" and not builds:
            found.touches.append(where)
    skips = method == "optimizer_step" and any(map(_steps_under_a_condition, ast.walk(tree)))
    return found._replace(logs_more=more, skips_steps=found.skips_steps or skips)


def _hands_itself_on(call: ast.Call) -> bool:
    """Whether a function elsewhere is given the module, and may log by it."""
    given = [*call.args, *(word.value for word in call.keywords)]
    return ast.unparse(call.func) not in dir(builtins) and any(
        isinstance(one, ast.Name) and one.id == "self" for one in given
    )


def _steps_under_a_condition(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    return any(call.func.attr in ("step", "optimizer_step") for call in calls if isinstance(call.func, ast.Attribute))


def _logged(call: ast.Call) -> Iterator[str]:
    """The names that a call logs, as patterns; none where they cannot be read."""
    given = call.args[0] if call.args else next((word.value for word in call.keywords if word.arg == "name"), None)
    if isinstance(given, ast.Dict):
        for key in given.keys:
            yield from _pattern(key)
    else:
        yield from _pattern(given)


def _pattern(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(re.escape(str(one.value)) if isinstance(one, ast.Constant) else ".*" for one in node.values)


def _is_scheduler(node: ast.AST, tree: ast.AST, kept: set[str]) -> bool:
    """Whether what is asked to step is a scheduler: one that is kept, or one by its name."""
    if ast.unparse(node) in kept:
        return True
    text = ast.unparse(node).lower()
    if "optimizer" in text.replace("optimizers.lr", "") or text in ("opt", "super()"):
        return False
    return "sch" in text or "lr_" in text or ("lr_schedulers" in ast.unparse(tree) and "opt" not in text)


def _is_lr(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "lr"
