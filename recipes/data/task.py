"""What a data set tells a model: the few numbers that fix the model's input and output shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class ImageTask:
    """Shape of an image classification task.

    Args:
        num_classes: number of labels; labels are ``0 .. num_classes - 1``.
        channels: colour channels of an image.
        height: pixels.
        width: pixels.
    """

    num_classes: int
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class TextTask:
    """Shape of a next-token task.

    Args:
        vocab_size: number of different tokens; tokens are ``0 .. vocab_size - 1``.
        context: tokens that the model sees at most; a training window holds one more, the last target.
    """

    vocab_size: int
    context: int


Task = TypeVar("Task", ImageTask, TextTask)

_KINDS: dict[type[Any], str] = {ImageTask: "images", TextTask: "text"}
_WAYS_OUT = {
    "images": "choose a model for {given} (like model=transformer), or data with images (like data=digits)",
    "text": "choose a model for {given} (like model=cnn), or data with text (like data=topics)",
}


def expect(kind: type[Task], task: object, *, model: str) -> Task:
    """Return ``task`` if it is of the kind that the model was written for.

    Args:
        kind: `ImageTask` or `TextTask`.
        task: what the data module gave.
        model: name of the model, for the message.

    Raises:
        ValueError: the data is of another kind; says what is wanted, what was given and what to change.
    """
    if isinstance(task, kind):
        return task
    wanted, given = _KINDS[kind], _KINDS.get(type(task), repr(task))
    way_out = _WAYS_OUT[wanted].format(given=given)
    raise ValueError(f"{model} needs {wanted}, the data gives {given}: {way_out}")
