"""Reads records of LRs from TensorBoard's event files. No torch, and no TensorFlow.

tensorboard knows what an event is; the frame around each one, its length and two check sums, is stepped over here, for
its own loader needs ten times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lr_recipes.checks import counted, one_line
from lr_recipes.report.record_states import EARLY
from lr_recipes.report.recorded import Record, RecordError, Track, chosen_names

MARK = b"brain.Event:"  # in the first event of each file: the version of its format
_HEAD, _TAIL = 12, 4  # bytes before an event: its length and their check sum; after it: its own check sum
_REALS = {1: "<f", 2: "<d"}  # of the types of a tensor: those that an LR may have


def read_events(path: Path, files: Sequence[Path], column: str | None) -> Record:
    """Return the record in event files; those of one folder are of one run, in the order of their names.

    Args:
        path: what was asked for.
        files: the event files.
        column: the tag that was asked for.

    Raises:
        RecordError: they hold no LRs, or tensorboard is not there to read them.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError as error:
        raise RecordError(
            f"{path} is read with tensorboard, which is not there ({error}): pip install tensorboard"
        ) from error
    tracks: dict[str, dict[str, Track]] = {}
    tags: dict[str, None] = {}
    several = len({file.parent for file in files}) > 1
    damaged = 0
    for file in sorted(files):
        run = f"{file.parent.relative_to(path).as_posix()} - " if several else ""
        for event in _events(file.read_bytes(), Event):
            if event is None:
                damaged += 1
                continue
            for value in event.summary.value:
                lr = _real(value)
                if lr is not None:
                    tags.setdefault(value.tag)
                    own = tracks.setdefault(value.tag, {})
                    if run not in own:
                        own[run] = Track(run + value.tag)
                    own[run].add(event.step, lr)
    found = chosen_names(str(path), tags, column, {})
    # What transformers logs: the LR under this name, and the epoch beside it, which nobody else puts there.
    by_trainer = "train/learning_rate" in found and "train/epoch" in tags
    writer = f"{counted(len(files), 'event file')} of TensorBoard{', by the Trainer of transformers' * by_trainer}"
    monitored = all(tag.startswith("lr-") for tag in found)
    record = Record(writer, [track for tag in found for track in tracks[tag].values()])
    record.early = EARLY if by_trainer else (0,) if monitored else (0, 1)
    if damaged:
        record.notes.append(f"{counted(damaged, 'event file')} cut off or damaged: read up to there")
    return record


def event_files(folder: Path) -> list[Path]:
    """Return the event files in a folder and those below it.

    Raises:
        RecordError: there are none.
    """
    files = sorted(file for file in folder.rglob("*tfevents*") if file.is_file())
    if not files:
        raise RecordError(
            f"{one_line(str(folder))} has no event files of TensorBoard: give a folder with some, or a file such as "
            "lr.csv, metrics.csv or trainer_state.json"
        )
    return files


def _events(content: bytes, event: Any) -> Iterator[Any]:
    """The events of a file; nothing in the place of what is damaged, where it ends."""
    place, size = 0, len(content)
    while place < size:
        end = place + _HEAD + (struct.unpack_from("<Q", content, place)[0] if size - place >= _HEAD else size)
        try:
            found = event.FromString(content[place + _HEAD : end]) if end + _TAIL <= size else None
        except Exception:  # of protobuf, which has several that decode
            found = None
        yield found
        if found is None:
            return
        place = end + _TAIL


def _real(value: Any) -> float | None:
    """The number that a value is, if it is one: written as such, or as a tensor, as newer writers do."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    tensor = value.tensor
    if kind != "tensor" or tensor.dtype not in _REALS or any(axis.size != 1 for axis in tensor.tensor_shape.dim):
        return None
    packed = list(tensor.float_val) or list(tensor.double_val)
    if packed:
        return float(packed[0])
    real = _REALS[tensor.dtype]
    return (
        struct.unpack(real, tensor.tensor_content)[0] if len(tensor.tensor_content) == struct.calcsize(real) else None
    )
