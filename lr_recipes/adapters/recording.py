"""The record of a loop that has no callbacks of ours: ``lr.csv``, and whether used and planned were equal.

``optimizer/recorder.py`` reads at each step, ``report/`` makes the file and the comparison; here they are put together.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.recorder import Recorder
from lr_recipes.report.audit import AUDIT, Audit
from lr_recipes.report.backlog import Backlog
from lr_recipes.report.lr_csv import LrCsv, columns_of, with_replacement


def _complain(sentence: str) -> None:
    warnings.warn(sentence, UserWarning, stacklevel=2)


class Recording:
    """Records what every update of a bound schedule uses in ``lr.csv``, and compares it with the plan.

    The file is begun at the first update: where a saved state was loaded before it, with the rows of the updates before
    that one, which are taken from the file that is there.

    Args:
        bound: the schedule, as ``bind`` has returned it.
        folder: where ``lr.csv`` goes; in a run of several processes, only the first is to record.
        tell: is given a sentence at the first update that did not use what was planned, and where the file cannot be
            written; by default it warns.

    Attributes:
        path: where the file is.

    Raises:
        OSError: at the first update, where the file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from lr_recipes.schedules import Linear
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> weight.grad = torch.ones(1)
        >>> scheduler = Linear().bind(torch.optim.SGD([weight], lr=0.1), 10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Recording(scheduler, folder) as recording:
        ...         for _ in range(10):
        ...             scheduler.optimizer.step()
        ...             scheduler.step()
        >>> recording.close()
        'used = planned on 10 of 10 updates, schedule complete'
    """

    def __init__(self, bound: BoundSchedule, folder: str | Path = ".", tell: Callable[[str], None] = _complain) -> None:
        self.path = Path(folder) / "lr.csv"
        self._bound, self._clock, self._tell = bound, bound.clock, tell
        self._audit = Audit()
        self._recorder = Recorder(
            self._clock,
            self._audit,
            epoch=lambda: bound.horizon.epoch_of(self._clock.position),
            samples_per_step=bound.horizon.samples_per_step,
            tell=tell,
        )
        self._recorder.file = self
        self._file: Backlog | None = None
        self._rows_before, self._line = 0, ""
        self._clock.witnesses.append(self._recorder)

    @property
    def begun(self) -> bool:
        """Whether there was an update, and so a file."""
        return self._file is not None

    def close(self) -> str:
        """End the record, and return the sentence that says what came out."""
        if self._recorder in self._clock.witnesses:
            self._clock.witnesses.remove(self._recorder)
            missing = 0
            if self._file is not None:  # else there was no update yet
                self._recorder.flush(strict=False)
                self._file.close()
                missing = max(self._rows_before + self._recorder.noted - self._file.file.count(), 0)
            self._line = self._audit.closing_line(self._clock.position, self._bound.total, missing=missing)
        return self._line

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def keep(self, name: str) -> None:
        """Before the first update, copy the record of an earlier run in the folder to ``name``, if there is one."""
        if self.path.is_file():
            with_replacement(self.path.with_name(name), partial(shutil.copyfile, self.path))

    # The state

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted so far, as plain values; rows that wait are written, so that a resume finds them."""
        if self._file is not None:
            self._recorder.flush(strict=False)
        return self._audit.state_dict()

    def load_state_dict(self, counts: dict[str, Any]) -> None:
        """Go on counting, before the first update; what is no count is passed over, for no training hangs on it."""
        if not AUDIT.fault(counts):
            vars(self._audit).update(vars(Audit.going_on(counts)))

    # What the recorder writes to

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows; the first ones begin the file."""
        self._opened().write(rows)

    def add_groups(self, names: Mapping[str, Sequence[str]]) -> None:
        """Change to the columns for ``names``, for the rows to come."""
        self._opened().add_groups(names)

    def _opened(self) -> Backlog:
        if self._file is None:
            # The recorder hands over the first update at once: the clock is still at its position.
            file = LrCsv(self.path, columns_of(self._recorder.names()), self._clock.position)
            self.path, self._rows_before = file.path, file.rows
            self._file = Backlog(file, self._tell)
        return self._file
