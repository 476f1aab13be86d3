"""Learning-rate schedules: frozen descriptions whose lengths carry units, which become functions of the position.

``Schedule``, ``ToFloor``, ``Shape`` and ``Span`` are what a schedule of one's own is made of. Only names stand here; a
new schedule is written in ``catalogue.py``, in ``cycles.py`` or, where its user says where it goes, in ``drawn.py``.
"""

from typing import TYPE_CHECKING, Any

from lr_recipes import checks
from lr_recipes.plan.curve import Curve as Curve
from lr_recipes.plan.curve import Phase as Phase
from lr_recipes.plan.curve import Shape
from lr_recipes.schedules import catalogue, cycles, drawn
from lr_recipes.schedules.base import Schedule, Span, ToFloor
from lr_recipes.schedules.base import from_description as from_description
from lr_recipes.schedules.catalogue import *  # noqa: F403 - so that a new schedule has its name in one list only
from lr_recipes.schedules.combined import ByGroup, Hyperparameters
from lr_recipes.schedules.cycles import *  # noqa: F403
from lr_recipes.schedules.drawn import *  # noqa: F403
from lr_recipes.schedules.from_torch import TorchSchedule
from lr_recipes.schedules.named import NAMED
from lr_recipes.schedules.plateau import Plateau
from lr_recipes.schedules.plateau import PlateauState as PlateauState

__all__ = ["ByGroup", "Hyperparameters", "Plateau", "Schedule", "Shape", "Span", "ToFloor", "TorchSchedule"]
__all__ += catalogue.__all__ + cycles.__all__ + drawn.__all__

if not TYPE_CHECKING:  # which finds a misspelt name by itself

    def __getattr__(name: str) -> Any:
        near = f" (did you mean {NAMED[name]!r}?)" if name in NAMED else checks.nearest(name, __all__)
        raise AttributeError(f"lr_recipes.schedules has no {name!r}{near}; it has {', '.join(sorted(__all__))}")
