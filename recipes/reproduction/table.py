"""The rows of the table: a setting, the schedules that are tried for it, and the LRs to begin with.

Fixed before any run: every schedule of a row, the fixed LR included, gets the same grid of LRs with factor 2 and is
tuned on its own; a grid grows while its best LR lies on an edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BASELINE = "fixed"


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        name: of the row, and of its recipe unless ``recipe`` names another.
        setting: the table's words for it.
        schedules: name -> what to type after ``recipe=...``; ``fixed`` is what the others are compared with.
        recommended: those that the table names.
        lrs: the LRs that every schedule is tried at first.
        published_lr: the middle of those where the published setting is trained.
        seeds: evaluation seeds.
        tuning_seeds: other seeds, on which the LR of each schedule is chosen.
        warmup: a schedule without warmup, and the same with it, whose usable LRs are compared; or nothing.
        recipe: the recipe, where it does not have the row's name.
        extra: whether it is not a row of the table itself but shows where its advice ends.
        short: what to type for a run of a few updates that tries the machinery.
        why: why the schedule suits the setting, and what happens without it.
    """

    name: str
    setting: str
    schedules: dict[str, tuple[str, ...]]
    recommended: tuple[str, ...]
    lrs: tuple[float, ...]
    published_lr: float
    seeds: int
    why: str
    tuning_seeds: int = 3
    warmup: tuple[str, ...] = ()
    recipe: str = ""
    extra: bool = False
    short: tuple[str, ...] = ("trainer.max_epochs=1", "trainer.limit_train_batches=4")

    def overrides(self, schedule: str) -> tuple[str, ...]:
        """Return what to type for a schedule after ``python train.py``."""
        return (f"recipe={self.recipe or self.name}", *self.schedules[schedule])

    def published(self) -> Row:
        """Return the row at the size of the publication, which its recipe says."""
        schedules = {
            name: tuple(one for one in overrides if not one.startswith("trainer."))
            for name, overrides in self.schedules.items()
        }
        lrs = (self.published_lr / 2, self.published_lr, self.published_lr * 2)
        return replace(self, schedules=schedules, recipe=f"published/{self.name}", lrs=lrs)

    def quick(self) -> Row:
        """Return the row at the size that only tries the machinery."""
        schedules = {name: (*overrides, *self.short) for name, overrides in self.schedules.items()}
        return replace(self, schedules=schedules, lrs=self.lrs[:2], seeds=2, tuning_seeds=1, warmup=())


_FIXED = ("schedule=fixed", "schedule.warmup=0")
ROWS = (
    Row(
        "small_experiment",
        "Small experiment",
        {BASELINE: _FIXED, "plateau": ("schedule=plateau", "schedule.warmup=0")},
        recommended=("plateau",),
        lrs=(0.005, 0.01, 0.02),
        published_lr=0.001,
        seeds=5,
        why=(
            "Nobody knows yet how long training will take, so a schedule that needs an end is a guess. The plateau "
            "schedule keeps the LR while the validation loss improves and cuts it when it no longer does. At a fixed "
            "LR the noise of the gradients keeps the weights moving around the minimum to the end."
        ),
    ),
    Row(
        "classical_cnn",
        "Classical CNN training",
        {
            BASELINE: _FIXED,
            "step": ("schedule=step", "schedule.step_size='30%'", "schedule.warmup=0"),
            "multistep": ("schedule=multistep", "schedule.warmup=0"),
            "cosine": ("schedule=cosine", "schedule.warmup=0"),
            "warmup_cosine": ("schedule=warmup_cosine",),
            "warmup_cosine_1_epoch": ("schedule=warmup_cosine", "schedule.warmup='1 epoch'"),
        },
        recommended=("step", "multistep", "cosine"),
        lrs=(0.05, 0.1, 0.2),
        published_lr=0.1,
        seeds=5,
        tuning_seeds=2,
        warmup=("cosine", "warmup_cosine", "warmup_cosine_1_epoch"),
        why=(
            "SGD with momentum explores at a high LR and converges at a low one; where the change comes, in steps or "
            "along a cosine, matters less than that it comes. Without it the last weights carry the noise of the last "
            "gradients. `warmup_cosine_1_epoch` was added after the others had been measured, since a warmup of 5 % "
            "is 30 updates here."
        ),
    ),
    Row(
        "transformer",
        "Transformer training",
        {
            BASELINE: (*_FIXED, "trainer.max_epochs=4"),
            "warmup_cosine": ("schedule=warmup_cosine", "trainer.max_epochs=4"),
            "warmup_linear": ("schedule=warmup_linear", "trainer.max_epochs=4"),
        },
        recommended=("warmup_cosine", "warmup_linear"),
        lrs=(0.002, 0.004, 0.008),
        published_lr=0.0006,
        seeds=5,
        tuning_seeds=2,
        why=(
            "Adam's averages know nothing at the start, so its first steps are large and badly aimed; warmup makes "
            "them small. The decay then averages the noise away. Without them the LR must be low enough for the end "
            "of the run, which is slow at its start."
        ),
    ),
    Row(
        "large_batch",
        "Large-batch training",
        {
            BASELINE: _FIXED,
            "linear": ("schedule=linear", "schedule.warmup=0"),
            "warmup_linear": ("schedule=warmup_linear", "schedule.warmup='5 epochs'"),
        },
        recommended=("warmup_linear",),
        lrs=(0.2, 0.4, 0.8),
        published_lr=0.8,
        seeds=5,
        tuning_seeds=2,
        warmup=("linear", "warmup_linear"),
        short=("trainer.max_epochs=6", "trainer.limit_train_batches=2"),  # more than the warmup of 5 epochs
        why=(
            "A large batch leaves few updates, so each must be large, and the first weights bear that least. Warmup "
            "lets the LR grow as they come to bear it, and the decay ends the run at a low one. `linear` is the same "
            "decay without warmup."
        ),
    ),
    Row(
        "fast_supervised",
        "Fast supervised training",
        {BASELINE: _FIXED, "one_cycle": ("schedule=one_cycle",)},
        recommended=("one_cycle",),
        lrs=(0.1, 0.2, 0.4),
        published_lr=0.4,
        seeds=5,
        tuning_seeds=2,
        why=(
            "One cycle goes up to an LR that could not be held, while momentum goes down, and far down again. It "
            "spends the time at high LRs on progress and the end on convergence, so a short run ends well."
        ),
    ),
    Row(
        "fine_tuning",
        "Fine-tuning pretrained models",
        {BASELINE: _FIXED, "warmup_linear": ("schedule=warmup_linear",)},
        recommended=("warmup_linear",),
        lrs=(0.0005, 0.001, 0.002),
        published_lr=0.00002,
        seeds=10,
        short=(
            "trainer.max_epochs=1",
            "trainer.limit_train_batches=4",
            "pretraining=['data=glyphs','data.characters=letters','data.num_classes=26','trainer.max_steps=4']",
        ),
        why=(
            "The weights are good already, and a new head sends random gradients into them: warmup keeps the first of "
            "them small. The decay to zero ends a run that is too short to find a minimum by itself."
        ),
    ),
    Row(
        "transformer_short",
        "Transformer, only 400 updates",
        {
            BASELINE: (*_FIXED, "trainer.max_steps=400"),
            "warmup_linear": ("schedule=warmup_linear", "trainer.max_steps=400"),
        },
        recommended=("warmup_linear",),
        lrs=(0.002, 0.004, 0.008),
        published_lr=0.0006,
        seeds=5,
        tuning_seeds=2,
        recipe="transformer",
        extra=True,
        why=(
            "The transformer row with 400 of its 1,000 updates: does a schedule pay in a run that is far from its end?"
        ),
    ),
)


def rows_of(names: list[str]) -> list[Row]:
    """Return rows by name, in the order of the table.

    Raises:
        ValueError: a name is not that of a row.
    """
    from lr_recipes.checks import nearest

    known = [row.name for row in ROWS]
    for name in names:
        if name not in [*known, "all"]:
            raise ValueError(
                f"rows={name} is unknown{nearest(name, known, most=2)}: choose all, or some of {', '.join(known)}"
            )
    return [row for row in ROWS if "all" in names or row.name in names]
