"""Schedules by name: each is what the file of that name makes of it, wherever a schedule is taken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lr_recipes import LearningRateScheduler, preview, schedules
from lr_recipes.schedules.named import as_schedule, schedule_named
from tests.callbacks.harness import fit, plan

WARM = schedules.Cosine(warmup="5%")


@pytest.mark.parametrize("name", ["warmup_cosine", "WarmupCosine", "warmup-cosine", "WARMUP_COSINE"])
def test_a_name_is_taken_however_its_words_are_joined(name: str) -> None:
    assert schedule_named(name) == WARM


# What a schedule is made of, and schedules that are made of objects.
WITHOUT = {"ByGroup", "Hyperparameters", "Product", "Schedule", "Sequence", "Shape", "Span", "ToFloor", "TorchSchedule"}


@pytest.mark.parametrize("kind", sorted(set(schedules.__all__) - WITHOUT))
def test_the_name_of_a_class_is_a_schedule_of_that_class(kind: str) -> None:
    assert type(schedule_named(kind)) is getattr(schedules, kind)


@pytest.mark.parametrize("name", ["warmup_cosin", "Cosin", "", "TorchSchedule", "cos ine"])
def test_an_unknown_name_lists_those_that_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"is unknown.*choose one of cosine, .*, warmup_step$"):
        schedule_named(name)


def test_what_is_no_name_stays_what_it_is() -> None:
    assert as_schedule(WARM) is WARM
    assert as_schedule(3) == 3


def test_a_preview_takes_names() -> None:
    assert str(preview("warmup_cosine", 1000)) == str(preview(WARM, 1000))
    compared = preview({"a": "warmup_cosine", "b": schedules.Linear()}, 1000)
    assert str(compared) == str(preview({"a": WARM, "b": schedules.Linear()}, 1000))


def test_the_scheduler_takes_names() -> None:
    run = fit(callbacks=[LearningRateScheduler("warmup_cosine")], max_epochs=5)
    assert run.used == plan(WARM, 40)
    assert LearningRateScheduler({"Adam": "OneCycle", 1: WARM}).schedule == {"Adam": schedules.OneCycle(), 1: WARM}


def test_names_need_neither_omegaconf_nor_torch() -> None:
    code = (
        "import sys; from lr_recipes import preview; preview('OneCycle', 1000).table;"
        "print({'omegaconf', 'torch', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
