"""Loops of one's own, with Accelerate, with Fabric and with nothing: what every real update uses is the closed form.

Each trains 10 updates, is saved after 4, and goes on with new objects; gradients are accumulated over two batches.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState
from lightning.fabric import Fabric
from torch import nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from lr_recipes import Horizon, lr_scheduler, schedules
from lr_recipes.adapters.recording import Recording
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.plan.resume import ResumeError

COSINE = schedules.Cosine(warmup="1 epoch", min_lr_ratio=0.1)
RUN = Horizon(total_steps=10, steps_per_epoch=5)
PEAK = 0.1


def closed_form(horizon: Horizon = RUN, peak: float = PEAK) -> list[float]:
    curve = COSINE.resolve(horizon)
    return [peak * curve(n) for n in range(horizon.total_steps or 0)]


def attached(optimizer: Optimizer, run: Horizon) -> Any:
    knobs: Any = {"warmup": COSINE.warmup, "min_lr_ratio": COSINE.min_lr_ratio}
    made: Any = lr_scheduler.Cosine
    return made(optimizer, total_steps=run.total_steps, steps_per_epoch=run.steps_per_epoch, **knobs)


def bound(optimizer: Optimizer, run: Horizon) -> Any:
    return COSINE.bind(optimizer, run)


def grouped(optimizer: Optimizer, run: Horizon) -> Any:
    kind: Any = lr_scheduler.ByGroup
    return kind(optimizer, groups={"group0": COSINE}, total_steps=run.total_steps, steps_per_epoch=run.steps_per_epoch)


def beside(optimizer: Optimizer, run: Horizon) -> Any:
    """With another number, which the audit of the recording looks at too."""
    return schedules.Hyperparameters(lr=COSINE, weight_decay=schedules.Linear()).bind(optimizer, run)


each_way = pytest.mark.parametrize("way", [attached, bound])
every_way = pytest.mark.parametrize("way", [attached, bound, grouped, beside])


def new_parts(peak: float = PEAK) -> tuple[nn.Module, SGD, list[float]]:
    """A network, its optimizer, and what the steps of the optimizer will have used."""
    net, used = nn.Linear(4, 1), list[float]()
    optimizer = SGD(net.parameters(), lr=peak, weight_decay=1e-3)
    optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(*read_lrs(optimizer)))
    return net, optimizer, used


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    while RECORDINGS:
        RECORDINGS.pop().close()


RECORDINGS: list[Recording] = []


# Nothing but PyTorch

PARTS = ("net", "optimizer", "scheduler", "recording")


class Plain:
    """A loop that ticks the schedule after every update, and saves itself."""

    def __init__(self, way: Callable[..., Any] = attached, peak: float = PEAK) -> None:
        self.net, self.optimizer, self.used = new_parts(peak)
        self.scheduler = way(self.optimizer, RUN)
        self.recording = Recording(self.scheduler)
        RECORDINGS.append(self.recording)

    def train(self, updates: int) -> None:
        for _ in range(updates):
            for _ in range(2):
                self.net(torch.ones(4)).sum().backward()
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()

    def save(self) -> None:
        torch.save({name: getattr(self, name).state_dict() for name in PARTS}, "state.pt")

    def load(self, names: tuple[str, ...] = PARTS) -> None:
        state = torch.load("state.pt", weights_only=True)
        for name in names:
            getattr(self, name).load_state_dict(state[name])


@every_way
def test_a_plain_loop(way: Any) -> None:
    first, second = Plain(way), Plain(way)
    first.train(4)
    first.save()
    first.train(2)  # what is not saved is done again
    first.recording.close()
    second.load()
    second.train(6)
    assert first.used[:4] + second.used == closed_form()
    assert second.recording.close() == "used = planned on 10 of 10 updates, schedule complete"
    lines = Path("lr.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [float(line.split(",")[5]) for line in lines] == closed_form()
    assert [line.split(",")[:4] for line in lines][4:6] == [["4", "0", "", "warmup"], ["5", "1", "", "cosine"]]


@each_way
@pytest.mark.parametrize("order", [("optimizer", "scheduler"), ("scheduler", "optimizer")])
def test_another_peak_is_asked_about(way: Any, order: tuple[str, ...]) -> None:
    """The optimizer of the checkpoint brings its own peak along, and nothing is changed by the question."""
    first, second = Plain(way), Plain(way, peak=0.2)
    first.train(4)
    first.save()
    with pytest.raises(ResumeError, match=r"peak LR: \[0.1\] -> \[0.2\]"):
        second.load(order)
    state = torch.load("state.pt", weights_only=True)["scheduler"]
    second.scheduler.restore(state, "config")
    second.train(6)
    assert second.used == closed_form(peak=0.2)[4:]


def test_a_scheduler_of_somebody_else_is_found() -> None:
    loop = Plain()
    other = torch.optim.lr_scheduler.StepLR(loop.optimizer, 3)
    with loop.recording:
        loop.train(1)
        other.step()
        loop.train(1)
        other.optimizer.param_groups[0]["lr"] = 1.0
        with pytest.warns(
            UserWarning, match=r"update 2 used LR 1 in group 'group0', and the plan says 0.06: something"
        ):
            loop.train(1)
    assert "used = planned on 2 of 3 updates, largest difference 0.94" in loop.recording.close()


def test_a_record_that_saw_no_update_leaves_no_file() -> None:
    assert Recording(Plain().scheduler, "folder").close().startswith("used = planned on 0 of 0 updates")
    assert not Path("folder").exists()


def test_without_lightning() -> None:
    """Nor Hydra: what these loops use imports neither."""
    code = """if True:
        import sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                missing = ("lightning", "pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "transformers")
                if name.partition(".")[0] in missing:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Absent())
        import torch
        from lr_recipes import lr_scheduler
        from lr_recipes.adapters.recording import Recording
        from lr_recipes.adapters.transformers import scheduled
        weight = torch.nn.Parameter(torch.ones(1))
        weight.grad = torch.ones(1)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        recording = Recording(lr_scheduler.Cosine(optimizer, total_steps=10, warmup="10%"))
        for _ in range(10):
            optimizer.step()
        print(recording.close())
    """
    said = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "used = planned on 10 of 10 updates, schedule complete\n"


# Fabric


@every_way
@pytest.mark.parametrize("wrapped", [False, True])
def test_fabric(way: Any, wrapped: bool) -> None:
    """The schedule is given the optimizer as it was built, or as Fabric has wrapped it."""
    used = []
    for until, saved in ((4, False), (6, True)):
        fabric = Fabric(accelerator="cpu", devices=1)
        raw_net, raw, seen = new_parts()
        net, optimizer = fabric.setup(raw_net, raw)
        scheduler = way(optimizer if wrapped else raw, RUN)
        state = {"net": net, "optimizer": optimizer, "scheduler": scheduler}
        if saved:
            fabric.load("state.ckpt", state)
        for _ in range(until):
            for accumulating in (True, False):
                with fabric.no_backward_sync(net, enabled=accumulating):
                    fabric.backward(net(torch.ones(4)).sum())
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        fabric.save("state.ckpt", state)
        used += seen
    assert used == closed_form()


# Accelerate


def accelerated(way: Any, ticks_after_updates: bool = True) -> list[float]:
    """Two epochs of 9 batches in windows of two, with a state that is saved after an epoch and loaded into new objects.

    The batches are shared by the processes: of two, each has 5, so an epoch is 3 updates.
    """
    used = []
    for saved in (False, True):
        accelerator = Accelerator(
            cpu=True, gradient_accumulation_steps=2, step_scheduler_with_optimizer=ticks_after_updates
        )
        net, optimizer, seen = new_parts()
        net, optimizer, loader = accelerator.prepare(net, optimizer, DataLoader(torch.ones(9, 4), batch_size=1))
        epoch = -(-len(loader) // 2)
        scheduler = accelerator.prepare(way(optimizer, Horizon(total_steps=2 * epoch, steps_per_epoch=epoch)))
        if saved:
            accelerator.load_state("state")
        for batch in loader:
            with accelerator.accumulate(net):
                accelerator.backward(net(batch).sum())
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        accelerator.save_state("state")
        used += seen
    return used


@pytest.fixture
def _one_run_after_another(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@every_way
@pytest.mark.parametrize("ticks_after_updates", [True, False], ids=["after updates", "after batches"])
@pytest.mark.usefixtures("_one_run_after_another")
def test_accelerate(way: Any, ticks_after_updates: bool) -> None:
    assert accelerated(way, ticks_after_updates) == closed_form()


def in_a_process() -> None:
    used = {way.__name__: accelerated(way) for way in (attached, bound)}
    Path(f"{Accelerator().process_index}.json").write_text(json.dumps(used), encoding="utf-8")


@pytest.mark.usefixtures("_one_run_after_another")
def test_accelerate_in_two_processes() -> None:
    """Its scheduler ticks twice per update, once for each process: the updates count, of which each process has 6."""
    debug_launcher(in_a_process, num_processes=2)
    expected = closed_form(Horizon(total_steps=6, steps_per_epoch=3))
    for rank in range(2):
        assert json.loads(Path(f"{rank}.json").read_text()) == {"attached": expected, "bound": expected}
