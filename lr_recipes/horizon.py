"""The address of ``Duration``, ``Horizon`` and ``HorizonError`` in 0.1.0; they live in ``lr_recipes.plan.horizon``."""

from lr_recipes.plan.horizon import Duration, Horizon, HorizonError

__all__ = ["Duration", "Horizon", "HorizonError"]
