"""Reads the file of a checkpoint, which may be anybody's: no code of it is run, and what it cannot be is said.

What the parts of a checkpoint mean is not known here. torch is imported when a file is read.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lr_recipes.checks import brief, is_finite, one_line

_GIVE = "give a checkpoint that Lightning has written"
_METADATA = "meta.pt"  # in the folder of FSDP's sharded checkpoints: all but weights and optimizers
_DEEPSPEEDS = "mp_rank_*_model_states.pt"
_MOST_NAMES = 5  # names that a message lists
_MOST_VALUES, _DEEP = 10**7, 100  # of a checkpoint: lists may hold one another often, and so be without end
_NUMBERS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}  # how numpy saves one -> how it is read
_LIGHTNINGS = ("pytorch-lightning_version", "optimizer_states", "lr_schedulers")  # what no other checkpoint has


class LeftOut:
    """Stands for something of a class that torch does not load: it takes what it is given, and keeps none of it."""

    def __new__(cls, *given: Any, **named: Any) -> LeftOut:
        return super().__new__(cls)

    def __init__(self, *given: Any, **named: Any) -> None:
        """Take everything."""

    def __setstate__(self, state: Any) -> None:
        """Take everything."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class NumberKind(LeftOut):
    """Stands for numpy's dtype: it keeps the code of it, such as ``f8``."""

    def __init__(self, code: Any = None, *more: Any) -> None:
        self.code = code if isinstance(code, str) else ""


def number_of_numpy(kind: Any = None, content: Any = None) -> Any:
    """Return the number that numpy has saved as bytes, as LRs of a ``np.logspace`` are."""
    form = _NUMBERS.get(kind.code) if isinstance(kind, NumberKind) else None
    fits = form is not None and isinstance(content, bytes) and len(content) == struct.calcsize(form)
    return struct.unpack(form, content)[0] if form is not None and fits else LeftOut()


_OF_NUMPY = {
    "numpy.dtype": NumberKind,
    "numpy.core.multiarray.scalar": number_of_numpy,  # of numpy 1
    "numpy._core.multiarray.scalar": number_of_numpy,
}


def read_lightning(path: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Return a checkpoint of Lightning, and what is to be said about how it was read.

    Tensors stay in the file until they are used. Where there is something of a class that is not torch's own, a
    ``LeftOut`` stands in its place.

    Args:
        path: the file; or the folder of a sharded checkpoint, of which the part beside the shards is read.

    Raises:
        ValueError: it is not there, cannot be read, is damaged, or is something else; says what to give.
    """
    content: Any = None
    notes: list[str] = []
    try:
        file = _file_of(Path(path), notes)
        fault = file if isinstance(file, str) else _fault_of_file(file)
        if not fault:
            content, foreign = _loaded(Path(file))
            notes += _about(foreign)
            fault = _fault_of_content(content)
    except OSError as error:
        fault = f"it cannot be read ({error.strerror or error}): {_GIVE}, in a place where it can be read"
    except Exception as error:  # torch raises a different one for each way in which a file can be damaged
        fault = f"it is damaged, or no checkpoint ({_why(error)}): {_GIVE}"
    if fault:
        raise ValueError(f"{one_line(str(path))} cannot be inspected: {fault}")
    return content, notes


def plain_of(value: Any) -> Any:
    """Return what a file holds as numbers, strings, lists and dicts; of anything else, what it is in words."""
    if value is None or isinstance(value, (bool, float, str)) or is_finite(value):
        return value
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(plain_of(key)): plain_of(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(plain_of, value)]
    with contextlib.suppress(Exception):  # a tensor has this, and can do it where it is one number that is there
        return value.item()
    shape = getattr(value, "shape", None)
    return brief(value) if shape is None else f"<{type(value).__name__} of {'x'.join(map(str, shape))}>"


def _file_of(path: Path, notes: list[str]) -> Path | str:
    """The file to read; or in words why there is none."""
    if path.is_file():
        return path
    if (path / _METADATA).is_file():
        notes.append(
            "weights and optimizers lie in the shards of the folder, which are not read: make one file of it with "
            "python -m lightning.pytorch.utilities.consolidate_checkpoint"
        )
        return path / _METADATA
    if not path.exists():
        there = _paths_in_words(path.parent.glob("*.ckpt")) if path.parent.is_dir() else ""
        return f"there is no such file: {_GIVE}{there and f', such as {there}'}"
    if not path.is_dir():
        return f"it is a device or a pipe: {_GIVE}"
    shards, files = (sorted([*path.glob(name), *path.glob(f"*/{name}")]) for name in (_DEEPSPEEDS, "*.ckpt"))
    if shards:
        first = _paths_in_words(shards[:1])
        return f"it is a folder of DeepSpeed's, whose optimizers lie in shards: give {first} for the rest"
    there = f"in it, such as {_paths_in_words(files)}" if files else "that Lightning has written"
    return f"it is a folder: give a file {there}"


def _fault_of_file(file: Path) -> str:
    size = file.stat().st_size
    if not size:
        return f"it is empty: {_GIVE}"
    if not zipfile.is_zipfile(file):
        with file.open("rb") as opened:
            begins = opened.read(2)
        # The directory of an archive is at its end; a file of before torch 1.6 is no archive, and is tried.
        return f"it was cut off: take another, or {_GIVE}" if begins == b"PK" else ""
    # torch.save compresses nothing, so an archive that holds more than it takes was made to fill the memory.
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(one.file_size for one in archive.infolist())
    return f"it unpacks to {unpacked:,} bytes and has {size:,}: {_GIVE}" if unpacked > size else ""


def _loaded(file: Path) -> tuple[Any, list[str]]:
    """What is in a file, and the names of the classes of which nothing is loaded."""
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    archive = zipfile.is_zipfile(file)
    foreign = sorted(get_unsafe_globals_in_checkpoint(file)) if archive else []
    # A name in the file leads to something of ours, whatever it is the name of: nothing is imported, and nothing of the
    # file's choice called.
    with safe_globals([(_stand_in(name), name) for name in foreign]):
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=archive)
    return content, [name for name in foreign if name not in _OF_NUMPY]


def _stand_in(name: str) -> Any:
    return _OF_NUMPY.get(name) or type(name.rpartition(".")[2], (LeftOut,), {})


def _fault_of_content(content: Any) -> str:
    if not isinstance(content, dict):
        return f"it holds a {one_line(type(content).__name__)}: {_GIVE}"
    if any(key in content for key in _LIGHTNINGS):
        try:
            values = _values_in(content, {})
        except RecursionError:
            return f"its lists and dicts lie more than {_DEEP} deep in each other: {_GIVE}"
        return f"it unfolds to {values:,} values, and {_MOST_VALUES:,} is the most: {_GIVE}" * (values > _MOST_VALUES)
    if content and all(hasattr(value, "shape") for value in content.values()):
        return f"it holds weights alone, {len(content):,} tensors: {_GIVE}"
    keys = ", ".join(one_line(str(key))[:50] for key in list(content)[:_MOST_NAMES])
    return f"it is no checkpoint of Lightning's, for it holds {keys or 'nothing'}: {_GIVE}"


def _values_in(value: Any, known: dict[int, int], deep: int = 0) -> int:
    """How many values there are, each counted as often as it would be written."""
    if not isinstance(value, (dict, list, tuple, set, frozenset)):
        return 1
    if id(value) not in known:
        if deep > _DEEP:
            raise RecursionError
        inside = itertools.chain(*value.items()) if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values_in(one, known, deep + 1) for one in inside)
    return known[id(value)]


def _about(foreign: list[str]) -> list[str]:
    if not foreign:
        return []
    more = f" and {len(foreign) - _MOST_NAMES:,} more" if len(foreign) > _MOST_NAMES else ""
    names = ", ".join(one_line(name)[:100] for name in foreign[:_MOST_NAMES])
    return [f"it also holds what is not loaded here, for it could run code: {names}{more}"]


def _paths_in_words(paths: Iterable[Path]) -> str:
    return ", ".join(one_line(str(path)) for path in sorted(paths)[:_MOST_NAMES])


def _why(error: Exception) -> str:
    """What is wrong, in torch's words; around them is advice to unpickle."""
    paragraphs = [" ".join(one.split()) for one in str(error).split("\n\n")]
    told = [one for one in paragraphs if one and not one.startswith(("Weights only load failed", "Check the doc"))]
    words = (told or paragraphs)[0].rpartition("WeightsUnpickler error: ")[2].partition(". ")[0]
    return one_line(words[:120] or type(error).__name__)
