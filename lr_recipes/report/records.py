"""Reads the record of LRs that a run left behind: who reads it is chosen by its content, not by its name. No torch."""

from __future__ import annotations

from pathlib import Path

from lr_recipes.checks import one_line
from lr_recipes.report.record_events import MARK, event_files, read_events
from lr_recipes.report.record_states import read_state
from lr_recipes.report.record_tables import read_table
from lr_recipes.report.recorded import Record, RecordError

_LOOKED_AT = 4096  # bytes
_ANY_OF = "give an lr.csv, metrics.csv, event file, W&B export or trainer_state.json"
_MARKS = {  # how files of other kinds begin
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"PK\x03\x04": "an archive, such as a checkpoint, which lr-recipes inspect shows",
    b"\x80": "a pickle, such as an old checkpoint, which lr-recipes inspect shows",
    b"\x1f\x8b": "compressed, and is to be unpacked first",
    b"%PDF": "a PDF",
}
_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_record(path: str | Path, column: str | None = None) -> Record:
    """Return the record in a file, or in the event files of a folder.

    Args:
        path: the file or the folder.
        column: the name of the LR; by default every name that is one.

    Raises:
        RecordError: it is not there, cannot be read, or holds no LRs; the message says what to give.
    """
    path = Path(path)
    try:
        record = _record_in(path, column)
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read ({error.strerror or error}): {_ANY_OF}, in a place where it can be read"
        ) from error
    if not any(track.updates or track.odd for track in record.tracks):
        names = ", ".join(one_line(track.name) for track in record.tracks[:8])
        raise RecordError(
            f"{path} has {names}, and no LR of a single update under that name"
            f"{''.join(f' ({remark})' for remark in record.remarks())}: record the run again, or name another column "
            "with column=NAME"
        )
    return record


def _record_in(path: Path, column: str | None) -> Record:
    if path.is_dir():
        return read_events(path, event_files(path), column)
    if path.exists() and not path.is_file():
        raise RecordError(f"{path} is a device or a pipe: {_ANY_OF}")
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    if MARK in head[:64]:
        return read_events(path, [path], column)
    encoding = next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), "")
    text = head.decode(encoding or "utf-8", errors="replace").lstrip()
    what = "" if encoding else next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), "")
    if not what and "\0" in text.partition("\n")[0]:
        what = "no text"
    if what or not text.strip():
        raise RecordError(f"{path} is {what or 'empty'}: {_ANY_OF}")
    read = read_state if text[0] in "{[" else read_table
    return read(path, encoding or "utf-8", column)
