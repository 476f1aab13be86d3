"""What can happen to a saved state: parts are lost, exchanged, or of another kind than they were."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

Path = tuple[Any, ...]


def _nested(deep: int) -> Any:
    value: Any = 0
    for level in range(deep):
        value = [value] if level % 2 else {"schedule": value}
    return value


# What may stand in the place of any value.
ODD: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: "",
    lambda: "7.5 parts",
    lambda: "\x1b[31mred\n",
    lambda: "x" * 10**6,
    list,
    dict,
    lambda: [[]],
    lambda: {"a": {"b": 1}},
    lambda: True,
    lambda: False,
    lambda: math.nan,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: -1,
    lambda: 0,
    lambda: 1,
    lambda: 0.5,
    lambda: 3.0,
    lambda: 1e300,
    lambda: 10**400,
    lambda: 10**5000,
    lambda: -(10**400),
    lambda: 2**62,
    lambda: 50_000,
    lambda: torch.tensor(3.0),
    lambda: torch.ones(3),
    lambda: b"5",
    lambda: {1, 2},
    lambda: object(),
    lambda: 3 + 4j,
    lambda: _nested(20),
    lambda: _nested(3000),
)


def paths_of(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every part of a state, the innermost too, and not the state itself."""
    if len(path) > 30:
        return
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in parts:
        yield (*path, key)
        yield from paths_of(one, (*path, key))


def at(state: Any, path: Path) -> Any:
    for key in path:
        state = state[key]
    return state


def put(state: Any, path: Path, value: Any) -> None:
    at(state, path[:-1])[path[-1]] = value


def _replace(state: Any, path: Path, rng: random.Random) -> str:
    put(state, path, rng.choice(ODD)())
    return "replaced"


def _nudge(state: Any, path: Path, rng: random.Random) -> str:
    value = at(state, path)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _replace(state, path, rng)
    change = rng.choice([1, -1, 2, -2, 5, 100, 0.5, 1e-3, value])
    put(state, path, value + (int(change) or 1 if isinstance(value, int) and rng.random() < 0.8 else change))
    return "nudged"


def _delete(state: Any, path: Path, rng: random.Random) -> str:
    del at(state, path[:-1])[path[-1]]
    return "deleted"


def _swap(state: Any, path: Path, rng: random.Random) -> str:
    others = [one for one in paths_of(state) if one[: len(path)] != path and path[: len(one)] != one]
    if not others:
        return _replace(state, path, rng)
    other = rng.choice(others)
    mine, theirs = at(state, path), at(state, other)
    put(state, path, copy.deepcopy(theirs))
    put(state, other, copy.deepcopy(mine))
    return "swapped"


def _copy_from_elsewhere(state: Any, path: Path, rng: random.Random) -> str:
    put(state, path, copy.deepcopy(at(state, rng.choice(list(paths_of(state))))))
    return "copied"


def _lengthen(state: Any, path: Path, rng: random.Random) -> str:
    value = at(state, path)
    if not isinstance(value, list) or not value:
        return _nudge(state, path, rng)
    value.insert(rng.randrange(len(value) + 1), copy.deepcopy(rng.choice(value)))
    return "lengthened"


def _shorten(state: Any, path: Path, rng: random.Random) -> str:
    value = at(state, path)
    if not isinstance(value, list) or not value:
        return _nudge(state, path, rng)
    del value[rng.randrange(len(value))]
    return "shortened"


def _dict_for_list(state: Any, path: Path, rng: random.Random) -> str:
    value = at(state, path)
    put(state, path, dict(enumerate(value)) if isinstance(value, list) else [value])
    return "of another shape"


# Dicts whose keys are anybody's, or are counted in a checksum.
_OF_ANY_NAME = {
    "schedule", "optimizers", "files", "audits", "positions", "metrics", "loop", "others", "peaks", "next_others",
}  # fmt: skip


def _add(state: Any, path: Path, rng: random.Random) -> str:
    """A part that a later version may save."""
    target = at(state, path)
    if not isinstance(target, dict) or set(path) & _OF_ANY_NAME:
        target = state
    target["of a later version"] = rng.choice(ODD)()
    return HARMLESS


def _tuple_for_list(state: Any, path: Path, rng: random.Random) -> str:
    value = at(state, path)
    if not isinstance(value, list) or "schedule" in path or "loop" in path:
        return _add(state, path, rng)
    put(state, path, tuple(value))
    return HARMLESS


HARMLESS = "harmless"
_KINDS = (
    _replace,
    _replace,
    _replace,
    _nudge,
    _nudge,
    _nudge,
    _delete,
    _delete,
    _swap,
    _copy_from_elsewhere,
    _lengthen,
    _shorten,
    _dict_for_list,
    _add,
    _tuple_for_list,
)


def mutated(state: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], list[str]]:
    """Return a changed copy of a state, and what was done to it, change by change."""
    state, done = copy.deepcopy(state), list[str]()
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        paths = list(paths_of(state))
        if not paths:
            break
        path = rng.choice(paths)
        try:
            kind = rng.choice(_KINDS)(state, path, rng)
        except RecursionError:  # of a copy of what is nested too deep already
            continue
        done.append(kind if kind == HARMLESS else f"{'.'.join(map(str, path))} {kind}")
    return state, done
