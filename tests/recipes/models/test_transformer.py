"""The language model: causality, initialisation, sizes, messages, what is logged and saved, learning."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from recipes.data.task import ImageTask, TextTask
from recipes.data.text import TextData
from recipes.models.transformer import GPT, LanguageModel

CONF = Path(__file__).parents[3] / "conf"
TASK = TextTask(vocab_size=11, context=16)
adamw = partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.1)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def test_a_prediction_depends_on_every_earlier_token_and_on_no_later_one() -> None:
    torch.manual_seed(0)
    network = GPT(vocab_size=11, context=8, layers=2, heads=2, width=16)
    tokens = torch.randint(11, (1, 8))
    before = network(tokens)
    for place in range(8):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % 11
        moved = (network(changed) - before).abs().amax(dim=(0, 2)) > 1e-6
        assert moved.tolist() == [False] * place + [True] * (8 - place)


@torch.no_grad()
def test_the_order_of_earlier_tokens_matters() -> None:
    torch.manual_seed(0)
    network = GPT(vocab_size=11, context=3, layers=1, heads=1, width=16)
    swapped = network(torch.tensor([[1, 2, 3], [2, 1, 3]]))[:, -1]
    assert not torch.allclose(swapped[0], swapped[1], atol=1e-5)


def test_a_shorter_window_is_read_a_longer_one_refused() -> None:
    network = GPT(vocab_size=11, context=8, layers=1, heads=2, width=16)
    assert network(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 11)
    with pytest.raises(ValueError, match="9 tokens are more than context=8"):
        network(torch.zeros(2, 9, dtype=torch.long))


def test_embeddings_are_tied() -> None:
    layers, width, vocabulary, context = 2, 16, 11, 8
    block = 12 * width * width + 2 * width  # 4 + 8 matrices, two norms
    expected = layers * block + width + (vocabulary + context) * width
    assert count(GPT(vocabulary, context, layers, 2, width)) == expected


def test_bias_adds_one_vector_to_every_linear_layer_and_norm() -> None:
    without, with_bias = (GPT(11, 8, 2, 2, 16, bias=bias) for bias in (False, True))
    block = 3 * 16 + 16 + 4 * 16 + 16 + 2 * 16
    assert count(with_bias) - count(without) == 2 * block + 16
    assert all(not p.any() for name, p in with_bias.named_parameters() if name.endswith("bias"))


def test_initialisation_is_that_of_gpt2() -> None:
    torch.manual_seed(0)
    network = GPT(vocab_size=500, context=64, layers=8, heads=4, width=128)
    block: Any = network.blocks[0]
    plain = [network.tokens.weight, network.positions.weight, block.attention.qkv.weight, block.mlp.up.weight]
    residual = [block.attention.out.weight, block.mlp.out.weight]
    assert [p.std().item() for p in plain] == pytest.approx([0.02] * 4, rel=0.03)
    assert [p.std().item() for p in residual] == pytest.approx([0.02 / math.sqrt(16)] * 2, rel=0.03)
    logits = network(torch.randint(500, (4, 64)))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(500, (256,)))
    assert loss.item() == pytest.approx(math.log(500), abs=0.1)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network = GPT(vocab_size=11, context=8, layers=1, heads=2, width=16, dropout=0.5)
    tokens = torch.zeros(1, 8, dtype=torch.long)
    assert not torch.equal(network(tokens), network(tokens))
    network.eval()
    assert torch.equal(network(tokens), network(tokens))


def test_norms_do_not_decay_and_embeddings_do() -> None:
    model = LanguageModel(optimizer=adamw, task=TASK, layers=2, heads=2, width=16, bias=True)
    decay, no_decay = model.configure_optimizers().param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("norm" in n or n.endswith("bias") for n in (names[id(p)] for p in no_decay["params"]))
    assert "network.tokens.weight" in {names[id(p)] for p in decay["params"]}
    assert len(decay["params"]) + len(no_decay["params"]) == len(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": ImageTask(10, 1, 8, 8)}, "needs text, the data gives images: choose a model for images"),
        ({"layers": 0}, "layers=0: must be at least 1"),
        ({"heads": 3}, "width=16 is not a multiple of heads=3: set width=18"),
        ({"dropout": 1.0}, "dropout=1.0: must be at least 0 and below 1"),
        ({"attention": "fast"}, "attention='fast' is unknown: set null or one of cudnn, flash, efficient, math"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    good = {"optimizer": adamw, "task": TASK, "layers": 1, "heads": 2, "width": 16}
    with pytest.raises(ValueError, match=message):
        LanguageModel(**{**good, **options})


@pytest.mark.parametrize(
    ("name", "task", "millions"),
    [
        ("transformer", TextTask(103, 64), 0.35),
        ("transformer_10m", TextTask(65, 256), 10.65),
        ("transformer_124m", TextTask(50_257, 1024), 123.5),
        ("transformer_124m", TextTask(103, 1024), 85.0),
    ],
)
def test_configs_have_the_size_they_claim(name: str, task: TextTask, millions: float) -> None:
    config = OmegaConf.load(CONF / "model" / f"{name}.yaml")
    with torch.device("meta"):  # shapes without memory
        network = hydra.utils.instantiate(config, optimizer=adamw, task=task).network
    assert (count(network) - network.positions.weight.numel()) / 1e6 == pytest.approx(millions, rel=0.03)


def test_the_loss_inside_is_the_one_outside_and_so_are_its_gradients() -> None:
    torch.manual_seed(0)
    network = GPT(vocab_size=11, context=8, layers=2, heads=2, width=16)
    tokens, targets = torch.randint(11, (2, 3, 8))
    outside = torch.nn.functional.cross_entropy(network(tokens).flatten(0, 1), targets.flatten())
    expected = torch.autograd.grad(outside, list(network.parameters()))
    inside, logits = network(tokens, targets)
    found = torch.autograd.grad(inside, list(network.parameters()))
    assert torch.equal(inside, outside)
    assert all(map(torch.equal, found, expected))
    assert torch.equal(logits, network(tokens))
    assert not logits.requires_grad


# torch 2.11's compiler warns of what it does itself
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_the_loss_is_compiled_with_the_network_once_for_written_updates_and_others() -> None:
    torch.compiler.reset()
    model = LanguageModel(optimizer=adamw, task=TASK, layers=1, heads=2, width=16)
    counter = CompileCounterWithBackend("eager")
    model.network.compile(backend=counter)
    trainer = Trainer(
        max_steps=4,
        log_every_n_steps=2,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=TextData("abcdefghijk" * 40, context=16, train_windows=32, batch_size=4))
    assert set(trainer.callback_metrics) == {"train_loss", "train_acc"}
    (graph,) = counter.graphs
    assert any("cross_entropy" in str(node.target) for node in graph.graph.nodes)


@pytest.mark.parametrize("kernel", [None, "flash", "math"])
def test_attention_is_the_same_by_any_kernel(kernel: Any) -> None:
    losses = []
    for attention in (None, kernel):
        torch.manual_seed(0)
        model = LanguageModel(optimizer=adamw, task=TASK, layers=1, heads=2, width=16, attention=attention)
        losses.append(model.loss(torch.arange(34).view(2, 17) % 11)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_training_step_never_waits_for_the_device() -> None:
    """Tensors on the meta device hold no values: reading one back, as ``.item()`` does, raises."""
    with torch.device("meta"):
        model = LanguageModel(optimizer=adamw, task=TASK, layers=1, heads=2, width=16)
        windows = torch.empty(4, 17, dtype=torch.long)
    logged: dict[str, Tensor] = {}
    model.log_dict = lambda metrics, **options: logged.update(metrics)  # type: ignore[method-assign]
    assert model.training_step(windows).is_meta
    assert set(logged) == {"train_loss", "train_acc"}


# torch 2.11's compiler warns of what it does itself
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compile_keeps_the_names_in_the_state_dict() -> None:
    build = partial(LanguageModel, optimizer=adamw, task=TASK, layers=1, heads=2, width=16)
    assert list(build().state_dict()) == list(build(compile=True).state_dict())
    assert build(compile=True).network._compiled_call_impl is not None


def test_learns_a_cycle_logs_and_saves_plainly(tmp_path: Path) -> None:
    torch.manual_seed(1)
    data = TextData("abcdefghij" * 200, context=16, train_windows=256, batch_size=16)
    model = LanguageModel(optimizer=adamw, task=data.task, layers=1, heads=2, width=32)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        callbacks=[ModelCheckpoint(tmp_path, save_last=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(model, datamodule=data)
    assert set(trainer.callback_metrics) == {"train_loss", "train_acc", "val_loss", "val_acc"}
    (metrics,) = trainer.test(model, datamodule=data, verbose=False)
    assert set(metrics) == {"test_loss", "test_acc"}
    assert metrics["test_acc"] > 0.9  # knowing nothing: 0.1
    assert metrics["test_loss"] < 0.5  # knowing nothing: 2.3
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4 * 16
    assert "hyper_parameters" not in saved
