"""The program ``lr-recipes``: shows a schedule without training, and without torch; and what a run has left behind.

lr-recipes preview schedule=warmup_cosine total_steps=10000
lr-recipes inspect last.ckpt
lr-recipes audit lr.csv

What is typed is read here, and mistakes are said in the words of a command line; all else is asked of the rooms below.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import lr_recipes
from lr_recipes import checks, schedules
from lr_recipes.plan.horizon import EXAMPLES, Horizon, HorizonError
from lr_recipes.report.checkpoint import inspect_checkpoint
from lr_recipes.report.picture import save_figure
from lr_recipes.report.preview import preview
from lr_recipes.report.record_audit import audit_record
from lr_recipes.report.records import read_record
from lr_recipes.schedules.named import NAMED, schedule_named

USAGE = """\
Shows what a learning-rate schedule will do, without training.

  lr-recipes preview schedule=NAME total_steps=N [KEY=VALUE ...]

Keys:
  schedule           a name, or several with commas to compare them:
{names}
                     by_group and hyperparameters are made of these
  schedule.KNOB      a value of the schedule, such as schedule.warmup=10%
  total_steps        optimizer updates in the run; or its length, as in 90ep or '10B tokens'
  steps_per_epoch    updates in an epoch, for lengths in epochs
  samples_per_step   samples that one update sees, for lengths in samples
  tokens_per_sample  tokens in a sample, for lengths in tokens
  max_time           how long a run is that follows the clock, such as 8h, in the place of all these
  lr                 base LR of the optimizer; without it, LRs are shares of the peak
  lr.GROUP           that of a parameter group, such as lr.head=0.01
  picture            file to draw, such as preview.png
  csv                file to write the LR of every update to

Examples:
  lr-recipes preview schedule=warmup_cosine total_steps=10000
  lr-recipes preview schedule=step,cosine,one_cycle total_steps=90ep steps_per_epoch=100 picture=all.png
  lr-recipes preview schedule=warmup_linear schedule.warmup='500 steps' total_steps=10000 lr=0.001
  lr-recipes preview schedule=cosine total_steps=10Btok samples_per_step=512 tokens_per_sample=2048
  lr-recipes preview schedule=by_group schedule.groups.head=linear total_steps=10000
  lr-recipes preview schedule=hyperparameters schedule.weight_decay=linear total_steps=10000"""

INSPECT_USAGE = """\
Shows what a checkpoint of Lightning's holds about learning rates.

  lr-recipes inspect CHECKPOINT [--as-json]

Shown: the optimizers, with the LR of each parameter group and what the next
update uses; the schedulers, their settings and how far they are; the plans and
records of lr_recipes.

  --as-json          the same as one JSON object

Examples:
  lr-recipes inspect last.ckpt
  lr-recipes inspect last.ckpt --as-json"""

AUDIT_USAGE = """\
Draws the LRs that a run has recorded, and says what is out of order in them.

  lr-recipes audit FILE [schedule=NAME total_steps=N] [KEY=VALUE ...] [--as-json]

FILE: the lr.csv of LearningRateLogger; Lightning's metrics.csv, with the columns
of LearningRateMonitor; an event file of TensorBoard, or a folder with some; a
chart of W&B, exported as CSV; transformers' trainer_state.json. Which it is
follows from what is in it.

With a schedule, the LRs that were used are compared with the planned ones. With
none, what is odd in itself is looked for. The exit status is 1 where something
was found, 0 where nothing was, 2 for what cannot be read.

Keys:
  schedule           the schedule that was planned; lr-recipes preview names them
  schedule.KNOB      a value of the schedule, such as schedule.warmup=10%
  total_steps        optimizer updates in the run; or its length, as in 90ep or '10B tokens'
  steps_per_epoch    updates in an epoch, for lengths in epochs
  samples_per_step   samples that one update sees, for lengths in samples
  tokens_per_sample  tokens in a sample, for lengths in tokens
  lr                 base LR of every group; without it, that with which the plan
                     fits where it is highest
  column             the name of the LR, where it cannot be told from others
  picture            file to draw, such as lr.png
  --as-json          the same as one JSON object

Examples:
  lr-recipes audit lr.csv
  lr-recipes audit metrics.csv schedule=warmup_cosine total_steps=10000 lr=0.001"""

HELP_WORDS = {"-h", "--help", "help"}
VERSION_WORDS = {"-V", "--version"}
FACTS = tuple(EXAMPLES)
KEYS = ("schedule", *FACTS, "lr", "picture", "csv")
# A record says at which update an LR was used, and not when: so no plan that follows the clock is compared with one.
AUDIT_KEYS = ("schedule", *(fact for fact in FACTS if fact != "max_time"), "lr", "column", "picture")
OF_OTHERS: dict[str, Callable[..., schedules.Schedule]] = {
    "by_group": schedules.ByGroup,
    "hyperparameters": schedules.Hyperparameters,
}
_TEXTS = ("schedule", "picture", "csv", "column")  # keys whose values are text, whatever they look like


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status.

    Args:
        arguments: what was typed after its name; by default that of this process.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if typed and (typed[0] == "version" or VERSION_WORDS & set(typed)):
        print(versions())
        return 0
    if not typed or HELP_WORDS & set(typed):
        asked = COMMANDS.get(typed[0]) if typed else None
        print(asked.usage() if asked else overview())
        return 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # else Python shows one of a kind, with a line of our source
        warnings.simplefilter("ignore", DeprecationWarning)  # for whoever writes the libraries
        try:
            status = _run(typed)
        except (ValueError, OSError, ImportError) as error:
            print(f"Error: {checks.visible(_explained(error))}", file=sys.stderr)
            status = 2  # of what was typed, as programs do
    for warning in caught:
        print(f"Warning: {checks.visible(str(warning.message))}", file=sys.stderr)
    return status


def overview() -> str:
    """Return the help text of the program: its commands."""
    rows = "\n".join(f"  lr-recipes {name:<10}{command.does}" for name, command in COMMANDS.items())
    more = "More: lr-recipes COMMAND --help; which versions are installed: lr-recipes --version"
    return f"Learning rates, as they will be and as they are saved.\n\n{rows}\n\n{more}"


def versions() -> str:
    """Return this version and those of what it works with, as far as it is installed; nothing is imported for it."""
    found = [f"Python {platform.python_version()}"]
    for package in ("torch", "lightning", "pytorch-lightning"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return f"lr-recipes {lr_recipes.__version__} ({', '.join(found)})"


def usage() -> str:
    """Return the help text of ``preview``, with the names of the schedules."""
    lines, names = [""], schedule_names()
    for name in names:
        if len(lines[-1]) + len(name) > 50:
            lines.append("")
        lines[-1] += f"{name} "
    return USAGE.format(names="\n".join(f"{'':21}{line}".rstrip() for line in lines))


def _run(typed: Sequence[str]) -> int:
    command, *rest = typed
    if command not in COMMANDS:
        known = checks.nearest(command, COMMANDS)
        raise ValueError(f"{checks.brief(command)} is not a command{known}; there are {', '.join(COMMANDS)}")
    return COMMANDS[command].run(rest)


def _inspect(typed: Sequence[str]) -> int:
    paths = [word for word in typed if not word.startswith("-")]
    odd = [word for word in typed if word.startswith("-") and word != "--as-json"]
    if odd:
        raise ValueError(
            f"{checks.brief(odd[0])} is unknown{checks.nearest(odd[0], ['--as-json'])}; there is --as-json"
        )
    if len(paths) != 1:
        raise ValueError(
            f"inspect shows one checkpoint, and {len(paths)} were given: write lr-recipes inspect CHECKPOINT, such as "
            "lr-recipes inspect last.ckpt"
        )
    found = inspect_checkpoint(paths[0])
    _print_out(found.as_json() if len(paths) < len(typed) else str(found))
    return 0


def _print_out(text: str) -> None:
    written_as = getattr(sys.stdout, "encoding", None) or "utf-8"  # names may have letters that a terminal has not
    print(text.encode(written_as, "backslashreplace").decode(written_as))


def _audit(typed: Sequence[str]) -> int:
    words = [word for word in typed if word != "--as-json"]
    path = words[0] if words else ""
    if not path or path.partition("=")[0] in AUDIT_KEYS:
        raise ValueError("which file? Write it first, as in lr-recipes audit lr.csv")
    asked = read_request(words[1:], AUDIT_KEYS)
    if len(asked.schedules) > 1:
        raise ValueError(
            f"a record is compared with one schedule, and {len(asked.schedules)} were given: take one, as in "
            f"schedule={asked.schedules[0]}"
        )
    of_a_plan = [*(f"schedule.{knob}" for knob in asked.knobs), *(["lr"] if asked.lr is not None else [])]
    if of_a_plan and not asked.schedules:
        raise ValueError(f"{of_a_plan[0]} is of a plan, and no schedule is given: add schedule=NAME, or leave it out")
    horizon, planned = Horizon(**asked.horizon), None
    record = read_record(path, asked.column)
    if horizon.total_steps is None and record.total is not None:
        horizon = dataclasses.replace(horizon, total_steps=record.total, source="as the record says")
    if asked.schedules:
        planned = functools.partial(schedule_of(asked.schedules[0], asked.knobs).plan, horizon)
        _check_lr(asked)
    found = audit_record(path, record, horizon.total_steps, planned, asked.lr)
    as_json = len(words) < len(typed)
    _print_out(found.as_json() if as_json else str(found))
    if asked.picture and found.judged:
        save_figure(found.plot(), Path(asked.picture))
        if not as_json:  # which is one object, and nothing else
            print(f"\nDrawn: {asked.picture}")
    return int(found.found)


def _preview(typed: Sequence[str]) -> int:
    asked = read_request(typed)
    if not asked.schedules:
        raise ValueError(f"which schedule? Give schedule=NAME; there are {', '.join(schedule_names())}")
    found = {name: (_of_others if name in OF_OTHERS else schedule_of)(name, asked.knobs) for name in asked.schedules}
    _check_lr(asked)
    several = len(found) > 1
    name = next(iter(found))
    shown = preview(
        found if several else found[name], Horizon(**asked.horizon), asked.lr, title="" if several else name
    )
    print(shown)
    if asked.csv:
        shown.to_csv(asked.csv)
        print(f"\nWritten: {asked.csv}")
    if asked.picture:
        save_figure(shown.plot(), Path(asked.picture))
        print(f"\nDrawn: {asked.picture}")
    return 0


class Command(NamedTuple):
    """What the program can be told to do: how it is done, its help text, and what it does in a few words."""

    run: Callable[[Sequence[str]], int]  # returns the exit status
    usage: Callable[[], str]
    does: str


COMMANDS = {
    "preview": Command(_preview, usage, "what a schedule will do, without training"),
    "inspect": Command(_inspect, lambda: INSPECT_USAGE, "what a checkpoint holds about learning rates"),
    "audit": Command(_audit, lambda: AUDIT_USAGE, "what is out of order in the LRs that a run has recorded"),
}


class Request(NamedTuple):
    """What was asked for, by key; ``knobs`` are the values of the schedule, ``horizon`` the facts about the run."""

    schedules: list[str]
    knobs: dict[str, Any]
    horizon: dict[str, Any]
    lr: Any
    picture: str | None
    csv: str | None
    column: str | None


def read_request(typed: Iterable[str], keys: Sequence[str] = KEYS) -> Request:
    """Read ``key=value`` arguments.

    Raises:
        ValueError: an argument has no ``=`` or an unknown key.
    """
    values, knobs, lrs = {}, {}, {}
    for argument in typed:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"{checks.brief(argument)} cannot be read: write key=value, as in schedule=warmup_cosine")
        if key.startswith("schedule."):
            knobs[key.removeprefix("schedule.")] = _value(argument, text)
        elif key.startswith("lr.") and keys is KEYS:  # a record has its groups, and one peak is enough to know them all
            lrs[key.removeprefix("lr.")] = _value(argument, text)
        elif key in keys:
            values[key] = text if key in _TEXTS else _value(argument, text)
        else:
            raise ValueError(
                f"{checks.brief(key)} is unknown{checks.nearest(key, keys)}; there are {', '.join(keys)}, schedule.KNOB"
            )
    names = [name.strip() for name in values.get("schedule", "").split(",") if name.strip()]
    facts = {name: _as_count(values.get(name)) for name in FACTS}
    if lrs and "lr" in values:
        raise ValueError(f"lr={values['lr']} is of all groups, and lr.{next(iter(lrs))} of one: give only one of them")
    lr = lrs or values.get("lr")
    return Request(names, knobs, facts, lr, *(values.get(name) for name in ("picture", "csv", "column")))


def _check_lr(asked: Request) -> None:
    if asked.lr is None and asked.knobs.get("min_lr") is not None:
        raise ValueError(
            f"schedule.min_lr={checks.brief(asked.knobs['min_lr'])} needs the base LR: give it, as in lr=0.001"
        )


def schedule_names() -> list[str]:
    """Return the names that ``schedule=`` takes, sorted."""
    return sorted(NAMED)


def schedule_of(name: str, knobs: dict[str, Any]) -> schedules.Schedule:
    """Return the schedule of a name, with some of its values replaced.

    Raises:
        ValueError: there is no such schedule, it has no such value, or a value is out of range.
    """
    schedule = schedule_named(name)
    _check_knobs(name, knobs, schedule)
    return dataclasses.replace(schedule, **knobs)


def _of_others(name: str, knobs: dict[str, Any]) -> schedules.Schedule:
    """A schedule that is made of others: each is typed as a name, and its knobs below it, as ``groups.head.warmup``."""
    within: dict[str, dict[str, Any]] = {path: {} for path in knobs if path.rpartition(".")[0] not in knobs}
    for path, value in knobs.items():
        above, _, knob = path.rpartition(".")
        if path not in within:
            within.setdefault(above, {})[knob] = value
    given: dict[str, Any] = {}
    for path, inner in within.items():
        one = schedule_of(str(knobs[path]), inner) if inner else knobs[path]
        field, dot, key = path.partition(".")
        if dot:
            given.setdefault(field, {})[key] = one
        else:
            given[field] = one
    if name == "by_group":  # the other one takes the name of any number
        _check_knobs(name, given, schedules.ByGroup)
    return OF_OTHERS[name](**given)


def _check_knobs(name: str, knobs: Iterable[str], schedule: Any) -> None:
    known = [field.name for field in dataclasses.fields(schedule) if field.init]
    for knob in knobs:
        if knob not in known:
            raise ValueError(
                f"schedule={name} has no {checks.brief(knob)}{checks.nearest(knob, known)}; it has {', '.join(known)}"
            )


def _value(argument: str, text: str) -> Any:
    """A value as Hydra would read it: a number, true, null, a list, else text."""
    try:
        return checks.plain(_read_yaml(text))  # which fails at a list that is in itself, as YAML can write it
    except Exception as error:  # of the YAML reader: no common base
        why = " ".join(str(error).split())
        raise ValueError(
            f"{checks.brief(argument)} cannot be read: {why[:200]}; write a number, true, null, a list or text"
        ) from error


def _read_yaml(text: str) -> Any:
    import yaml  # type: ignore[import-untyped]

    return yaml.load(text, Loader=_loader())


@functools.cache
def _loader() -> Any:
    """Return PyYAML's reader with the scalars of Hydra: 1e-3 is a number and not text, and nothing is a date."""
    import yaml

    scalars = {
        first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    loader: Any = type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": scalars})
    number = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return loader


def _as_count(value: Any) -> Any:
    """1e4 is 10000: who writes it means a count."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _explained(error: ValueError | OSError | ImportError) -> str:
    """A mistake in words that fit this command line: facts about the run are typed here, and files named."""
    if isinstance(error, HorizonError):
        return f"{error.needs}: give it, as in {error.fact}={EXAMPLES[error.fact]}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename} cannot be written ({error.strerror}): choose another path"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
