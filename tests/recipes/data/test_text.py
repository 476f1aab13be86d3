"""Text data: encoding, splits, windows that are the same under a seed, and messages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from recipes.data.task import TextTask
from recipes.data.text import StandardLibraryData, TextData, TextFileData, TopicsData, encode, split

CONF = Path(__file__).parents[3] / "conf"
# loader processes are forked from a process that has threads, as on every Linux machine
forks = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def counting(length: int = 4000, **options: Any) -> TextData:
    """Text whose every character differs, so that a token is its own position."""
    text = "".join(chr(0x4E00 + place) for place in range(length))
    data = TextData(text, **{"context": 8, "train_windows": 48, "batch_size": 16, **options})
    data.setup("fit")
    return data


def epoch(data: TextData, number: int) -> Tensor:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return torch.cat(list(loader))


def test_characters_are_numbered_by_code_point() -> None:
    tokens, size = encode("héh a🙂")
    assert (tokens.tolist(), size) == ([2, 3, 2, 0, 1, 4], 5)  # " ", "a", "h", "é", "🙂"
    assert tokens.dtype == torch.uint8


def test_bytes_are_their_own_numbers() -> None:
    tokens, size = encode(b"\x00\xffa")
    assert (tokens.tolist(), size) == ([0, 255, 97], 256)


def test_many_characters_fit() -> None:
    tokens, size = encode("".join(chr(0x4E00 + place) for place in range(300)))
    assert (tokens.tolist(), size) == (list(range(300)), 300)


@pytest.mark.parametrize(("length", "context"), [(1000, 8), (4001, 16), (20 * 65, 64)])
def test_the_split_is_in_order_complete_and_whole_windows(length: int, context: int) -> None:
    parts = split(torch.arange(length), context)
    assert torch.equal(torch.cat(parts), torch.arange(length))
    train, val, test = (len(part) for part in parts)
    assert val == test
    assert (val - 1) % context == 0
    assert 0.05 * length - context - 1 < val <= 0.05 * length
    assert train >= 0.9 * length


def test_evaluation_windows_predict_every_token_once() -> None:
    data = counting()
    # 5 % of 4,000 hold 24 windows of 8, and one token before them
    for dataset, last in ((data.val, 3999 - 193), (data.test, 3999)):
        windows = torch.cat([dataset.__getitems__([place]) for place in range(len(dataset))])
        assert windows.shape == (24, 9)
        assert windows.dtype == torch.int64
        assert torch.equal(windows[:, 1:].flatten(), torch.arange(last - 191, last + 1))
    assert sum(len(batch) for batch in data.test_dataloader()) == len(data.test)


def test_training_never_sees_what_is_evaluated() -> None:
    data = counting(1000, train_windows=2000, batch_size=100)
    seen = set(epoch(data, 0).flatten().tolist())
    held_out = {int(t) for part in (data.val, data.test) for t in part.windows.flatten()}
    assert not seen & held_out
    assert seen == set(range(1000)) - held_out  # and it sees everything else, first and last token included


def test_training_windows_are_consecutive_and_new_every_epoch() -> None:
    data = counting()
    first, second = epoch(data, 0), epoch(data, 1)
    assert first.shape == (48, 9)
    assert (first.diff(dim=1) == 1).all()
    assert len(set(first[:, 0].tolist())) > 40  # batches differ from each other
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch(counting(), 0))
    assert not torch.equal(first, epoch(counting(seed=2), 0))


@forks
def test_windows_are_the_same_for_any_number_of_workers() -> None:
    assert torch.equal(epoch(counting(), 3), epoch(counting(num_workers=2), 3))


def test_drawing_windows_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    epoch(counting(), 0)
    assert torch.equal(before, torch.get_rng_state())


def test_topics_need_no_file() -> None:
    data = TopicsData(context=64)
    assert data.task.context == data.tokens_per_sample == 64
    assert 90 <= data.task.vocab_size <= 200
    data.setup("fit")
    assert len(data.train.tokens) > 300_000
    assert data.data_hash == TopicsData(context=32, seed=2).data_hash
    assert len(data.data_hash) == 64


def test_topics_as_bytes_share_their_tokens_with_other_texts() -> None:
    topics, source = TopicsData(level="byte"), StandardLibraryData(modules=["argparse", "textwrap"])
    assert topics.task == source.task == TextTask(vocab_size=256, context=64)
    assert topics.data_hash == TopicsData().data_hash
    assert source.data_hash != StandardLibraryData(modules=["argparse"]).data_hash
    source.setup("fit")
    start = bytes(source.train.tokens[:2000].tolist())
    assert Path(argparse.__file__).read_bytes().startswith(start)


def test_refuses_modules_without_a_source_and_none_at_all() -> None:
    with pytest.raises(FileNotFoundError, match=r"modules: 'argparsee' has no source file argparsee.py in"):
        StandardLibraryData(modules=["argparse", "argparsee"])
    with pytest.raises(ValueError, match=r"modules=\[\]: name one or more"):
        StandardLibraryData(modules=[])


def test_a_file_is_read_by_character_or_byte(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("añb".encode() * 100)
    characters = TextFileData(path=str(path), context=4, train_windows=32)
    bytewise = TextFileData(path=str(path), level="byte", context=4, train_windows=32)
    assert characters.task == TextTask(vocab_size=3, context=4)
    assert bytewise.task == TextTask(vocab_size=256, context=4)
    assert characters.data_hash == bytewise.data_hash


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty: set data\.path to a file with text in it"),
        (b"abc\xff" * 100, r"not UTF-8 text \(byte 0xff at position 3\): set data\.level=byte"),
        (b"abc\0" * 100, r"holds NUL characters, .* set data\.level=byte"),
        (b"abcd" * 20, r"text of 80 characters: context=8 needs 180 or more .* smaller data\.context"),
    ],
)
def test_refuses_a_file(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        TextFileData(path=str(path), context=8, train_windows=32)
    assert "80 characters" in message or str(path) in str(caught.value)


def test_the_shortest_text_that_is_promised_to_do_does() -> None:
    TextData("ab" * 90, context=8, train_windows=32)
    with pytest.raises(ValueError, match="needs 180 or more"):
        TextData("ab" * 89, context=8, train_windows=32)


def test_refuses_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not exist \(looked in .*: set data\.path to a text file"):
        TextFileData(path=str(tmp_path / "none.txt"))
    with pytest.raises(OSError, match=r"cannot be read \(Is a directory\): set data\.path"):
        TextFileData(path=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "context=0: .* set context=1 or more"),
        ({"train_windows": 0}, "train_windows=0: .* set train_windows=1 or more"),
        ({"batch_size": 0}, "batch_size=0: .* set batch_size=1 or more"),
        ({"batch_size": 64, "train_windows": 32}, "batch_size=64: larger than the 32 training samples"),
        ({"seed": -1}, "seed=-1: .* set seed=0 or more"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        counting(**options)


def test_refuses_an_unknown_level(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="level='word' is unknown: choose 'char' or 'byte'"):
        TextFileData(path=str(tmp_path), level="word")


def test_configs_build(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be " * 500)
    for name in ("topics", "text_file"):
        config = OmegaConf.create({"seed": 5, "data": OmegaConf.load(CONF / "data" / f"{name}.yaml")})
        if name == "text_file":
            assert OmegaConf.is_missing(config.data, "path")
            config.data.path = str(path)
        data = hydra.utils.instantiate(config.data)
        assert (data.seed, data.task.context) == (5, config.data.context)
