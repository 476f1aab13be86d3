"""Image data: fixed splits, streams that are the same under a seed and never repeat, and messages."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf
from torch import Tensor

from recipes.data.glyphs import CIFAR10Data, DigitsData, GlyphsData, Ticketed, crop_and_flip, replaced
from recipes.data.seeded import TicketSampler, seeded
from recipes.data.task import ImageFacts

CONF = Path(__file__).parents[3] / "conf"
# loader processes are forked from a process that has threads, as on every Linux machine
forks = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


class Recorder(LightningModule):
    """Keeps every training batch that a real Trainer gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Any) -> Tensor:
        self.seen.append(batch)
        return self.weight * 1.0

    def validation_step(self, batch: Any) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)


def record(data: Any, *, epochs: int, folder: Path, resume: str | None = None) -> list[tuple[Tensor, Tensor]]:
    model = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume)
    trainer.save_checkpoint(folder / "last.ckpt")
    return model.seen


def same(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


def small_glyphs(**options: Any) -> GlyphsData:
    return GlyphsData(**{"train_size": 96, "val_size": 72, "batch_size": 32, **options})


def digits(**options: Any) -> DigitsData:
    return DigitsData(**{"batch_size": 400, **options})


# ---------------------------------------------------------------- the order and the streams


@pytest.mark.parametrize("make", [digits, small_glyphs])
@forks
def test_batches_are_the_same_for_any_number_of_workers_and_after_a_resume(make: Any, tmp_path: Path) -> None:
    plain = record(make(), epochs=2, folder=tmp_path / "a")
    assert len(plain) == 2 * 3
    assert same(plain, record(make(num_workers=2), epochs=2, folder=tmp_path / "b"))
    head = record(make(), epochs=1, folder=tmp_path / "c")
    tail = record(make(), epochs=2, folder=tmp_path / "d", resume=str(tmp_path / "c" / "last.ckpt"))
    assert same(plain, head + tail)


@pytest.mark.parametrize("make", [digits, small_glyphs])
def test_another_seed_gives_other_batches(make: Any, tmp_path: Path) -> None:
    first, second = (record(make(seed=seed), epochs=1, folder=tmp_path) for seed in (1, 2))
    assert not any(torch.equal(one, other) for (one, _), (other, _) in zip(first, second, strict=True))


def test_drawing_data_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    for data in (digits(), small_glyphs()):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        data.setup("fit")
        for batch in data.train_dataloader():
            data.on_after_batch_transfer(batch, 0)
        assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_is_shared_among_devices_without_overlap() -> None:
    shares = [TicketSampler(10, seed=1, shuffle=True, devices=2, rank=rank) for rank in (0, 1)]
    for epoch in (0, 3):
        for share in shares:
            share.set_epoch(epoch)
        tickets = sorted(ticket for share in shares for ticket in share)
        assert tickets == list(range(10 * epoch, 10 * epoch + 10))


def test_every_epoch_has_its_own_order_and_a_seed_fixes_it() -> None:
    sampler, other = (TicketSampler(50, seed=1, shuffle=True) for _ in range(2))
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        other.set_epoch(epoch)
        orders.append([ticket % 50 for ticket in sampler])
        assert orders[epoch] == [ticket % 50 for ticket in other]
        assert sorted(orders[epoch]) == list(range(50))
    assert orders[0] != orders[1]


def test_devices_get_as_many_samples_when_they_do_not_divide() -> None:
    shares = [list(TicketSampler(10, seed=1, shuffle=False, devices=3, rank=rank)) for rank in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7, 0], [2, 5, 8, 1]]


# ---------------------------------------------------------------- digits


def test_digits_split_is_fixed_complete_and_stratified() -> None:
    data = DigitsData(seed=7)
    data.setup("fit")
    parts = [data.train, data.val, data.test]
    assert [len(part) for part in parts] == [1257, 270, 270]
    images = torch.cat([part.images for part in parts])
    distinct = Counter(image.numpy().tobytes() for image in images)
    assert set(distinct.values()) == {1}  # all 1,797 differ, so no image is in two parts
    for part in parts:
        assert part.labels.bincount().tolist() == pytest.approx([len(part) / 10] * 10, rel=0.1)
    other = DigitsData(seed=8)
    other.setup("fit")
    assert torch.equal(data.test.images, other.test.images)


def test_digits_are_normalised_with_training_statistics() -> None:
    data = DigitsData()
    data.setup("fit")
    assert data.train.images.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert data.train.images.std().item() == pytest.approx(1.0, abs=1e-5)
    assert data.facts == ImageFacts(num_classes=10, channels=1, height=8, width=8)
    assert data.train.images.shape[1:] == (1, 8, 8)


def test_a_training_epoch_holds_full_batches_of_different_images() -> None:
    data = DigitsData(batch_size=100)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [100] * 12 == [100] * len(loader)
    images = torch.cat([images for images, _ in batches])
    assert len({image.numpy().tobytes() for image in images}) == 1200
    evaluated = list(data.val_dataloader())
    assert sum(len(labels) for _, labels in evaluated) == 270


def test_fewer_digits_are_some_of_the_more_and_the_rest_stays_as_it_was() -> None:
    few, all_of_them = DigitsData(train_size=300), DigitsData()
    for data in (few, all_of_them):
        data.setup("fit")
    assert (len(few.train), len(list(few.train_dataloader()))) == (300, 300 // 32)
    assert torch.equal(few.train.labels, all_of_them.train.labels[:300])
    assert few.train.labels.bincount().min() > 20  # of 30
    assert torch.equal(few.test.labels, all_of_them.test.labels)
    assert few.train.images.std().item() == pytest.approx(1.0, abs=1e-5)


def test_wrong_digits_are_for_training_only_and_stay_wrong() -> None:
    noisy, other, clean = DigitsData(label_noise=0.2), DigitsData(label_noise=0.2, seed=2), DigitsData()
    for data in (noisy, other, clean):
        data.setup("fit")
    wrong = noisy.train.labels != clean.train.labels
    assert wrong.float().mean().item() == pytest.approx(0.2, abs=0.04)
    assert not torch.equal(wrong, other.train.labels != clean.train.labels)
    for part in ("val", "test"):
        assert torch.equal(getattr(noisy, part).labels, getattr(clean, part).labels)
    first = noisy.train.labels.clone()
    noisy.setup("test")
    assert torch.equal(noisy.train.labels, first)


def test_larger_digits_are_the_same_ones() -> None:
    data, large = DigitsData(), DigitsData(size=16)
    for one in (data, large):
        one.setup("fit")
    assert large.facts == ImageFacts(num_classes=10, channels=1, height=16, width=16)
    assert large.val.images.shape == (270, 1, 16, 16)
    assert torch.equal(large.val.labels, data.val.labels)
    shrunk = torch.nn.functional.avg_pool2d(large.val.images, 2)
    pairs = torch.stack([shrunk.flatten(), data.val.images.flatten()])
    assert torch.corrcoef(pairs)[0, 1].item() > 0.9


def test_data_hash_names_the_images() -> None:
    assert DigitsData().data_hash == DigitsData(seed=2, size=16).data_hash
    assert len(DigitsData().data_hash) == 64


# ---------------------------------------------------------------- glyphs


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


def test_label_noise_replaces_its_share_by_other_classes() -> None:
    clean = torch.arange(20_000) % 4
    noisy = replaced(clean, 0.3, 4, seeded("test"))
    changed = noisy != clean
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert ((noisy - clean)[changed] % 4).bincount().tolist()[1:] == pytest.approx([2000] * 3, rel=0.1)


# ---------------------------------------------------------------- CIFAR-10


def test_crop_and_flip_equals_padding_cropping_and_turning_one_by_one() -> None:
    images = torch.randint(256, (64, 6, 6, 3), dtype=torch.uint8, generator=seeded("images"))
    shifts = torch.randint(-2, 3, (2, 64, 1), generator=(draws := seeded("draws")))
    flips = torch.rand((64, 1), generator=draws) < 0.5
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), mode="reflect")
    result = crop_and_flip(images, 2, seeded("draws"))
    for k in range(64):
        top, left = 2 + int(shifts[0, k]), 2 + int(shifts[1, k])
        expected = padded[k, :, top : top + 6, left : left + 6].permute(1, 2, 0)
        assert torch.equal(result[k].float(), expected.flip(1) if flips[k] else expected)
    assert 16 < flips.sum() < 48
    assert set(shifts.flatten().tolist()) == {-2, -1, 0, 1, 2}


def test_missing_cifar_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"set data\.download=true .* or put the CIFAR-10") as caught:
        CIFAR10Data(root=str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_damaged_cifar_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(FileNotFoundError, match=r"missing or damaged .* set data\.download=true"):
        CIFAR10Data(root=str(tmp_path)).setup("fit")


def fake_cifar(root: str, train: bool, download: bool) -> SimpleNamespace:
    """Images whose pixels hold the number of their label, as torchvision stores them."""
    count = 50_000 if train else 10_000
    labels = np.arange(count) % 10
    images = np.broadcast_to((25 * labels).astype(np.uint8)[:, None, None, None], (count, 32, 32, 3))
    return SimpleNamespace(data=images.copy(), targets=labels.tolist())


def test_cifar_is_split_augmented_and_normalised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(CIFAR10=fake_cifar))
    data = CIFAR10Data(root=str(tmp_path), download=True, batch_size=500)
    data.setup("fit")
    assert [len(part) for part in (data.train, data.val, data.test)] == [45_000, 5_000, 10_000]
    totals = data.train.labels.bincount() + data.val.labels.bincount()
    assert totals.tolist() == [5_000] * 10  # every official training image is in one of them
    for loader in (data.train_dataloader(), data.val_dataloader()):
        images, labels = data.on_after_batch_transfer(next(iter(loader)), 0)
        assert images.shape == (500, 3, 32, 32)
        assert torch.allclose(images, ((25.0 * labels - 120.7) / 64.1)[:, None, None, None].expand_as(images))
    assert next(iter(data.train_dataloader())).first is not None
    assert next(iter(data.test_dataloader())).first is None


# ---------------------------------------------------------------- arguments and configs


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (DigitsData, {"batch_size": 0}, "batch_size=0: must be a whole number; set batch_size=1 or more"),
        (DigitsData, {"batch_size": 2.5}, r"batch_size=2\.5: must be a whole number"),
        (
            DigitsData,
            {"batch_size": 2000},
            "batch_size=2000: larger than the 1257 .* set batch_size=1257 or less",
        ),
        (DigitsData, {"num_workers": -1}, "num_workers=-1: .* set num_workers=0 or more"),
        (GlyphsData, {"train_size": 0}, "train_size=0: .* set train_size=1 or more"),
        (GlyphsData, {"size": 4}, "size=4: .* set size=8 or more"),
        (GlyphsData, {"num_classes": 1}, "num_classes=1: .* set num_classes=2 or more"),
        (GlyphsData, {"num_classes": 37}, "num_classes=37: there are 36 characters in characters=all"),
        (GlyphsData, {"num_classes": 27, "characters": "letters"}, "num_classes=27: there are 26 characters"),
        (GlyphsData, {"characters": "greek"}, "characters='greek' is unknown: choose one of all, digits, letters"),
        (DigitsData, {"size": 4}, "size=4: .* set size=8 or more"),
        (DigitsData, {"train_size": 1258}, "train_size=1258: there are 1,257 training images; set that or less"),
        (DigitsData, {"label_noise": -0.1}, r"label_noise=-0\.1: must be 0 or more, below 1"),
        (GlyphsData, {"val_size": 0}, "val_size=0: .* set val_size=1 or more"),
        (GlyphsData, {"label_noise": 1.0}, r"label_noise=1\.0: must be 0 or more, below 1"),
    ],
)
def test_refuses(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


@pytest.mark.parametrize(("name", "classes"), [("digits", 10), ("glyphs", 36), ("cifar10", 10)])
def test_configs_build(name: str, classes: int, tmp_path: Path) -> None:
    config = OmegaConf.create({"seed": 5, "data": OmegaConf.load(CONF / "data" / f"{name}.yaml")})
    (tmp_path / "cifar-10-batches-py").mkdir()
    options = {"root": str(tmp_path)} if name == "cifar10" else {}
    data = hydra.utils.instantiate(config.data, **options)
    assert (data.seed, data.facts.num_classes) == (5, classes)
