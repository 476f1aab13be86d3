"""A witness of a clock: rows of what each step used, for a file, and compared with what was planned or foretold.

The file, the comparison and the way to the user are given to it (``RowFile``, ``Auditor``, ``tell``), since reports
stand on a higher floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import Roster, group_names, on_device, read_number, snapshot
from lr_recipes.plan.names import numbered

# Whichever comes first: so much is lost when the process is killed, and so much memory is used.
_FLUSH_SECONDS = 1.0
_FLUSH_ROWS = 1000
_ALWAYS = ("momentum", "weight_decay")  # beside the LR, whether they are moved or not


class LearningRateError(RuntimeError):
    """An update did not use the planned LR, and it was asked to stop then."""


class RowFile(Protocol):
    """Where the rows go: what cannot be written must not end a run, so nothing here raises for that reason."""

    def write(self, rows: Iterable[Sequence[Any]]) -> None: ...

    def add_groups(self, names: Mapping[str, Sequence[str]]) -> None: ...


class Auditor(Protocol):
    """What compares used with planned, and counts."""

    compared: int
    unplanned: int
    late: dict[str, int]
    left: dict[str, int]

    def compare(
        self, position: int, used: Sequence[float], planned: Sequence[float], names: Sequence[str | tuple[str, str]]
    ) -> str: ...

    def skip(self, position: int, count: int = 1) -> None: ...


class _Update(NamedTuple):
    """What one update used; an LR may still be a tensor on a device."""

    position: int
    epoch: int | None
    phase: str
    factor: float | None
    lrs: list[Any]
    others: list[float | None]
    planned: list[Any] | None
    planned_others: dict[str, list[float | None]]


# The values of a row: a flat tuple of numbers and text is no work for the garbage collector, however many wait.
_Row = tuple[Any, ...]


@dataclass
class Recorder:
    """Records what each update of one optimizer uses, and compares it with the plan of the clock's owner.

    Args:
        clock: of the optimizer.
        audit: compares, and counts.
        epoch: asked for the number of the epoch at each update; ``None`` where nobody knows.
        samples_per_step: samples that one update sees, where that is known.
        tell: is given a sentence at the first update that did not use what was planned.
        strict: raise an error instead.
        after_update: is called after each update.

    Attributes:
        file: where the rows go; to be set before the first step.
        groups: names of all groups that there have been, which are the columns.
        kinds: the hyper-parameters that are recorded beside the LR.
        noted: updates that were recorded: so many rows were handed to the file, or could not be read from a device.
    """

    clock: Clock
    audit: Auditor
    epoch: Callable[[], int | None]
    samples_per_step: int | None = None
    tell: Callable[[str], None] = lambda sentence: None
    strict: bool = False
    after_update: Callable[[], None] | None = None
    file: RowFile = field(init=False)

    def __post_init__(self) -> None:
        self._roster = Roster(self.clock.optimizer)
        self.groups = group_names(self.clock.optimizer)
        self._columns = list(range(len(self.groups)))  # of the present groups
        self._in_order = True  # whether these are all columns, one after the other
        self.last_lrs: list[Any] = [group["lr"] for group in self.clock.optimizer.param_groups]
        self.last_others: list[float | None] = []
        self._pending: list[_Update | _Row] = []
        self._flush_at = 0.0
        self._announced = False
        self.noted = self._taken = 0
        self._found = ""  # what is still to end the run
        self._plan = self._plan_of_owner()
        self.kinds = (*_ALWAYS, *self._further_kinds(_ALWAYS))
        # For each column whether it has a momentum, then for each whether it has a weight decay, and so on.
        self._there = self._present_in_groups(self.kinds)

    @property
    def present(self) -> list[str]:
        """Names of the groups that the last update had, in the optimizer's order."""
        return [self.groups[column] for column in self._columns]

    # What a step does

    def note(self, counts: bool) -> None:
        """Record what the step that has just ended used, if it changed parameters."""
        self._announced = False  # the step came
        if not counts:
            self.audit.skip(self.clock.position)
            return
        if self._roster.has_changed(self.clock.optimizer):
            self._note_groups()
        if self._plan_of_owner() is not self._plan:
            self._note_kinds()
        update = self._read()  # of update `position`: the clock moves on after all witnesses have looked
        self.noted += 1
        self.last_lrs, self.last_others = update.lrs, update.others
        if any(map(on_device, update.lrs)):
            self._pending.append(update)  # judged and written when it is read back, all at once
        else:
            self._pending.append(self._row(update))
            self._judge(update)
        now = time.monotonic()
        if now >= self._flush_at or len(self._pending) >= _FLUSH_ROWS:
            self.flush()
        if self.after_update is not None:
            self.after_update()

    def _planned(self) -> tuple[list[Any] | None, dict[str, list[Any]]]:
        """What the step was planned to use, by group: LRs, and what moves beside them."""
        owner, optimizer = self.clock.teller, self.clock.optimizer
        planned = None if owner is None else owner.planned_lrs
        if owner is None or planned is None:
            return None, {}
        others = owner.planned_others
        if not owner.roster.has_changed(optimizer):
            return planned, others
        # Within the step, as in `training_step`: nothing is planned for who has joined.
        places = owner.roster.places(optimizer)

        def at_places(values: list[Any]) -> list[Any]:
            return [None if index is None else values[index] for index in places]

        return at_places(planned), {key: at_places(values) for key, values in others.items()}

    def _read(self) -> _Update:
        groups, owner, position = self.clock.optimizer.param_groups, self.clock.teller, self.clock.position
        return _Update(
            position,
            self.epoch(),
            "" if owner is None else owner.plan.curve.phase(owner.progress),
            # The owner's word and not `curve(position)`: an LR that is held for an epoch is planned to be held, and the
            # cuts of a plateau are planned too.
            owner.planned_factor if owner is not None and owner.plan.uniform else None,
            [snapshot(group["lr"]) for group in groups],
            [read_number(group, kind) for kind in self.kinds for group in groups],
            *self._planned(),
        )

    def _judge(self, update: _Update, strict: bool = True) -> None:
        if update.planned is None:
            self.audit.compared += 1
            self.audit.unplanned += 1
            return
        used, planned = update.lrs, update.planned
        names: Sequence[str | tuple[str, str]] = self.present
        for key, values in update.planned_others.items():  # as if they were the LRs of further groups
            start = self.kinds.index(key) * len(update.lrs)
            used = [*used, *update.others[start : start + len(values)]]
            planned, names = [*planned, *values], [*names, *((key, name) for name in self.present)]
        if any(lr is None for lr in planned):
            known = [index for index, lr in enumerate(planned) if lr is not None]
            used, planned, names = ([values[index] for index in known] for values in (used, planned, names))
        found = self.audit.compare(update.position, used, planned, names)
        if found:
            self._found = found if self.strict else ""
            if strict:
                self._stop()
            self.tell(found)

    def _stop(self) -> None:
        found, self._found = self._found, ""  # once: rows are written after it, too
        if found:
            raise LearningRateError(found)

    # A gradient scaler that finds an overflow does not call the optimizer (a fused one apart), so no step is seen then.
    # What is left to see is that a step was announced, and that the batch ended, or another step was announced, without
    # it.

    def announce(self) -> None:
        """Note that a step is about to be done, unless a gradient scaler skips it."""
        self.settle()
        self._announced = True

    def settle(self) -> None:
        """Take a step that was announced, and did not come, as skipped."""
        if self._announced:
            self.audit.skip(self.clock.position)
        self._announced = False

    # Rows

    def flush(self, strict: bool = True) -> None:
        """Write the pending rows.

        Args:
            strict: raise what there is to raise. Else it is told, where that is not lost, and raised by a later call.
        """
        # Taken first: an error below must not have the same rows written again when the run is closed.
        pending, self._pending = self._pending, []
        self._flush_at = time.monotonic() + _FLUSH_SECONDS
        try:
            read = [_read_back(one) if isinstance(one, _Update) else one for one in pending]
        except RuntimeError:  # a device that has failed: what it holds cannot be read any more
            if strict:
                raise
            read = [one for one in pending if not isinstance(one, _Update)]
        # Written before they are judged: with `strict` the first wrong one ends the run, and must be in the file.
        self.file.write(self._row(one) if isinstance(one, _Update) else one for one in read)
        for one in read:
            if isinstance(one, _Update):
                self._judge(one, strict)
        if strict:
            self._stop()

    def _row(self, update: _Update) -> _Row:
        # Update n is the (n + 1)-th: so many samples are seen when it is done.
        samples = None if self.samples_per_step is None else (update.position + 1) * self.samples_per_step
        fixed = (update.position, update.epoch, samples, update.phase, update.factor)
        if self._in_order:
            return (*fixed, *update.lrs, *self._those_there(update.others))
        return (*fixed, *self._in_columns(update.lrs), *self._those_there(self._of_each_kind(update.others)))

    def _in_columns(self, values: Sequence[Any]) -> list[Any]:
        """Values of the present groups, and nothing for those that have left."""
        row: list[Any] = [None] * len(self.groups)
        for column, value in zip(self._columns, values, strict=True):
            row[column] = value
        return row

    def _of_each_kind(self, values: Sequence[Any]) -> list[Any]:
        """The same of values of each kind."""
        count = len(self._columns)
        starts = range(0, len(values), count)
        return [value for start in starts for value in self._in_columns(values[start : start + count])]

    def _those_there(self, others: list[float | None]) -> list[float | None]:
        """Momentum, weight decay and so on of the groups that have them."""
        return [value for value, there in zip(others, self._there, strict=True) if there]

    def _present_in_groups(self, kinds: Iterable[str]) -> list[bool]:
        """Which groups have a momentum, which a weight decay, and so on."""
        groups = self.clock.optimizer.param_groups
        return [read_number(group, kind) is not None for kind in kinds for group in groups]

    def _plan_of_owner(self) -> Any:
        owner = self.clock.teller
        return None if owner is None else owner.plan

    def _further_kinds(self, known: Sequence[str]) -> list[str]:
        """What the plan moves that is not recorded yet."""
        return [key for key in (self._plan.moves if self._plan else ()) if key not in known]

    def _note_kinds(self) -> None:
        """Give what another plan moves columns of its own: a group has joined, or a saved plan is followed."""
        self._plan = self._plan_of_owner()
        more = self._further_kinds(self.kinds)
        if more:
            self.flush()  # rows with the old columns
            self._there += map(bool, self._of_each_kind(self._present_in_groups(more)))
            self.kinds += tuple(more)
            self.file.add_groups(self.names())

    def names(self) -> dict[str, list[str]]:
        """Return the names of the groups for each kind of column: those that have such a value."""
        count = len(self.groups)
        names = {"lr": self.groups}
        for number, kind in enumerate(self.kinds):
            there = self._there[number * count : (number + 1) * count]
            names[kind] = [name for name, has in zip(self.groups, there, strict=True) if has]
        return names

    def _note_groups(self) -> None:
        """Give each group its column: groups have joined, left or been replaced."""
        self.flush()  # rows with the old columns, before the file gets new ones
        known, before, position = len(self.groups), self._columns, self.clock.position
        was = self._roster.places(self.clock.optimizer)
        self._roster.look(self.clock.optimizer)
        there = [None if index is None else before[index] for index in was]
        self.groups, self._columns = [*self.groups], []
        columns, taken = {name: column for column, name in enumerate(self.groups)}, {*there}
        for column, name in zip(there, group_names(self.clock.optimizer), strict=True):
            self._columns.append(self._column_for(name, columns, taken) if column is None else column)
            taken.add(self._columns[-1])
        self._in_order = self._columns == list(range(len(self.groups)))
        # The step that has just ended is the first that who joined took part in, and it is update `position`.
        self.audit.late.update(dict.fromkeys(self.groups[known:], position))
        self.audit.left.update({self.groups[column]: position for column in set(before) - set(self._columns)})
        if len(self.groups) > known:
            self._add_columns(known)

    def _column_for(self, name: str, columns: dict[str, int], taken: set[int | None]) -> int:
        """The column of a group that is new: that of a group of its name which has left, or one of its own."""
        if name in columns:
            if columns[name] not in taken:
                self.audit.left.pop(name, None)
                return columns[name]
            name = numbered(name, columns, len(self.groups))
        self.groups.append(name)
        columns[name] = len(self.groups) - 1
        return columns[name]

    def _add_columns(self, known: int) -> None:
        wide, count = self._of_each_kind(self._present_in_groups(self.kinds)), len(self.groups)
        there = []
        for number in range(len(self.kinds)):
            had, has = self._there[number * known : (number + 1) * known], wide[number * count : (number + 1) * count]
            there += [*had, *map(bool, has[known:])]
        self._there = there
        self.file.add_groups(self.names())

    def take_updates(self) -> int:
        """Return how many updates there were since the last question."""
        updates, self._taken = self.noted - self._taken, self.noted
        return updates


def _read_back(update: _Update) -> _Update:
    """The update with numbers for LRs that are on a device; under a warmup its planned ones are, too."""
    planned = None if update.planned is None else [None if lr is None else float(lr) for lr in update.planned]
    return update._replace(lrs=[float(lr) for lr in update.lrs], planned=planned)
