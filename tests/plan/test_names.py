"""Names as they are shown: in one line that can be seen, each another one, whatever they were."""

from __future__ import annotations

import random
import time

import pytest

from lr_recipes.plan.curve import Curve, Shape
from lr_recipes.plan.names import clean, distinct

pytestmark = pytest.mark.behaviour("B71")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("decay", "decay"),
        ('a, "b" $c_d$ =1+1', 'a, "b" $c_d$ =1+1'),
        ("größe 学习率 🙂", "größe 学习率 🙂"),
        ("", ""),
        ("two\nlines", r"two\nlines"),
        ("a\r\n\t\v\f\x1c\x85\u2028b", r"a\r\n\t\x0b\x0c\x1c\x85\u2028b"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\u202egnp.exe", r"\u202egnp.exe"),  # written from right to left from here on
        ("\0", r"\x00"),
        ("\udc80", r"\udc80"),  # no text that could be written to a file
        (3, "3"),
        (None, "None"),
        ("x" * 1001, "x" * 997 + "..."),
        ("\n" * 600, r"\n" * 498 + "\\..."),
    ],
)
def test_what_cannot_be_seen_is_written_out(name: object, shown: str) -> None:
    assert clean(name) == shown
    assert clean(shown) == shown
    assert len(f"lr/{shown}".splitlines()) == 1
    assert f"lr/{shown}".encode().decode() == f"lr/{shown}"


def test_repeated_names_get_their_place_as_a_number() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]
    assert distinct(["a-2", "a", "a"]) == ["a-2", "a", "a-2-2"]
    assert distinct(["a", "a", "a-1"]) == ["a", "a-1", "a-1-2"]
    assert distinct(["a b", "a\nb", r"a\nb"]) == ["a b", r"a\nb", r"a\nb-2"]
    assert distinct(["", "", "-1"]) == ["", "-1", "-1-2"]
    assert distinct(["x" * 2000, "x" * 3000]) == ["x" * 997 + "...", "x" * 997 + "...-1"]


def test_any_names_are_told_apart_and_none_depends_on_those_after_it() -> None:
    chance = random.Random(0)
    for _ in range(5_000):
        names = ["".join(chance.choices(["a", "-", "1", "2", "\n", r"\n"], k=chance.randrange(5))) for _ in range(8)]
        found = distinct(names)
        assert len(set(found)) == len(found) == len(names)
        assert all(shown.startswith(clean(name)) for shown, name in zip(found, names, strict=True))
        count = chance.randrange(9)
        assert distinct(names[:count]) == found[:count]


@pytest.mark.behaviour("B75")
@pytest.mark.parametrize("kind", ["all another", "all the same", "each in the way of the next"])
def test_a_hundred_thousand_names_take_no_time(kind: str) -> None:
    count = 100_000
    names = {
        "all another": [f"layer{n}" for n in range(count)],
        "all the same": ["layer"] * count,
        "each in the way of the next": [f"layer-{n + 1}" if n % 2 else "layer" for n in range(count)],
    }[kind]
    begun = time.process_time()
    assert len(set(distinct(names))) == count
    assert time.process_time() - begun < 2.0


def test_phases_are_shown_so_too() -> None:
    curve = Curve(Shape(lambda t: 1.0, 1.0, [("up\nthen\x1b[2J", 0)]), lambda t: 1.0, 0, 10)
    assert curve.phase(3) == r"up\nthen\x1b[2J"
