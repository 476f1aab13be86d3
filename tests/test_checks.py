"""How a wrong value is answered: what was given, what is possible, what to change."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any, get_type_hints

import pytest

from lr_recipes import checks

KNOWN = ("step", "epoch")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("stpe", " (did you mean 'step'?)"),
        ("epohc", " (did you mean 'epoch'?)"),
        ("number_of_steps", ""),
        ("epoch_of_all", " (did you mean 'epoch'?)"),
        ("something", ""),
        ("", ""),
        (3, ""),
        (None, ""),
    ],
)
def test_nearest(name: object, answer: str) -> None:
    assert checks.nearest(name, KNOWN) == answer


def test_nearest_names_as_many_as_asked_for() -> None:
    known = ["val_loss", "val_los", "train"]
    assert checks.nearest("val_loos", iter(known), most=2) == " (did you mean 'val_los' or 'val_loss'?)"


def test_one_of() -> None:
    assert checks.one_of("interval", "epoch", KNOWN) == "epoch"
    assert checks.one_of("interval", "epoch", iter(KNOWN)) == "epoch"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("stpe", "interval='stpe' (did you mean 'step'?): must be one of step, epoch"),
        ("Step", "interval='Step' (did you mean 'step'?): must be one of step, epoch"),
        (None, "interval=None: must be one of step, epoch"),
        ([], "interval=[]: must be one of step, epoch"),
    ],
)
def test_none_of(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checks.one_of("interval", value, iter(KNOWN))


@pytest.mark.parametrize("value", [0, 1, 0.0, 0.5, 1.0])
def test_a_number_within_its_limits(value: float) -> None:
    """Both limits belong to them."""
    checks.number("gamma", value, 0, 1)


@pytest.mark.parametrize("value", [-1e-9, 1.0000001, math.nan, math.inf, -math.inf])
def test_a_number_outside_of_its_limits(value: float) -> None:
    with pytest.raises(ValueError, match=f"^gamma={value!r}: must be at least 0 and at most 1$"):
        checks.number("gamma", value, 0, 1)


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 1j])
def test_what_is_no_number(value: Any) -> None:
    message = f"^{re.escape(f'gamma={value!r}: must be a number, at least 0 and at most 1')}$"
    with pytest.raises(ValueError, match=message):
        checks.number("gamma", value, 0, 1)


def test_above_leaves_the_lower_limit_out() -> None:
    checks.number("power", 1e-300, 0, above=True)
    with pytest.raises(ValueError, match=r"^power=0: must be above 0, and finite$"):
        checks.number("power", 0, 0, above=True)


@pytest.mark.parametrize("value", [math.inf, math.nan, -1])
def test_without_an_upper_limit_a_number_is_finite(value: float) -> None:
    checks.number("power", 1e300, 0)
    with pytest.raises(ValueError, match=f"^power={value!r}: must be at least 0, and finite$"):
        checks.number("power", value, 0)


@pytest.mark.parametrize(
    ("value", "least", "whole"),
    [(1, 1, True), (0, 1, False), (0, 0, True), (True, 1, False), (2.0, 1, False), ("2", 1, False), (None, 1, False)],
)
def test_is_whole(value: Any, least: int, whole: bool) -> None:
    assert checks.is_whole(value, least) is whole


def test_flag() -> None:
    checks.flag("plot", True)
    checks.flag("plot", False)
    for value in (1, 0, "true", None):
        with pytest.raises(ValueError, match=f"^plot={value!r}: must be true or false$"):
            checks.flag("plot", value)


# Calls with arguments that are not taken


@checks.explains_arguments
def curve(length: int, gamma: float = 0.1, *, warmup: int = 0, floor: float = 0.0) -> tuple[Any, ...]:
    """A doc."""
    if length < 0:
        raise TypeError("a length of less than nothing")
    return length, gamma, warmup, floor


def test_a_right_call_does_what_it_did() -> None:
    assert curve(3, floor=0.5) == (3, 0.1, 0, 0.5)
    with pytest.raises(TypeError, match="less than nothing"):
        curve(-1)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: curve(1, warmpu=3), "curve() has no argument 'warmpu' (did you mean 'warmup'?); it takes length"),
        (lambda: curve(1, warmup_steps=3), "curve() has no argument 'warmup_steps' (did you mean 'warmup'?); it takes"),
        (lambda: curve(1, **{"x" * 10**4: 3}), "curve() has no argument 'xxx"),
        (lambda: curve(1, 2, "5%"), "'5%' is given to curve() without a name: write which it is, as in curve(warmup="),
        (lambda: curve(), "curve() needs length; it takes length, gamma, warmup, floor"),
        (lambda: curve(1, length=2), "curve() got multiple values for argument 'length'"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_answered(call: Any, answer: str) -> None:
    with pytest.raises(TypeError, match=re.escape(answer)) as caught:
        call()
    assert len(str(caught.value)) < 400


def test_a_class_answers_for_itself_and_what_is_derived_from_it() -> None:
    @checks.explains_arguments
    class Base:
        def __init__(self, *, width: int = 1) -> None:
            self.width = width

    class Derived(Base):
        pass

    assert Derived(width=2).width == 2
    with pytest.raises(TypeError, match=r"^Derived has no argument 'widht' \(did you mean 'width'\?\); it takes w"):
        Derived(widht=2)  # type: ignore[call-arg]


def test_others_see_the_signature_and_the_doc() -> None:
    assert list(inspect.signature(curve).parameters) == ["length", "gamma", "warmup", "floor"]
    assert (curve.__doc__, curve.__name__) == ("A doc.", "curve")
    assert get_type_hints(curve)["gamma"] is float
