"""The benchmark of threads runs, and leaves nobody busy."""

from __future__ import annotations

import os

import pytest
import torch

from benchmarks.threads import busy, milliseconds_per_update


@pytest.mark.filterwarnings("ignore")
def test_an_update_is_timed_and_the_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    assert 0 < milliseconds_per_update("classical_cnn", threads=1, updates=2) < 60_000
    assert torch.get_num_threads() == before


def test_others_are_busy_only_meanwhile() -> None:
    with busy(1) as others:
        assert [one.poll() for one in others] == [None]
    (other,) = others
    assert other.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(other.pid, 0)
