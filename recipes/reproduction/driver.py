"""Makes the runs that are missing, several side by side, and writes the page when they are there."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lr_recipes.checks import counted
from recipes.reproduction.experiment import Experiment, Result, Results, Run
from recipes.reproduction.page import Page
from recipes.reproduction.row import SHOWN
from recipes.reproduction.store import Store
from recipes.reproduction.worker import Job, origin_of, prepare, train_once


class Stopped(Exception):
    """The work was stopped before its end; says how to go on."""


def reproduce(
    experiments: Sequence[Experiment],
    folder: Path,
    page: Path,
    *,
    workers: int,
    command: str,
    quick: bool = False,
    others: Sequence[Experiment] = (),
    whole: str = "make reproduce",
    tell: Callable[[str], None] = print,
) -> None:
    """Make the runs of all experiments that have no result yet, and write the page.

    Args:
        experiments: the rows.
        folder: of the results and pictures.
        page: the file to write.
        workers: processes side by side.
        command: that goes on with the work.
        quick: whether only the machinery is tried.
        others: rows that are only shown, with the results that are there; other processes may be at work on them.
        whole: the command that makes all rows.
        tell: called with each line for the user.

    Raises:
        Stopped: by Ctrl-C, a process that died, or a folder that cannot be written; what was measured is kept.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Stopped(_not_written(folder, error)) from error
    with _pool(workers) as pool:
        tell("Reading settings and data, and loading torch ...")
        there = [one for one in others if (folder / f"{one.row.name}.csv").exists()]
        known = _by_name([*experiments, *there])
        pairs = [(one, schedule) for one in known.values() for schedule in one.row.all_schedules]
        found = pool.map(origin_of, [one.overrides(schedule) for one, schedule in pairs])
        origins = {(one.row.name, schedule): origin for (one, schedule), origin in zip(pairs, found, strict=True)}
        store = Store(folder, lambda row, schedule: origins[row, schedule], tell)
        results: dict[Run, Result] = {}
        for name in _by_name(experiments):
            results |= store.load(name)
        try:
            _make(experiments, results, store, pool, workers)
        except KeyboardInterrupt:
            raise Stopped(f"Stopped. {_kept(results, folder)} To go on: {command}") from None
        except BrokenProcessPool:
            raise Stopped(
                f"A process died, perhaps for lack of memory (workers={workers}; try fewer). {_kept(results, folder)} "
                f"To go on: {command}"
            ) from None
        except OSError as error:
            raise Stopped(f"{_not_written(folder, error)} {_kept(results, folder)} To go on: {command}") from error
    for line in failures(results):
        tell(line)
    for one in there:
        results |= store.load(one.row.name, tidy=False)
    shown = {name: origins[name, one.row.baseline] for name, one in known.items()}
    Page([*experiments, *others], results, shown, quick, whole).write(
        page, folder, [one.row.name for one in experiments]
    )
    tell(f"Written: {page}")


def _not_written(folder: Path, error: OSError) -> str:
    return f"Error: {error.filename or folder} cannot be written ({error.strerror}): free it, or give folder=... ."


def _by_name(experiments: Sequence[Experiment]) -> dict[str, Experiment]:
    return {source.row.name: source for one in experiments for source in one.sources}


def _kept(results: Results, folder: Path) -> str:
    return f"{counted(len(results), 'run')} kept in {folder}."


def failures(results: Results) -> list[str]:
    """Return a line for each reason for which runs failed, and for those that diverged."""
    reasons: dict[tuple[str, str], int] = {}
    for run, result in results.items():
        if result.status != "done":
            reasons[run.row, result.status] = reasons.get((run.row, result.status), 0) + 1
    return [f"{row}: {counted(count, 'run')} {status}" for (row, status), count in reasons.items()]


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that load torch once; all end with this one, however it ends."""
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)  # joblib's, which new processes would not know
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=prepare, initargs=(1,))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # `shutdown` would wait for the runs under way
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _make(
    experiments: Sequence[Experiment],
    results: dict[Run, Result],
    store: Store,
    pool: ProcessPoolExecutor,
    workers: int,
) -> None:
    """Keep all processes at work until no experiment wants another run."""
    under_way: dict[Future[Result], Run] = {}
    known = _by_name(experiments)
    with _Progress(experiments, results, workers) as progress:
        while True:
            for run in (run for one in experiments for run in one.wanted(results)):
                # two for each worker, so that none waits; not more, for a result may change what is wanted
                if len(under_way) >= 2 * workers:
                    break
                if run not in under_way.values():
                    under_way[pool.submit(train_once, job_of(known[run.row], run, results, store.folder))] = run
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                result = future.result()
                store.append(result)
                results[result.run] = result
                progress.note(result)
                del under_way[future]


def job_of(experiment: Experiment, run: Run, results: Results, folder: Path) -> Job:
    """Return how to make a run; the curve of a schedule is that of its own LR and the first evaluation seed."""
    drawn = experiment.row.part in SHOWN and run.schedule in experiment.row.schedules
    first = drawn and run.seed in experiment.seeds[:1]
    wants_curve = first and run.lr == experiment.tuned(run.schedule, results).best
    curve = folder / "curves" / f"{run.row}-{run.schedule}.csv" if wants_curve else None
    return Job(run, experiment.overrides(run.schedule), curve)


class _Progress:
    """A bar over all runs, with the time that is left."""

    def __init__(self, experiments: Sequence[Experiment], results: Results, workers: int) -> None:
        self.experiments, self.results, self.workers = experiments, results, workers
        self.begun = time.monotonic()

    def __enter__(self) -> _Progress:
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} runs, {elapsed} gone{postfix}"
        self.bar = tqdm(total=self._total(), initial=len(self.results), bar_format=form, dynamic_ncols=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def note(self, result: Result) -> None:
        """Count a result."""
        self.bar.total = self._total()
        left = f"about {max(1, math.ceil(self.minutes_left()))} min left"
        run = result.run
        self.bar.set_postfix_str(f"{left}; {run.row} {run.schedule} lr {run.lr:g}: {_words(result)}", refresh=False)
        self.bar.update()

    def minutes_left(self) -> float:
        """Return an estimate from the runs so far; a row without any is taken to be like the others."""
        known = [result.seconds for result in self.results.values()]
        seconds = 0.0
        for experiment in self.experiments:
            own = [result.seconds for result in self._of(experiment)]
            seconds += self._missing(experiment) * fmean(own or known or [0.0])
        return seconds / self.workers / 60

    def _of(self, experiment: Experiment) -> list[Result]:
        return [result for run, result in self.results.items() if run.row == experiment.row.name]

    def _missing(self, experiment: Experiment) -> int:
        wanted = len(experiment.wanted(self.results))
        return max(wanted, experiment.expected() - len(self._of(experiment))) if wanted else 0

    def _total(self) -> int:
        return len(self.results) + sum(map(self._missing, self.experiments))


def _words(result: Result) -> str:
    return f"{result.test_loss:.3f}" if result.status == "done" else result.status.partition(":")[0]
