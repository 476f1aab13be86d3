"""The sweep's own small loop: what each of its updates really uses and sees, in all kinds of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lr_recipes import Horizon, schedules
from lr_recipes.callbacks.sweep_loop import SweepError, run_sweep, step_hooks
from lr_recipes.sweep.result import DivergenceWatch, RangeTest, Sweep
from tests.callbacks.harness import PEAK, Endless, Tiny, loader, quiet_trainer, sgd

SWEEP = Sweep(min_lr=1e-4, max_lr=1.0, num_training_steps=20)
LRS = [SWEEP.lr(n) for n in range(20)]


class Numbers(Tiny):
    """The loss is the mean of the batch, whatever the weights: it tells which batches an update saw."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return batch.mean() + 0 * self.loss(batch)


class Sweeping(Callback):
    """Makes a sweep when training starts, notes what its updates used, and ends the run."""

    def __init__(self, sweep: Sweep = SWEEP, optimizer: int = 0, hooks: tuple[str, ...] = ()) -> None:
        self.sweep, self.optimizer, self.hooks = sweep, optimizer, hooks
        self.used: list[list[tuple[float, ...]]] = []
        self.results: list[RangeTest] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.used = [[] for _ in trainer.optimizers]
        handles = [
            optimizer.register_step_post_hook(self._noting(used))
            for optimizer, used in zip(trainer.optimizers, self.used, strict=True)
        ]
        chosen, known = trainer.optimizers[self.optimizer], step_hooks(trainer)  # this callback's own are among them
        try:
            self.results.append(
                run_sweep(trainer, self.sweep, DivergenceWatch(), chosen, before_hooks=self.hooks, module_hooks=known)
            )
        finally:
            for handle in handles:
                handle.remove()
            trainer.should_stop = True

    def _noting(self, used: list[tuple[float, ...]]) -> Callable[..., None]:
        def note(optimizer: Optimizer, *_: Any) -> None:
            used.append(tuple(float(group["lr"]) for group in optimizer.param_groups))

        return note


def swept(
    module: LightningModule | None = None, train: Any = None, sweep: Sweep = SWEEP, **arguments: Any
) -> tuple[RangeTest, list[tuple[float, ...]]]:
    """The result of a sweep, and the LRs of the groups at each step of the swept optimizer."""
    own = {name: arguments.pop(name) for name in ("optimizer", "hooks") if name in arguments}
    sweeping = Sweeping(sweep, **own)
    trainer = quiet_trainer([sweeping], **{"max_epochs": 1, **arguments})
    trainer.fit(module or Tiny(), loader() if train is None else train)
    return sweeping.results[0], sweeping.used[sweeping.optimizer]


def numbered(count: int = 8) -> DataLoader[Any]:
    """Batches 1, 2, ..."""
    return DataLoader(torch.arange(1.0, count + 1), batch_size=1)  # type: ignore[arg-type]


# LRs


def test_every_update_uses_the_lr_of_the_sweep_and_all_are_made() -> None:
    result, used = swept()
    assert [lrs[0] for lrs in used] == LRS
    assert (result.stop, len(result.losses), list(result.lrs)) == ("max_lr", 20, LRS)


@pytest.mark.behaviour("B38")
def test_groups_keep_their_ratios_and_the_largest_has_the_lr_of_the_sweep() -> None:
    def build(weights: list[nn.Parameter]) -> Optimizer:
        groups = [{"params": weights[:1], "lr": 0.001}, {"params": weights[1:], "lr": 0.1}]
        return SGD(groups, lr=0.1)

    _, used = swept(Tiny(build))
    assert [lrs[1] for lrs in used] == LRS
    assert [lrs[0] / lrs[1] for lrs in used] == pytest.approx([0.01] * 20)


def test_a_group_that_is_frozen_with_an_lr_of_0_stays_frozen() -> None:
    _, used = swept(Tiny(lambda w: SGD([{"params": w[:1], "lr": 0.0}, {"params": w[1:]}], lr=0.1)))
    assert used == [(0.0, lr) for lr in LRS]


def test_an_optimizer_without_any_lr_is_refused() -> None:
    with pytest.raises(SweepError, match=r"every group of SGD has an LR of 0: give it one"):
        swept(Tiny(lambda w: SGD(w, lr=0.0)))


def test_a_tensor_lr_is_filled_and_comes_back() -> None:
    module = Tiny(lambda w: Adam(w, lr=torch.tensor(0.5)))
    sweeping = Sweeping()
    trainer = quiet_trainer([sweeping], max_epochs=1)
    trainer.fit(module, loader())
    lr = trainer.optimizers[0].param_groups[0]["lr"]
    assert isinstance(lr, Tensor)
    assert lr.item() == 0.5
    assert [lrs[0] for lrs in sweeping.used[0]] == pytest.approx(LRS, rel=1e-6)


def test_a_module_that_writes_its_own_lr_does_not_get_its_way() -> None:
    class Warming(Tiny):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
            for group in optimizer.param_groups:
                group["lr"] = 7.0
            optimizer.step(closure=closure)

    assert [lrs[0] for lrs in swept(Warming())[1]] == LRS


# Losses and batches


@pytest.mark.behaviour("B37")
def test_the_loader_is_cycled_whatever_limits_the_run() -> None:
    result, _ = swept(Numbers(), numbered(6), max_epochs=1, max_steps=2, limit_train_batches=3)
    assert result.losses == tuple(1.0 + n % 3 for n in range(20))


@pytest.mark.parametrize("train", [lambda: Endless(), lambda: DataLoader(Endless(3))])
def test_loaders_without_a_length_are_cycled_too(train: Callable[[], Any]) -> None:
    assert len(swept(train=train(), limit_train_batches=5)[0].losses) == 20


def test_with_accumulation_a_loss_is_the_mean_of_its_window_and_windows_go_over_the_loaders_end() -> None:
    result, used = swept(Numbers(), numbered(5), accumulate_grad_batches=2)
    batches = [1.0 + n % 5 for n in range(40)]
    assert result.losses == tuple((a + b) / 2 for a, b in zip(batches[::2], batches[1::2], strict=True))
    assert [lrs[0] for lrs in used] == LRS


@pytest.mark.parametrize("accumulate", [1, 3])
def test_weights_move_as_in_plain_training_at_these_lrs(accumulate: int) -> None:
    class Quadratic(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return ((self.weights[0] - batch.mean()) ** 2).sum()

    result, _ = swept(Quadratic(), numbered(4), accumulate_grad_batches=accumulate)
    weight, batch = nn.Parameter(torch.ones(2)), 0
    optimizer = sgd([weight])
    for n, loss in enumerate(result.losses):
        optimizer.zero_grad()
        mean = torch.zeros(())
        for _ in range(accumulate):
            mean = mean + ((weight - 1 - batch % 4) ** 2).sum() / accumulate
            batch += 1
        mean.backward()
        optimizer.param_groups[0]["lr"] = LRS[n]
        optimizer.step()
        assert loss == pytest.approx(mean.item(), rel=1e-5)


def test_batches_of_several_loaders_are_combined_as_in_training() -> None:
    class Two(Tiny):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            assert set(batch) == {"a", "b"}
            return 10 * batch["a"].mean() + batch["b"].mean() + 0 * self.loss(batch["a"])

    loaders = CombinedLoader({"a": numbered(2), "b": numbered(3)}, "max_size_cycle")
    assert swept(Two(), loaders)[0].losses[:6] == (11.0, 22.0, 13.0) * 2


def test_the_modules_own_hooks_are_called_as_in_training() -> None:
    class Hooked(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def on_train_epoch_start(self) -> None:
            self.calls.append("epoch")
            self.outputs: list[float] = []  # which training_step needs

        def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> int | None:
            return -1 if batch_idx == 2 else None

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            assert self.calls == ["epoch"]
            self.outputs.append(1.0)
            return {"loss": self.loss(batch), "extra": batch_idx}

        def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
            assert not outputs["loss"].requires_grad
            assert outputs["extra"] == batch_idx
            assert batch_idx != 2

        def on_before_zero_grad(self, optimizer: Optimizer) -> None:
            assert isinstance(optimizer, SGD)

        def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
            assert self.outputs

    module = Hooked()
    assert len(swept(module, hooks=("on_train_epoch_start",))[0].losses) == 20
    assert module.calls == []
    assert not hasattr(module, "outputs")


def test_a_batch_without_a_loss_is_no_update() -> None:
    class Skipping(Numbers):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return None if batch_idx % 3 == 1 else super().training_step(batch, batch_idx)

    result, used = swept(Skipping(), numbered(3))
    assert result.losses == (1.0, 3.0) * 10
    assert [lrs[0] for lrs in used if lrs[0] != PEAK][:3] == [LRS[0], LRS[1], LRS[1]]  # the second call changed nothing


def test_lbfgs_asks_for_the_loss_several_times_and_its_first_answer_counts() -> None:
    class Counting(Numbers):
        calls = 0

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            Counting.calls += 1
            return super().training_step(batch, batch_idx) + self.weights[0].pow(2).sum()

    result, used = swept(Counting(lambda w: LBFGS(w, lr=0.1, max_iter=3)), numbered(4))
    assert [lrs[0] for lrs in used] == LRS[: len(used)]
    assert Counting.calls > len(result.losses)
    assert result.losses[0] == pytest.approx(3.0)


# How it ends


@pytest.mark.behaviour("B39")
def test_it_stops_at_the_first_loss_that_is_not_finite_and_keeps_what_came_before() -> None:
    class Breaking(Numbers):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) + (math.nan if batch_idx == 12 else 0)

    result, _ = swept(Breaking(), numbered(4))
    assert (result.stop, result.losses) == ("not finite", (1.0, 2.0, 3.0, 4.0) * 3)


def test_it_stops_at_divergence() -> None:
    class Diverging(Numbers):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) + (100 if batch_idx > 12 else 0)

    result, _ = swept(Diverging(), numbered(1))
    assert (result.stop, len(result.losses)) == ("diverged", 14)


def test_ctrl_c_ends_it_and_keeps_what_was_measured() -> None:
    class Interrupted(Numbers):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if batch_idx == 12:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    module = Interrupted()
    result, _ = swept(module, numbered(4))
    assert (result.stop, len(result.losses)) == ("interrupted", 12)
    assert [weight.tolist() for weight in module.weights] == [[1.0, 1.0]] * 2


class NoLoss(Tiny):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return None


class NoLossInIt(Tiny):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return {"output": 1}


class Once:
    """Data that can be read once."""

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        return torch.ones(1)


class Nothing(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(())


class Fetching(Tiny):
    def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
        return None


@pytest.mark.filterwarnings("ignore:Found `dataloader_iter` argument", "ignore:You are using the `dataloader_iter`")
@pytest.mark.parametrize(
    ("module", "train", "message"),
    [
        (NoLoss, loader, r"100 batches and not one update of SGD: NoLoss.training_step must return the loss"),
        (NoLossInIt, loader, r"training_step returned a dict with output, which holds no loss: return a tensor"),
        (Tiny, Once, r"the training data \(Once\) can be read only once"),
        (Tiny, lambda: DataLoader(Nothing()), r"the training data gave no batch: check the loader"),
        (Fetching, loader, r"takes a dataloader_iter"),
    ],
)
def test_what_cannot_be_swept_is_refused_and_the_way_out_is_named(module: Any, train: Any, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        swept(module(), train(), limit_train_batches=4)


def test_the_state_comes_back_when_training_fails() -> None:
    class Failing(Numbers):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if batch_idx == 3:
                raise RuntimeError("out of memory")
            return self.loss(batch)

    module = Failing()
    with pytest.raises(RuntimeError, match="out of memory"):
        swept(module)
    assert [weight.tolist() for weight in module.weights] == [[1.0, 1.0]] * 2
    assert "log" not in vars(module)


# Kinds of training


def test_it_works_in_bf16() -> None:
    class Half(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            assert torch.is_autocast_enabled("cpu")
            return self.loss(batch)

    assert [lrs[0] for lrs in swept(Half(), precision="bf16-mixed")[1]] == LRS


def test_updates_that_a_scaler_skips_are_made_again_and_the_scaler_comes_back() -> None:
    scaler = torch.amp.GradScaler("cpu", growth_interval=5)
    before = scaler.state_dict()
    plugin = MixedPrecision("16-mixed", "cpu", scaler)

    class Skipped(Numbers):
        def on_after_backward(self) -> None:
            if self.skip > 0:
                self.skip -= 1
                for weight in self.weights:
                    assert weight.grad is not None
                    weight.grad.fill_(math.inf)

    module = Skipped()
    module.skip = 3
    result, used = swept(module, numbered(4), plugins=[plugin])
    assert [lrs[0] for lrs in used] == LRS
    assert result.losses[:3] == (4.0, 1.0, 2.0)
    assert scaler.state_dict() == before
    assert scaler._scale is None
    assert module.skip == 3


def test_it_works_with_compiled_modules_and_recompiles_nothing_afterwards() -> None:
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(len(inputs))
        return graph.forward

    class Net(nn.Module):  # torch 2.11 compiles no plain `nn.Sequential` in place
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

        def forward(self, x: Tensor) -> Any:
            return self.layers(x)

    class Compiled(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()
            self.net.compile(backend=backend)

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return self.net(batch).pow(2).mean()

        def configure_optimizers(self) -> Any:
            return sgd(self.net.parameters())

    module = Compiled()
    train = loader(8, batch_size=4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    result, used = swept(module, train)
    assert [lrs[0] for lrs in used] == LRS[: len(used)]
    assert len(result.losses) == 20
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert len(compiled) == 1
    quiet_trainer([], max_epochs=1).fit(module, train)
    assert len(compiled) == 1


class Gan(Tiny):
    """Two optimizers, one of which steps at every third batch; the second one's loss is the batch."""

    def __init__(self, returns: Any = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.returns = returns

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        first, second = self.optimizers()  # type: ignore[misc]
        for optimizer, weight, due, loss in (
            (first, self.weights[0], batch_idx % 3 == 0, torch.tensor(100.0)),
            (second, self.weights[1], True, batch.mean()),
        ):
            if due:
                optimizer.zero_grad()
                self.manual_backward(loss + 0 * weight.sum())
                optimizer.step()
        return self.returns

    def configure_optimizers(self) -> Any:
        return SGD(self.weights[:1], lr=0.3), SGD(self.weights[1:], lr=0.1)


def test_in_manual_optimization_one_optimizer_is_swept_on_its_own_loss() -> None:
    result, used = swept(Gan(), numbered(4), optimizer=1)
    assert [lrs[0] for lrs in used] == LRS
    assert result.losses == (1.0, 2.0, 3.0, 4.0) * 5
    result, used = swept(Gan(), numbered(4), optimizer=0)
    assert [lrs[0] for lrs in used] == LRS
    assert result.losses == (100.0,) * 20


def test_the_other_optimizer_goes_on_at_its_own_lr() -> None:
    sweeping = Sweeping(optimizer=1)
    quiet_trainer([sweeping], max_epochs=1).fit(Gan(), numbered(4))
    assert {lrs[0] for lrs in sweeping.used[0]} == {0.3}
    assert len(sweeping.used[0]) == 7


class Manual(Tiny):
    """Goes backward by itself, accumulates two batches, and steps a scheduler."""

    def __init__(self, returns: bool = True) -> None:
        super().__init__()
        self.automatic_optimization, self.returns = False, returns

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = batch.mean() + 0 * self.loss(batch)
        loss.backward()
        if batch_idx % 2:
            self.optimizers().step()  # type: ignore[union-attr]
            self.optimizers().zero_grad()  # type: ignore[union-attr]
            self.lr_schedulers().step()  # type: ignore[union-attr]
        return loss if self.returns else None

    def configure_optimizers(self) -> Any:
        optimizer = sgd(self.weights)
        return [optimizer], [StepLR(optimizer, 1)]


def test_in_manual_optimization_what_is_returned_is_the_loss_where_nothing_else_is_known() -> None:
    result, used = swept(Manual(), numbered(4))
    assert [lrs[0] for lrs in used] == LRS
    assert result.losses == (2.0, 4.0) * 10


def test_in_manual_optimization_without_any_loss_it_says_what_to_do() -> None:
    with pytest.raises(SweepError, match=r"Manual.training_step returned no loss, and did not call self.manual_backw"):
        swept(Manual(returns=False))


def test_an_optimizer_that_never_steps_is_an_error_and_not_an_endless_run() -> None:
    class Idle(Gan):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return batch.mean()

    with pytest.raises(SweepError, match=r"100 batches and not one update of SGD-1: .* in manual optimization step"):
        swept(Idle(), optimizer=1)


# What must not notice


@pytest.mark.parametrize("workers", [0, 2])
def test_data_sets_samplers_and_workers_of_the_fit_go_on_undisturbed(workers: int) -> None:
    class Counting(Dataset[Any]):
        read = 0

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Tensor:
            self.read += 1
            return torch.tensor(float(index)) + torch.rand(()) + self.read

    class Batches(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.seen.append(batch.mean().item())
            return self.loss(batch)

    def seen(sweep: bool) -> list[float]:
        torch.manual_seed(5)
        options: dict[str, Any] = {"num_workers": workers, "persistent_workers": True} if workers else {}
        train = DataLoader(Counting(), batch_size=2, shuffle=True, **options)
        module, sweeping = Batches(), Sweeping()
        trainer = quiet_trainer([sweeping] if sweep else [], max_epochs=2)
        if sweep:
            sweeping.on_train_start, start = (  # type: ignore[method-assign]
                lambda *_: (start(*_), setattr(trainer, "should_stop", False))[0],
                sweeping.on_train_start,
            )
        trainer.fit(module, train)
        assert len(sweeping.results) == sweep
        return module.seen

    assert seen(sweep=True) == seen(sweep=False) != []


def test_loggers_metrics_and_callbacks_notice_nothing(tmp_path: Any) -> None:
    class Logging(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("a", loss, prog_bar=True)
            self.log_dict({"b": loss}, on_epoch=True)
            self.logger.log_metrics({"c": 1.0}, step=batch_idx)  # type: ignore[union-attr]
            self.logger.experiment.log_metrics({"d": 1.0}, 0)  # type: ignore[union-attr]
            self.trainer.should_stop = True
            return loss

    class Listening(Callback):
        def on_before_backward(self, *_: Any) -> None:
            raise AssertionError("a callback was called")

        on_before_zero_grad = on_after_backward = on_before_optimizer_step = on_before_backward  # type: ignore[assignment]

    class Looking(Sweeping):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            before = (trainer.fit_loop.state_dict(), trainer.callbacks, trainer.loggers)  # type: ignore[attr-defined]
            super().on_train_start(trainer, pl_module)
            assert trainer.fit_loop.state_dict() == before[0]
            assert trainer.callbacks is before[1]  # type: ignore[attr-defined]
            assert trainer.loggers is before[2]
            assert trainer.fit_loop.epoch_loop._results == {}
            assert (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics) == ({}, {}, {})
            assert "log" not in vars(pl_module)

    looking, logger = Looking(), CSVLogger(tmp_path)
    quiet_trainer([looking, Listening()], max_epochs=1, logger=logger).fit(Logging(), loader(60))
    assert len(looking.results[0].losses) == 20
    assert logger.experiment.metrics == []


def test_a_schedule_that_is_bound_to_the_optimizer_does_not_move() -> None:
    class Bound(Sweeping):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            bound = schedules.Linear().bind(trainer.optimizers[0], Horizon(total_steps=9))
            bound.attach()
            super().on_train_start(trainer, pl_module)
            assert (bound.position, bound.get_last_lr()) == (0, [PEAK])
            pl_module.loss(torch.ones(1)).backward()  # type: ignore[operator]
            trainer.optimizers[0].step()
            assert bound.position == 1

    bound = Bound()
    quiet_trainer([bound], max_epochs=1).fit(Tiny(), loader())
    assert len(bound.results[0].losses) == 20
