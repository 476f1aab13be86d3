"""Learning-rate schedules for PyTorch Lightning that are used exactly as they were planned.

Names are resolved on first use, so ``import lr_recipes`` imports neither torch nor lightning: Hydra scans this
package's search path plugin in every application of the environment, and must not pay for torch there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lr_recipes.plan import sight

if TYPE_CHECKING:
    from lr_recipes import lr_scheduler, schedules
    from lr_recipes.callbacks.foretelling import forecast
    from lr_recipes.callbacks.learning_rate_logger import LearningRateLogger
    from lr_recipes.callbacks.learning_rate_range_test import LearningRateRangeTest, range_test
    from lr_recipes.callbacks.learning_rate_scheduler import LearningRateScheduler
    from lr_recipes.callbacks.learning_rate_warmup import LearningRateWarmup
    from lr_recipes.plan.horizon import Horizon
    from lr_recipes.report.preview import preview

__version__ = "0.1.0"

# Public name -> (module, attribute); an empty attribute stands for the module itself.
_WHERE = {
    "schedules": ("lr_recipes.schedules", ""),
    "Horizon": ("lr_recipes.plan.horizon", "Horizon"),
    "LearningRateLogger": ("lr_recipes.callbacks.learning_rate_logger", "LearningRateLogger"),
    "LearningRateRangeTest": ("lr_recipes.callbacks.learning_rate_range_test", "LearningRateRangeTest"),
    "LearningRateScheduler": ("lr_recipes.callbacks.learning_rate_scheduler", "LearningRateScheduler"),
    "LearningRateWarmup": ("lr_recipes.callbacks.learning_rate_warmup", "LearningRateWarmup"),
    "forecast": ("lr_recipes.callbacks.foretelling", "forecast"),
    "preview": ("lr_recipes.report.preview", "preview"),
    "lr_scheduler": ("lr_recipes.lr_scheduler", ""),
    "range_test": ("lr_recipes.callbacks.learning_rate_range_test", "range_test"),
}
__all__ = [
    "Horizon",
    "LearningRateLogger",
    "LearningRateRangeTest",
    "LearningRateScheduler",
    "LearningRateWarmup",
    "forecast",
    "lr_scheduler",
    "preview",
    "range_test",
    "schedules",
]


def _as_html(one: Any) -> str:
    """What a notebook shows of something of a low floor, which cannot ask the floor of reports itself."""
    html: str = importlib.import_module("lr_recipes.report.sights").as_html(one)
    return html


sight.html_of = _as_html


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        from lr_recipes.checks import nearest

        raise AttributeError(
            f"lr_recipes has no attribute {name!r}{nearest(name, __all__)}; it has {', '.join(__all__)}"
        )
    module, attribute = _WHERE[name]
    found = importlib.import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
