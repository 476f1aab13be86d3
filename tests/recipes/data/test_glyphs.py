"""Glyphs: classes that can be told apart, a stream that never repeats, fixed sets to measure on, and messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch._dynamo.testing import CompileCounterWithBackend

from recipes.data.glyphs import GlyphsData, distort
from recipes.data.seeded import Ticketed
from tests.recipes.data.recorder import record

CONF = Path(__file__).parents[3] / "conf"


def small_glyphs(**options: Any) -> GlyphsData:
    return GlyphsData(**{"train_size": 96, "val_size": 72, "batch_size": 32, **options})


def test_letters_are_the_characters_that_are_no_digits() -> None:
    parts = [GlyphsData(characters=kind, num_classes=n) for kind, n in [("digits", 10), ("letters", 26), ("all", 36)]]
    digits, letters, every = (data.characters for data in parts)
    assert digits + letters == every
    assert digits == "0123456789"
    assert GlyphsData(characters="letters", num_classes=3).characters == letters[:3]
    drawn = [data._drawn for data in parts]
    assert torch.equal(torch.cat(drawn[:2]), drawn[2])


def test_no_two_glyph_classes_look_alike() -> None:
    templates = GlyphsData()._drawn.float().flatten(2)  # (classes, fonts, pixels)
    assert templates.shape[:2] == (36, 16)
    unit = templates / templates.norm(dim=2, keepdim=True)
    alike = torch.einsum("afp,bfp->abf", unit, unit)  # cosine of two classes in the same font
    alike.diagonal().zero_()
    assert alike.amax().item() < 0.95
    assert templates.sum(dim=2).min().item() > 0  # every font has every character


def test_data_hash_names_what_was_drawn() -> None:
    assert GlyphsData().data_hash == GlyphsData(seed=2, train_size=200).data_hash
    others = {GlyphsData(size=size, num_classes=n).data_hash for size, n in [(16, 36), (16, 20), (12, 36)]}
    assert len(others) == 3


def test_glyph_stream_never_repeats(tmp_path: Path) -> None:
    batches = record(small_glyphs(), epochs=3, folder=tmp_path)
    images = torch.cat([images for images, _ in batches])
    assert images.shape == (3 * 96, 1, 16, 16)
    assert len({image.numpy().tobytes() for image in images}) == 3 * 96


def test_glyph_loader_yields_tickets_only() -> None:
    data = small_glyphs()
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [type(batch) for batch in batches] == [Ticketed] * 3 == [Ticketed] * len(data.train_dataloader())
    assert [batch.first for batch in batches] == [0, 32, 64]
    assert all(batch.tickets.shape == (32,) for batch in batches)


def test_glyph_evaluation_sets_are_fixed_balanced_and_distinct() -> None:
    data, other = small_glyphs(label_noise=0.5), small_glyphs(seed=2)
    for one in (data, other):
        one.setup("fit")
    assert torch.equal(data.val.images, other.val.images)
    assert torch.equal(data.test.images, other.test.images)
    assert not torch.equal(data.val.images, data.test.images)
    assert data.val.labels.bincount().tolist() == [2] * 36  # clean: noise would break the balance
    assert data.val.images.mean().item() == pytest.approx(0.0, abs=0.5)
    assert data.val.images.std().item() == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 0}, "train_size=0: .* set train_size=1 or more"),
        ({"size": 4}, "size=4: .* set size=8 or more"),
        ({"num_classes": 1}, "num_classes=1: .* set num_classes=2 or more"),
        ({"num_classes": 37}, "num_classes=37: characters=all has 36; set num_classes=36 or less"),
        (
            {"num_classes": 27, "characters": "letters"},
            "num_classes=27: characters=letters has 26; set num_classes=26 or less",
        ),
        ({"characters": "greek"}, "characters='greek' is unknown: choose one of all, digits, letters"),
        ({"val_size": 0}, "val_size=0: .* set val_size=1 or more"),
        ({"label_noise": 1.0}, r"label_noise=1\.0: must be at least 0 and below 1"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlyphsData(**options)


def test_the_config_builds() -> None:
    config = OmegaConf.create({"seed": 5, "data": OmegaConf.load(CONF / "data" / "glyphs.yaml")})
    data = hydra.utils.instantiate(config.data)
    assert (data.seed, data.task.num_classes) == (5, 36)


# torch 2.11's compiler warns of what it does itself
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_the_distortion_can_be_compiled_whole_and_makes_the_same_images() -> None:
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    plain, compiled = small_glyphs(), small_glyphs()
    compiled._distort = torch.compile(distort, backend=counter, fullgraph=True)
    for first in (0, 32):
        (images, labels), (others, same) = (
            data.on_after_batch_transfer(Ticketed(torch.arange(first, first + 32), first), 0)
            for data in (plain, compiled)
            if data.setup("fit") is None
        )
        assert torch.equal(labels, same)
        torch.testing.assert_close(images, others, rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1
    assert small_glyphs(compile=True)._distort is not distort
