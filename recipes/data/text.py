"""Text for next-token prediction: texts that every CPython brings along, or any text file."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recipes.data.seeded import Batches, SeededData, at_least, seeded
from recipes.data.task import TextTask


def encode(text: str | bytes) -> tuple[Tensor, int]:
    """Turn text into tokens.

    Args:
        text: characters, numbered in the order of their code points; or bytes, which are their own numbers.

    Returns:
        Tokens (length,) in the smallest integer type that holds them, and the size of the vocabulary: the
        number of different characters, or 256 for bytes.
    """
    if isinstance(text, bytes):
        return torch.frombuffer(bytearray(text), dtype=torch.uint8), 256
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    vocabulary, tokens = np.unique(points, return_inverse=True)
    return torch.from_numpy(tokens.astype(np.uint8 if len(vocabulary) <= 256 else np.int32)), len(vocabulary)


def split(tokens: Tensor, context: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut tokens into training, validation and test parts: about 90, 5 and 5 percent, in order, no overlap.

    The two smaller parts are rounded down to whole windows, so that windows cover them exactly; the rest is
    for training.

    Raises:
        ValueError: five percent hold no window; says how much text is needed.
    """
    # n windows of `context` tokens take n * context + 1 tokens: the last one is a target only
    windows = (len(tokens) // 20 - 1) // context
    if windows < 1:
        raise ValueError(
            f"text of {len(tokens):,} characters: context={context} needs {20 * (context + 1):,} or more "
            f"({context + 1} in each 5 % part): use more text or a smaller data.context"
        )
    held_out = windows * context + 1
    return tokens[: -2 * held_out], tokens[-2 * held_out : -held_out], tokens[-held_out:]


class RandomWindows(Batches):
    """Windows of ``context + 1`` tokens from anywhere in ``tokens``, fixed by seed and ticket."""

    def __init__(self, tokens: Tensor, context: int, count: int, seed: int) -> None:
        self.tokens, self.context, self.count, self.seed = tokens, context, count, seed
        self.offsets = torch.arange(context + 1)

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: list[int]) -> Tensor:
        generator = seeded(self.seed, "windows", indices[0])
        # the last start is len - context - 1, from where context + 1 tokens reach exactly to the end
        starts = torch.randint(len(self.tokens) - self.context, (len(indices), 1), generator=generator)
        return self.tokens[starts + self.offsets].long()


class EveryWindow(Batches):
    """Windows that predict every token but the first once: each begins where the one before ended."""

    def __init__(self, tokens: Tensor, context: int) -> None:
        # windows overlap by one token: the target of one window's last place is the first input of the next
        self.windows = tokens.unfold(0, context + 1, context)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitems__(self, indices: list[int]) -> Tensor:
        return self.windows[torch.tensor(indices)].long()


class TextData(SeededData):
    """Any text in memory, cut into windows of ``context + 1`` tokens; a batch is int64 (batch, context + 1).

    Training windows lie anywhere in the training part and are drawn anew every epoch. Validation and test
    windows cover their parts once.

    Args:
        text: characters (str), or bytes for byte level.
        context: tokens that the model sees.
        train_windows: windows in an epoch.
        batch_size, seed, num_workers: see `SeededData`.

    Raises:
        ValueError: an argument is out of range, or the text is too short for ``context``.
    """

    def __init__(
        self,
        text: str | bytes,
        *,
        context: int = 64,
        train_windows: int = 2048,
        batch_size: int = 32,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        at_least(1, context=context, train_windows=train_windows)
        super().__init__(
            batch_size=batch_size, seed=seed, num_workers=num_workers, train_size=train_windows, shuffle=False
        )
        self.context = context
        self._hash = hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()
        tokens, self._vocab_size = encode(text)
        self._parts = split(tokens, context)  # here and not in `setup`: a text that is too short is refused at once

    def setup(self, stage: str) -> None:
        """Lay windows over the three parts."""
        train, val, test = self._parts
        self.train = RandomWindows(train, self.context, self.train_size, self.seed)
        self.val, self.test = EveryWindow(val, self.context), EveryWindow(test, self.context)

    @property
    def tokens_per_sample(self) -> int:
        """Tokens of a window that the model sees: its first ``context`` ones."""
        return self.context

    @property
    def data_hash(self) -> str:
        """SHA-256 of the text, as UTF-8."""
        return self._hash

    @property
    def task(self) -> TextTask:
        """Shape of the task."""
        return TextTask(vocab_size=self._vocab_size, context=self.context)


class TopicsData(TextData):
    """CPython's bundled help topics (about 465,000 characters); the text changes with the Python version.

    Args:
        level: ``"char"`` (vocabulary: the characters of the text) or ``"byte"`` (256 tokens, as for any other text).
        options: see `TextData`.

    Raises:
        ValueError: ``level`` is unknown.
    """

    def __init__(self, *, level: str = "char", **options: Any) -> None:
        from pydoc_data.topics import topics

        _check_level(level)
        text = "\n".join(topics[name] for name in sorted(topics))
        super().__init__(text.encode() if level == "byte" else text, **options)


class StandardLibraryData(TextData):
    """The source of modules of Python's standard library, as bytes; it changes with the Python version.

    Args:
        modules: names of modules that are one file each, such as ``argparse``.
        options: see `TextData`.

    Raises:
        OSError: a module has no source file here.
        ValueError: no module is given, or they are too short.
    """

    def __init__(self, *, modules: Sequence[str] = ("argparse",), **options: Any) -> None:
        if not modules:
            raise ValueError("modules=[]: name one or more, such as modules=[argparse]")
        super().__init__(b"\n".join(_source_of(module) for module in modules), **options)


def _source_of(module: str) -> bytes:
    file = Path(sysconfig.get_path("stdlib"), f"{module}.py")
    if not file.is_file():
        raise FileNotFoundError(
            f"modules: {module!r} has no source file {file.name} in {str(file.parent)!r}: name modules of the standard "
            "library that are one file, such as argparse"
        )
    return file.read_bytes()


class TextFileData(TextData):
    """A text file, read as characters (UTF-8) or as bytes.

    Args:
        path: the file; a relative path starts where the program was started.
        level: ``"char"`` (vocabulary: the characters of the file) or ``"byte"`` (256 tokens, any file).
        options: see `TextData`.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is empty, too short or, at character level, no UTF-8; or ``level`` is unknown.
    """

    def __init__(self, *, path: str, level: str = "char", **options: Any) -> None:
        _check_level(level)
        content = _content_of(path)
        super().__init__(content if level == "byte" else _decode(content, path), **options)


def _check_level(level: str) -> None:
    if level not in ("char", "byte"):
        raise ValueError(f"level={level!r} is unknown: choose 'char' or 'byte'")


def _content_of(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"path={path!r} does not exist (looked in {str(Path.cwd())!r}): set data.path to a text file"
        ) from error
    except OSError as error:  # a folder, no permission, a broken device
        raise OSError(
            f"path={path!r} cannot be read ({error.strerror}): set data.path to a readable text file"
        ) from error
    if not content:
        raise ValueError(f"path={path!r} is empty: set data.path to a file with text in it")
    return content


def _decode(content: bytes, path: str) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path={path!r} is not UTF-8 text (byte {content[error.start]:#04x} at position {error.start}): "
            "set data.level=byte, or convert the file"
        ) from error
    if "\0" in text:
        raise ValueError(f"path={path!r} holds NUL characters, so it looks binary: set data.level=byte")
    return text
