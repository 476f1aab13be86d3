"""What goes beyond the table: its runs at other lengths, and claims of the literature, written before they were run."""

from __future__ import annotations

from recipes.reproduction.row import BASELINE, Claim, Row, typed
from recipes.reproduction.table import AT_ALL_LENGTHS, CNN_SIGNALS, FAST, FAST_SIGNALS, TRANSFORMER, TRANSFORMER_1500

SAME = 0.02  # nats: within this a schedule is as good as another, unless a claim is of a smaller difference


def _transformer_of(updates: int) -> Row:
    more = f"trainer.max_steps={updates}"
    return Row(
        f"transformer_{updates}",
        f"Transformer, {updates:,} updates",
        typed(TRANSFORMER_1500.schedules, more),
        recommended=TRANSFORMER.recommended,
        lrs=TRANSFORMER.lrs,
        part="length",
        of=TRANSFORMER.name,
        also=typed(AT_ALL_LENGTHS, more),
        tuned_in=(TRANSFORMER_1500, tuple(AT_ALL_LENGTHS)),
        recipe=TRANSFORMER.name,
        task=f"{updates:,} updates of the transformer's task",
        why=f"The transformer row with {updates:,} updates in place of 3,000.",
    )


def _signals_of(epochs: int) -> Row:
    updates = 62 * epochs
    more = f"trainer.max_epochs={epochs}"
    return Row(
        f"classical_cnn_signals_{updates}",
        f"Classical CNN, {updates:,} updates",
        typed({name: CNN_SIGNALS.schedules[name] for name in (BASELINE, "cosine")}, more),
        recommended=("cosine",),
        lrs=CNN_SIGNALS.lrs,
        part="length",
        of=CNN_SIGNALS.name,
        recipe=CNN_SIGNALS.recipe,
        task=f"{updates:,} updates of the second task",
        why=f"The second task of the CNN row with {updates:,} updates in place of 992.",
    )


_LINES = {"linear": ("schedule=linear", "schedule.warmup=0"), "warmup_linear": ("schedule=warmup_linear",)}
TRANSFORMER_MUON = Row(
    "transformer_muon",
    "Transformer with Muon",
    typed(_LINES, "optimizer=muon", "trainer.max_steps=300"),
    recommended=("warmup_linear",),
    lrs=(0.004, 0.008, 0.016),
    part="literature",
    of=TRANSFORMER.name,
    warmup=("linear", "warmup_linear"),
    recipe=TRANSFORMER.name,
    task="the GPT with Muon for its hidden matrices, 300 updates",
    why="Muon makes all directions of a matrix's update equally large, from the first update on.",
)
TRANSFORMER_SGD = Row(
    "transformer_sgd",
    "Transformer with SGD",
    typed(_LINES, "optimizer=sgd", "trainer.max_steps=500"),
    recommended=("warmup_linear",),
    lrs=(0.2, 0.4, 0.8),
    part="warmup",
    of=TRANSFORMER.name,
    seeds=0,
    warmup=("linear", "warmup_linear"),
    recipe=TRANSFORMER.name,
    task="the GPT with SGD, 500 updates",
    why="SGD has nothing that bounds an update but the LR, and the clipping of its gradients.",
)
FURTHER = (
    *map(_transformer_of, (400, 800)),
    TRANSFORMER_1500,
    TRANSFORMER_MUON,
    *map(_signals_of, (2, 4, 8, 24)),
    TRANSFORMER_SGD,
)

CLAIMS = (
    Claim(
        TRANSFORMER_1500.name,
        "warmup_linear",
        "warmup_cosine_to_10",
        "A line to zero ends lower than a cosine to 10 % of the peak",
        "Bergsma et al. 2025, https://arxiv.org/abs/2502.15938",
    ),
    Claim(
        TRANSFORMER_1500.name,
        "warmup_stable_decay",
        "warmup_cosine",
        "Warmup, a constant LR and a short decay end as low as a cosine",
        "Hägele et al. 2024, https://arxiv.org/abs/2405.18392",
        SAME,
    ),
    *(
        Claim(
            row,
            "warmup_stable_decay",
            "warmup_cosine",
            f"Branched off the same run after {updates * 4 // 5:,} updates, as low as a cosine of {updates:,}",
            "Hägele et al. 2024",
            SAME,
        )
        for updates, row in ((400, "transformer_400"), (800, "transformer_800"), (3000, TRANSFORMER.name))
    ),
    Claim(
        TRANSFORMER_1500.name,
        "warmup_stable_decay",
        "warmup_stable_linear",
        "A short decay of the shape 1 - sqrt ends lower than a straight one",
        "Hägele et al. 2024",
    ),
    *(
        Claim(
            row,
            "inverse_sqrt_averaged",
            "warmup_cosine",
            f"An LR that falls as 1/sqrt, with averaged weights, is as low after {updates} updates as a cosine of them",
            "Meterez et al. 2026, https://arxiv.org/abs/2602.03702",
            SAME,
        )
        for updates, row in (
            ("400", "transformer_400"),
            ("800", "transformer_800"),
            ("1,500", TRANSFORMER_1500.name),
            ("3,000", TRANSFORMER.name),
        )
    ),
    Claim(
        TRANSFORMER_1500.name,
        "schedule_free",
        "warmup_cosine",
        "A schedule-free optimizer with a warmup ends lower than AdamW with a cosine",
        "Defazio et al. 2024, https://arxiv.org/abs/2405.15682",
    ),
    Claim(
        TRANSFORMER_MUON.name,
        "warmup_linear",
        "linear",
        "Muon ends lower with a warmup than without",
        "custom of published runs, such as Jordan et al. 2024, https://kellerjordan.github.io/posts/muon",
    ),
    *(
        Claim(
            row.name,
            "one_cycle",
            "one_cycle_lr_only",
            f"One cycle ends lower with a cycle of the momentum than without ({words})",
            "Smith 2018, https://arxiv.org/abs/1803.09820",
        )
        for row, words in ((FAST, "characters"), (FAST_SIGNALS, "MNIST-1D"))
    ),
)
