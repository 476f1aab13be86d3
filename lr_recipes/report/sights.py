"""What a notebook shows of a schedule, a curve and a plan: the text, and the picture where there is one. No torch.

They stand on lower floors and know nothing of this module: the package hands them the way here (``plan/sight.py``).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import TYPE_CHECKING, Any, cast

from lr_recipes.plan.curve import Curve
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.names import distinct
from lr_recipes.plan.plan import Plan, Source
from lr_recipes.report.preview import Preview, preview
from lr_recipes.report.shown import in_html
from lr_recipes.schedules import Schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UPDATES = 1000  # of the run that a schedule is shown on, which alone has none
_AS_GOOD_AS_EQUAL = (
    0.02  # of the peak: a run four times as long differs by less at each share of it, where all lengths are shares
)


def as_html(one: Any) -> str:
    """Return what a notebook shows of a schedule, a curve or a plan."""
    if isinstance(one, Schedule):
        return in_html(_knobs(one), lambda: form_of(one), "the form of the schedule")
    if isinstance(one, Plan):
        title = type(one.schedule).__name__ if isinstance(one.schedule, Schedule) else repr(one.schedule)
        in_step = {key for curve in one.curves for key in curve.beside}
        shares = [key for key in one.moves if key not in one.built.others and key not in in_step]
        shown = Preview(one, distinct(one.built.names), "step", title, shares=shares)
    else:
        shown = _of_curve(one)
    return in_html(shown.table, shown.plot, "its curve")


def _knobs(schedule: Schedule) -> str:
    """The schedule as somebody would write it, and every knob that it has."""
    knobs = [(field.name, getattr(schedule, field.name)) for field in dataclasses.fields(schedule) if field.init]
    width = max(len(name) for name, _ in knobs)
    return "\n".join([repr(schedule), *(f"  {name:<{width}}  {value!r}" for name, value in knobs)])


def form_of(schedule: Schedule) -> Figure | None:
    """Return the factor over a run of 1,000 updates; ``None`` where that is not enough to know it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a warmup that is long for this run, which is nobody's
            shown: Preview = preview(schedule, _UPDATES)
            longer: Preview = preview(schedule, 4 * _UPDATES)
            figure = shown.plot()
    except ImportError:
        raise
    except Exception:  # it needs epochs, a peak, or is somebody's own: the words are there
        return None
    shares = range(0, _UPDATES, 50)
    lines = zip(shown.plan.lines, longer.plan.lines, strict=True)
    pairs = [(line.curve(n), later.curve(4 * n)) for line, later in lines for n in shares]
    in_shares = all(math.isclose(one, other, rel_tol=0, abs_tol=_AS_GOOD_AS_EQUAL) for one, other in pairs)
    figure.suptitle("")
    figure.axes[-1].set_xlabel("share of the run" if in_shares else f"optimizer update of a run of {_UPDATES:,}")
    if in_shares:
        figure.axes[-1].xaxis.set_major_formatter(lambda update, _: f"{100 * update / _UPDATES:g}%")
    return figure


def _of_curve(curve: Curve) -> Preview:
    horizon = Horizon(total_steps=curve.total_steps)
    # Whatever made the curve is gone; a plan's sight asks it for no more than its words, and those are the curve's own.
    plan = Plan.of(cast(Source, curve), horizon, curve, [1.0], 1.0)
    return Preview(plan, ["group0"], "step", "Curve", absolute=False)
