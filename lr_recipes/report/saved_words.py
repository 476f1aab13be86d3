"""What is saved in a checkpoint in words, for a terminal of 80 columns: names and values in it are a stranger's."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lr_recipes.checks import brief, counted, is_finite, one_line
from lr_recipes.report.chart import WIDTH
from lr_recipes.report.saved_scheduler import SavedScheduler
from lr_recipes.report.words import cut, few, with_gap

NAME_WIDTH = 24  # characters of a name
_LONGEST_TEXT, _LONGEST_WORD_SHOWN = 2000, 100  # of a text, and of a word in it


class Part(NamedTuple):
    """Something that a checkpoint holds: what is known of it, and that in words."""

    facts: dict[str, Any]
    words: str


def folded(label: str, text: str, indent: int = 2) -> str:
    """Return a line, continued below its beginning where it is longer than a terminal is wide."""
    begins = f"{' ' * indent}{label}{'  ' if label else ''}"
    rest = " " * (len(begins) if label else indent + 2)
    return textwrap.fill(
        one_line(cut(text, _LONGEST_TEXT)),
        WIDTH,
        initial_indent=begins,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def lrs_in_words(lrs: Sequence[Any]) -> str:
    """Return the LRs of groups; one where they are equal."""
    shown = [show_saved(lr) for lr in lrs]
    if len(set(shown)) == 1:
        return shown[0]
    return ", ".join(with_gap([shown[k] for k in few(len(shown))], len(shown), "groups"))


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Return settings as somebody would write them."""
    named = [f"{cut(name, NAME_WIDTH)}={show_saved(value)}" for name, value in settings.items()]
    return ", ".join(with_gap([named[k] for k in few(len(named))], len(named), "settings"))


def show_saved(value: Any) -> str:
    """Return a value as somebody would write it."""
    if isinstance(value, float) and is_finite(value):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(with_gap([show_saved(value[k]) for k in few(len(value))], len(value), 'values'))}]"
    if isinstance(value, str) and (value.isidentifier() or value.startswith("<")):  # a word, or what stands for a value
        return one_line(cut(value, _LONGEST_WORD_SHOWN))
    return brief(value)


def scheduler_in_words(begins: str, scheduler: SavedScheduler, deep: int = 0) -> str:
    """Return a line about a scheduler, which ``begins`` somehow, and one below it for each of its parts."""
    settings = settings_in_words(scheduler.settings)
    what = f"{scheduler.kind}({settings})" if scheduler.kind else f"none of torch's, with {settings or 'no settings'}"
    at = [] if scheduler.ticks is None else [_after(scheduler.ticks)]
    at += [f"LR {lrs_in_words(scheduler.last_lrs)}"] if scheduler.last_lrs and not deep else []
    at += [f"{name.replace('_', ' ')} {show_saved(value)}" for name, value in scheduler.seen.items()]
    text = folded("", begins + ", ".join([what, *at]), indent=2 * deep)
    parts = [scheduler.parts[k] for k in few(len(scheduler.parts))]
    inside = [scheduler_in_words("", part, deep + 1) for part in parts]
    return "\n".join([text, *with_gap(inside, len(scheduler.parts), "schedulers")])


def _after(ticks: int) -> str:
    return "not begun" if ticks < 0 else f"after {counted(ticks, 'tick')}"
