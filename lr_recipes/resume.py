"""The address that ``ResumeError`` had in 0.1.0; it lives in ``lr_recipes.plan.resume``."""

from lr_recipes.plan.resume import ResumeError

__all__ = ["ResumeError"]
