"""Batches are the same under a seed, whatever the number of workers, and never again in a later epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.data.digits import DigitsData
from recipes.data.glyphs import GlyphsData
from recipes.data.seeded import TicketSampler
from tests.recipes.data.recorder import record, same

# loader processes are forked from a process that has threads, as on every Linux machine
forks = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def small_glyphs(**options: Any) -> GlyphsData:
    return GlyphsData(**{"train_size": 96, "val_size": 72, "batch_size": 32, **options})


def digits(**options: Any) -> DigitsData:
    return DigitsData(**{"batch_size": 400, **options})


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
