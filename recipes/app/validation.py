"""Checks a composed config before anything is built: names, types and the LR.

Imports neither torch nor lightning by itself, so that a mistake in a schedule is answered at once; the targets of other
nodes bring them along.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal, get_type_hints

import hydra
from omegaconf import DictConfig, OmegaConf

from lr_recipes.checks import brief, is_finite
from recipes.app.batch_scaling import is_scaled, scaled_lr_of
from recipes.app.config import CONF
from recipes.app.messages import unknown_key
from recipes.app.threads import check_threads

# Somebody who types values is not helped by reading that one of them is not an instance of a class.
_OF_OBJECTS = ("is_instance_of", "needs_python_object")
_GROUPS = ("model", "data", "optimizer", "schedule", "trainer", "callbacks", "logger", "task")
_SEVERAL = ("callbacks", "logger")
_FLAGS = ("_partial_", "_recursive_")  # of Hydra's, beside any target
_LARGEST = 2**63 - 1
_SETTINGS: dict[str, Any] = {
    "seed": int,
    "threads": int | Literal["auto"] | None,
    "ckpt_path": str | None,
    "resume": Literal["error", "checkpoint", "config", "restart"],
    "weights": str | None,
    "pretraining": list[str] | None,
    "pretrained_dir": str,
    "batch_scaling": dict[str, Any],
    "output_dir": str,
    "checkpoint_dir": str,
}


def check(cfg: DictConfig) -> None:
    """Refuse keys that a target does not take, values of another type than it declares, and an LR that cannot be.

    Schedules are built: their own messages say more about lengths than a type can.

    Raises:
        ValueError: names the key, the value, and what is possible.
    """
    _check_integers(OmegaConf.to_container(cfg, resolve=False), "")
    _check_settings(cfg)
    _check_groups(cfg)
    _check_batch_scaling(cfg)
    nodes = dict(_targets(cfg, ""))
    schedule = nodes.pop("schedule")
    _check_keys("schedule", schedule)
    hydra.utils.instantiate(schedule)
    for path, node in nodes.items():
        _check_keys(path, node)
        _check_values(path, node)
    _check_optimizer(nodes["optimizer"])


def task_of(cfg: DictConfig) -> Callable[[DictConfig], dict[str, float]]:
    """Return the function that the config's ``task`` names.

    Raises:
        ValueError: there is none; says what to write.
    """
    task = cfg.get("task")
    if not isinstance(task, DictConfig) or not isinstance(task.get("objective"), str | None):
        raise ValueError(f"task={brief(task)}: {_not_a_group('task')}")
    found: Callable[[DictConfig], dict[str, float]] = _found("task.function", task.get("function"))
    return found


def _check_integers(node: Any, path: str) -> None:
    """Refuse integers that torch, which counts in 64 bits, cannot hold; nothing that can be set is as large."""
    if isinstance(node, int) and not -_LARGEST <= node <= _LARGEST:
        raise ValueError(f"{path}={brief(node)}: is too large, at most {_LARGEST:,} can be counted")
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        _check_integers(value, f"{path}.{key}".lstrip("."))


def _check_settings(cfg: DictConfig) -> None:
    """Check what stands at the top of the config, beside the groups."""
    for key in map(str, cfg):
        if key not in _GROUPS and key not in _SETTINGS:
            whole = OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(_GROUPS)))
            raise ValueError(unknown_key(key, [*_SETTINGS, *_GROUPS], whole, str(cfg[key])))
    for key, annotation in _SETTINGS.items():
        _check_there(cfg, key)
        value = OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        reason = mismatch(annotation, value)
        if reason:
            raise ValueError(f"{key}={brief(value)}: {reason}")
    if not 0 <= cfg.seed < 2**32:
        raise ValueError(f"seed={cfg.seed}: should be from 0 to {2**32 - 1:,}")
    check_threads(cfg.threads)


def _check_there(cfg: DictConfig, key: str) -> None:
    if key not in cfg:
        raise ValueError(f"{key} is not there: leave ~{key} out")


def _check_groups(cfg: DictConfig) -> None:
    """Check that each group is what a file of it is: settings of something to build, or several of these by name."""
    for group in _GROUPS:
        _check_there(cfg, group)
        node = cfg[group]
        parts = node.values() if group in _SEVERAL and isinstance(node, DictConfig) else [node]
        if any(not isinstance(part, DictConfig) or (group != "task" and "_target_" not in part) for part in parts):
            plain = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
            raise ValueError(f"{group}={brief(plain)}: {_not_a_group(group)}")


def _not_a_group(group: str) -> str:
    known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return f"must be one of {', '.join(known)}; to change a value of it, write {group}.NAME=VALUE"


def _check_batch_scaling(cfg: DictConfig) -> None:
    known = ["base_lr", "base_batch_size", "rule"]
    for key in map(str, cfg.batch_scaling):
        if key not in known:
            raise ValueError(unknown_key(f"batch_scaling.{key}", known))
    if is_scaled(cfg):
        scaled_lr_of(cfg)


def _targets(node: DictConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Every node that names a target, by its dotted path; a node that points to another is that other's business."""
    if "_target_" in node:
        yield path, node
    keys: Any = list(node)  # numbers too, as in the `scheduling` of accumulation
    for key in keys:
        if OmegaConf.is_interpolation(node, key):
            continue
        below = f"{path}.{key}".lstrip(".")
        if OmegaConf.is_missing(node, key):
            raise ValueError(f"{below} has no value yet: give one, as in {below}=VALUE")
        if isinstance(node[key], DictConfig):
            yield from _targets(node[key], below)


def _given(node: DictConfig) -> dict[str, Any]:
    """What the target is called with, apart from nodes that are built first."""
    values = {str(key): node[key] for key in node if not str(key).startswith("_")}
    return {key: value for key, value in values.items() if not (isinstance(value, DictConfig) and "_target_" in value)}


def _check_keys(path: str, node: DictConfig) -> None:
    for word in _FLAGS:
        if not isinstance(node.get(word, True), bool):
            raise ValueError(f"{path}.{word}={brief(node[word])}: must be true or false")
    parameters = parameters_of(_found(f"{path}._target_", node._target_))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in map(str, node):
        if not key.startswith("_") and key not in parameters:
            # what the config leaves out is passed by the program
            known = [name for name in parameters if name in node] or list(parameters)
            raise ValueError(unknown_key(f"{path}.{key}", known))


def _found(name: str, given: Any) -> Any:
    """The function or class of a dotted name."""
    try:
        found = hydra.utils.get_object(given)
    except Exception as error:  # of an import, which runs any code
        raise ValueError(
            f"{name}={brief(given)} cannot be found: name a function or a class, as in lr_recipes.schedules.Cosine"
        ) from error
    if not callable(found):
        raise ValueError(
            f"{name}={brief(given)} is neither a function nor a class: name one, as in lr_recipes.schedules.Cosine"
        )
    return found


def _check_values(path: str, node: DictConfig) -> None:
    target = hydra.utils.get_object(node._target_)
    parameters, hints = parameters_of(target), _hints_of(target)
    for key, value in _given(node).items():
        if key in hints:
            plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            reason = mismatch(hints[key], plain)
            if reason:
                raise ValueError(f"{path}.{key}={brief(plain)}: {reason}{_declared(target, parameters[key])}")


def _declared(target: Any, parameter: inspect.Parameter) -> str:
    words = f"; {target.__name__} takes {parameter}".replace("'", "")
    return words if len(words) < 80 else ""


def parameters_of(target: Any) -> dict[str, inspect.Parameter]:
    """Return what a function or class may be called with; ``**options`` of a class stands for its base's parameters."""
    found: dict[str, inspect.Parameter] = {}
    for function in _signed(target):
        found = {**inspect.signature(function).parameters, **found}
        open_ended = [name for name, one in found.items() if one.kind is one.VAR_KEYWORD]
        if not open_ended:
            break
        if function is not _signed(target)[-1]:
            del found[open_ended[0]]
    found.pop("self", None)
    return found


def _hints_of(target: Any) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for function in _signed(target):
        with suppress(NameError, TypeError):  # names that exist for type checkers only
            hints = {**get_type_hints(function), **hints}
    return hints


def _signed(target: Any) -> list[Callable[..., Any]]:
    """The functions that say what ``target`` takes: itself, or the constructors of a class and its bases."""
    if not inspect.isclass(target):
        return [target]
    return [vars(owner)["__init__"] for owner in inspect.getmro(target)[:-1] if "__init__" in vars(owner)]


def mismatch(annotation: Any, value: Any) -> str | None:
    """Say why a value from a config does not fit an annotation; ``None`` where it fits or nobody can tell.

    Without pydantic, as on a machine that lends its interpreter, nobody can tell.

    Example:
        >>> mismatch(int | None, "abc")
        'should be a valid integer'
        >>> mismatch(int | None, None)
    """
    try:
        from pydantic import ConfigDict, TypeAdapter, ValidationError
        from pydantic.errors import PydanticUserError
    except ImportError:
        return None
    any_class = ConfigDict(arbitrary_types_allowed=True)
    try:
        # as JSON, where a list may be a tuple; strict, so that "3" is not a number and true is not 1
        TypeAdapter(annotation, config=any_class).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        reasons = [one["msg"].removeprefix("Input ") for one in error.errors() if one["type"] not in _OF_OBJECTS]
        return " or ".join(dict.fromkeys(reasons)) or None
    except PydanticUserError:  # no schema for this annotation
        return None
    return None


def _check_optimizer(node: DictConfig) -> None:
    """Check the LR, then all that torch checks when an optimizer is built."""
    lr = node.get("lr")
    if lr is not None and (not is_finite(lr) or lr <= 0):
        raise ValueError(f"optimizer.lr={brief(lr)}: must be above 0; it is the peak of the schedule, as in 0.001")
    if node.get("_partial_"):
        import torch

        build = hydra.utils.instantiate(node)
        try:
            build([torch.nn.Parameter(torch.zeros(1, 1))])
        except Exception as error:  # each optimizer has its own for what it does not take
            raise ValueError(f"optimizer: {error}") from error
