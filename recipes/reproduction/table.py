"""The rows of the table of settings and schedules, and their second tasks: a row holds when it holds on both."""

from __future__ import annotations

from typing import Any

from recipes.reproduction.row import BASELINE, DEFAULT, DEFAULT_LR, RANGE_TEST, TYPED_FOR_DEFAULT, Row, typed

_FIXED = ("schedule=fixed", "schedule.warmup=0")
_UNTUNED = {DEFAULT: DEFAULT_LR, RANGE_TEST: 1.0}  # it tries all LRs
_AS_IT_IS = {DEFAULT: TYPED_FOR_DEFAULT, RANGE_TEST: ("task=range_test",)}
_DECAYS = {
    BASELINE: _FIXED,
    "step": ("schedule=step", "schedule.step_size='30%'", "schedule.warmup=0"),
    "multistep": ("schedule=multistep", "schedule.warmup=0"),
    "cosine": ("schedule=cosine", "schedule.warmup=0"),
}

SMALL_EXPERIMENT = Row(
    "small_experiment",
    "Small experiment",
    {BASELINE: _FIXED, "plateau": ("schedule=plateau", "schedule.warmup=0")},
    recommended=("plateau",),
    lrs=(0.005, 0.01, 0.02),
    published_lr=0.001,
    also=_AS_IT_IS,
    untuned=_UNTUNED,
    task="CNN, 1,000 handwritten digits, a tenth of the labels wrong, 1,860 updates",
    why=(
        "Nobody knows yet how long training will take, so a schedule that needs an end is a guess. The plateau "
        "schedule keeps the LR while the validation loss improves and cuts it when it no longer does. At a fixed "
        "LR the noise of the gradients keeps the weights moving around the minimum to the end."
    ),
)
CNN = Row(
    "classical_cnn",
    "Classical CNN training",
    {**_DECAYS, "warmup_cosine": ("schedule=warmup_cosine", "schedule.warmup='1 epoch'")},
    recommended=("step", "multistep", "cosine"),
    lrs=(0.1, 0.2, 0.4),
    published_lr=0.1,
    also=_AS_IT_IS,
    untuned=_UNTUNED,
    warmup=("cosine", "warmup_cosine"),
    task="CNN, printed characters made anew for every batch, a tenth of the labels wrong, 1,000 updates",
    why=(
        "SGD with momentum explores at a high LR and converges at a low one; where the change comes, in steps or "
        "along a cosine, matters less than that it comes. Without it the last weights carry the noise of the last "
        "gradients."
    ),
)
_WARMUPS = {
    BASELINE: _FIXED,
    "warmup_cosine": ("schedule=warmup_cosine",),
    "warmup_linear": ("schedule=warmup_linear",),
}
AT_ALL_LENGTHS = {  # of them it is said that one run, with one LR, is as good as a cosine at every length
    "warmup_stable_decay": ("schedule=warmup_stable_decay", "schedule.warmup=75"),
    "inverse_sqrt_averaged": (
        "schedule=inverse_sqrt",
        "schedule.warmup=75",
        "callbacks=[learning_rate_scheduler,learning_rate_logger,weight_averaging]",
    ),
}
TRANSFORMER_1500 = Row(
    "transformer_1500",
    "Transformer, 1,500 updates",
    _WARMUPS,
    recommended=("warmup_cosine", "warmup_linear"),
    lrs=(0.002, 0.004, 0.008),
    part="length",
    of="transformer",
    also={
        "linear": ("schedule=linear", "schedule.warmup=0"),
        "warmup_cosine_to_10": ("schedule=warmup_cosine", "schedule.min_lr_ratio=0.1"),
        **AT_ALL_LENGTHS,
        "warmup_stable_linear": ("schedule=warmup_stable_decay", "schedule.decay_type=linear", "schedule.warmup=75"),
        "schedule_free": ("optimizer=schedule_free", "schedule=fixed", "schedule.warmup=5%"),
    },
    warmup=("linear", "warmup_linear"),
    recipe="transformer",
    task="1,500 updates of the transformer's task",
    why="The transformer row with 1,500 updates in place of 3,000.",
)
_LONGER = "trainer.max_epochs=12"
TRANSFORMER = Row(
    "transformer",
    "Transformer training",
    typed(_WARMUPS, _LONGER),
    recommended=TRANSFORMER_1500.recommended,
    lrs=TRANSFORMER_1500.lrs,
    published_lr=0.0006,
    also={**_AS_IT_IS, DEFAULT: (*TYPED_FOR_DEFAULT, _LONGER), **typed(AT_ALL_LENGTHS, _LONGER)},
    untuned=_UNTUNED,
    tuned_in=(TRANSFORMER_1500, tuple(AT_ALL_LENGTHS)),
    task="GPT of 2 layers, Python's help topics by characters, 3,000 updates",
    why=(
        "Adam's averages know nothing at the start, so its first steps are large and badly aimed; warmup makes "
        "them small. The decay then averages the noise away. Without them the LR must be low enough for the end "
        "of the run, which is slow at its start. The row was lengthened: it was first measured over 1,500 updates, "
        "which stand among the lengths."
    ),
)
LARGE_BATCH = Row(
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
    also=_AS_IT_IS,
    untuned=_UNTUNED,
    warmup=("linear", "warmup_linear"),
    short=("trainer.max_epochs=6", "trainer.limit_train_batches=2"),  # more than the warmup of 5 epochs
    task="the CNN's characters in batches of 512, 252 updates",
    why=(
        "A large batch leaves few updates, so each must be large, and the first weights bear that least. Warmup "
        "lets the LR grow as they come to bear it, and the decay ends the run at a low one. `linear` is the same "
        "decay without warmup."
    ),
)
FAST = Row(
    "fast_supervised",
    "Fast supervised training",
    {BASELINE: _FIXED, "one_cycle": ("schedule=one_cycle",)},
    recommended=("one_cycle",),
    lrs=(0.1, 0.2, 0.4),
    published_lr=0.4,
    also={**_AS_IT_IS, "one_cycle_lr_only": ("schedule=one_cycle", "schedule.cycle_momentum=false")},
    untuned=_UNTUNED,
    task="the CNN's characters, 600 updates",
    why=(
        "One cycle goes up to an LR that could not be held, while momentum goes down, and far down again. It "
        "spends the time at high LRs on progress and the end on convergence, so a short run ends well."
    ),
)
FINE_TUNING = Row(
    "fine_tuning",
    "Fine-tuning pretrained models",
    {BASELINE: _FIXED, "warmup_linear": ("schedule=warmup_linear",)},
    recommended=("warmup_linear",),
    lrs=(0.0005, 0.001, 0.002),
    published_lr=0.00002,
    also=_AS_IT_IS,
    untuned=_UNTUNED,
    short=(
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=4",
        "pretraining=['data=glyphs','data.characters=letters','data.num_classes=26','trainer.max_steps=4']",
    ),
    task="CNN pretrained on printed letters, then 300 handwritten digits, 111 updates",
    why=(
        "The weights are good already, and a new head sends random gradients into them: warmup keeps the first of "
        "them small. The decay to zero ends a run that is too short to find a minimum by itself. A "
        "small LR is advice for large models: here the best one is as large as that of the pretraining."
    ),
)


def _again(row: Row, name: str, lrs: tuple[float, ...], task: str, why: str, **more: Any) -> Row:
    """Return the second task of a row: the same setting and schedules, unless ``more`` says otherwise."""
    own = {"schedules": row.schedules, "recommended": row.recommended, "also": _AS_IT_IS, "untuned": _UNTUNED}
    return Row(name, row.setting, lrs=lrs, task=task, why=why, part="second", of=row.name, **{**own, **more})


_SIGNALS = "CNN of one dimension, MNIST-1D (Greydanus and Kobak 2024, https://arxiv.org/abs/2011.14439)"
SMALL_SIGNALS = _again(
    SMALL_EXPERIMENT,
    "small_experiment_signals",
    lrs=(0.05, 0.1, 0.2),
    task=f"{_SIGNALS}, 1,860 updates",
    why="The second task: 4,000 signals of 40 numbers that pass for digits, with right labels.",
    schedules={BASELINE: _FIXED, "plateau": ("schedule=plateau", "schedule.warmup=0", "schedule.patience=5")},
    recipe="signals/small_experiment",
)
CNN_SIGNALS = _again(
    CNN,
    "classical_cnn_signals",
    lrs=(0.05, 0.1, 0.2),
    task=f"{_SIGNALS}, 992 updates",
    why="The second task: 4,000 signals, seen 16 times.",
    schedules=_DECAYS,
    recipe="signals/classical_cnn",
)
TRANSFORMER_CODE = _again(
    TRANSFORMER,
    "transformer_code",
    lrs=TRANSFORMER.lrs,
    schedules=_WARMUPS,
    task="the same GPT, the source of eight modules of Python by bytes, 1,500 updates",
    why="The second task: code in place of English, bytes in place of characters.",
)
FAST_SIGNALS = _again(
    FAST,
    "fast_supervised_signals",
    lrs=(0.05, 0.1, 0.2),
    task=f"{_SIGNALS}, 620 updates",
    why="The second task: 4,000 signals, seen 10 times.",
    also=FAST.also,
    recipe="signals/fast_supervised",
)
FINE_TUNING_TEXT = _again(
    FINE_TUNING,
    "fine_tuning_text",
    lrs=FINE_TUNING.lrs,
    task="the GPT pretrained on the help topics by bytes, then the source of one module, 300 updates",
    why="The second task: a language model in place of a CNN.",
    short=(
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=4",
        "pretraining=['recipe=transformer','data.level=byte','trainer.max_epochs=1','trainer.max_steps=4']",
    ),
)
TABLE = (
    SMALL_EXPERIMENT,
    CNN,
    TRANSFORMER,
    LARGE_BATCH,
    FAST,
    FINE_TUNING,
    SMALL_SIGNALS,
    CNN_SIGNALS,
    TRANSFORMER_CODE,
    FAST_SIGNALS,
    FINE_TUNING_TEXT,
)
