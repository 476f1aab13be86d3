"""A decoder-only transformer (GPT) that predicts the next token; read it from top to bottom.

Sizes are in ``conf/model/transformer*.yaml``. Sources: Radford et al. 2019 (GPT-2: pre-norm, initialisation),
Press and Wolf 2017 (tied embeddings).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from recipes.data.task import TextTask, expect
from recipes.models.attention import AttentionKernel, attending, attention_order
from recipes.models.compiling import CompileMode, compile_in_place
from recipes.models.metrics import is_written
from recipes.models.parameter_groups import lr_ratios, optimizer_of
from recipes.models.weight_modes import WithWeightModes


class Attention(nn.Module):
    """Causal self-attention over (batch, time, width) with ``heads`` heads."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, time, width / heads)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        projected: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return projected


class FeedForward(nn.Module):
    """Two linear layers with GELU between them; four times as wide inside."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.out = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.out(F.gelu(self.up(x)))
        return projected


class Block(nn.Module):
    """Attention, then the feed-forward layers; each reads a normalised copy of the residual stream and adds to it."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, bias=bias)
        self.attention = Attention(width, heads, dropout, bias)
        self.mlp_norm = nn.LayerNorm(width, bias=bias)
        self.mlp = FeedForward(width, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return x


class GPT(nn.Module):
    """Token and position embeddings, ``layers`` blocks, a norm, and the token embedding again as output.

    Args:
        vocab_size: number of different tokens.
        context: tokens that are seen at most.
        layers: number of blocks.
        heads: attention heads of a block; must divide ``width``.
        width: size of the residual stream.
        dropout: probability, on embeddings, attention weights and both branches of a block.
        bias: give linear layers and norms a bias.

    Raises:
        ValueError: a size is not positive, ``heads`` does not divide ``width``, or ``dropout`` is not a
        probability.
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        layers: int,
        heads: int,
        width: int,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(layers, heads, width, dropout)
        self.context = context
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout, bias) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=bias)
        self._initialise(layers)

    def parts(self) -> dict[str, nn.Module]:
        """Return the trainable parts from input to output; the output matrix is the token embedding again."""
        blocks = {f"block{n}": block for n, block in enumerate(self.blocks, start=1)}
        return {"embeddings": nn.ModuleList([self.tokens, self.positions]), **blocks, "norm": self.norm}

    def _initialise(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim >= 2:
                # every block adds to the residual stream twice: its variance must not grow with depth
                residual = name.endswith("out.weight")
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

    @overload
    def forward(self, tokens: Tensor) -> Tensor: ...

    @overload
    def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]: ...

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (batch, time, vocab_size) for tokens (batch, time); time is at most ``context``.

        With ``targets`` (batch, time), return their loss and the logits, which then have no gradient. The loss is
        computed here so that it is compiled with the network: outside, the logits, which are the largest tensor by
        far, are read and written again for each of its operations.
        """
        time = tokens.shape[1]
        if time > self.context:
            raise ValueError(f"{time} tokens are more than context={self.context}: give fewer")
        x = self.dropout(self.tokens(tokens) + self.positions.weight[:time])
        x = self.norm(self.blocks(x))
        logits = F.linear(x, self.tokens.weight)  # tied: no output matrix of its own
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), logits.detach()


def _check_sizes(layers: int, heads: int, width: int, dropout: float) -> None:
    for name, value in {"layers": layers, "heads": heads, "width": width}.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    if width % heads:
        near = heads * (width // heads + 1)
        raise ValueError(f"width={width} is not a multiple of heads={heads}: set width={near}")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout={dropout}: must be at least 0 and below 1; 0.1 or 0.2 is usual")


class LanguageModel(WithWeightModes):
    """Train a `GPT` to predict each next token; the learning rate belongs to a callback.

    Logs ``train_loss`` and ``train_acc`` of the updates that the Trainer writes, and ``val_*`` and ``test_*`` as
    means over the epoch. Losses are in nats per token; accuracy is the share of next tokens that were the model's first
    choice.

    Args:
        optimizer: builds the optimizer when called with parameter groups.
        task: the data's `TextTask`, which fixes vocabulary and context.
        layers, heads, width, dropout, bias: see `GPT`.
        layer_decay: see `lr_ratios`; the embeddings, which are the output too, count as the lowest part.
        attention: the kernel that attention tries first, see `attention_order`; ``None`` is torch's own choice.
        compile: run the network through ``torch.compile``; or one of its modes, such as ``"reduce-overhead"``.

    Raises:
        ValueError: the data holds no text, a size is out of range, or the kernel is unknown.
    """

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        task: TextTask,
        layers: int,
        heads: int,
        width: int,
        dropout: float = 0.0,
        bias: bool = False,
        layer_decay: float = 1.0,
        attention: AttentionKernel | None = None,
        compile: bool | CompileMode = False,
    ) -> None:
        super().__init__()
        attention_order(attention)  # raises where there is no such kernel
        self.optimizer, self.attention = optimizer, attention
        task = expect(TextTask, task, model="LanguageModel (model=transformer)")
        self.network = GPT(task.vocab_size, task.context, layers, heads, width, dropout, bias)
        self.lr_ratios = lr_ratios(list(self.network.parts()), layer_decay=layer_decay)
        compile_in_place(self.network, compile)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, time, vocab_size) for tokens (batch, time)."""
        with attending(self.attention):
            logits: Tensor = self.network(tokens)
        return logits

    def loss(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of windows (batch, context + 1), and the logits, without a gradient."""
        with attending(self.attention):
            loss, logits = self.network(windows[:, :-1], windows[:, 1:])
        return loss, logits

    def training_step(self, windows: Tensor) -> Tensor:
        """Return the loss of windows (batch, context + 1): all but the first token are predicted."""
        return self._step(windows, "train")

    def validation_step(self, windows: Tensor) -> None:
        """Log loss and accuracy."""
        self._step(windows, "val")

    def test_step(self, windows: Tensor) -> None:
        """Log loss and accuracy."""
        self._step(windows, "test")

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer alone: a callback owns the learning rate."""
        return optimizer_of(self.optimizer, self.network.parts(), self.lr_ratios)

    def _step(self, windows: Tensor, stage: str) -> Tensor:
        loss, logits = self.loss(windows)
        if stage == "train" and not is_written(self):
            return loss
        accuracy = (logits.argmax(dim=-1) == windows[:, 1:]).float().mean()
        self._report({f"{stage}_loss": loss, f"{stage}_acc": accuracy}, stage, len(windows))
        return loss

    def _report(self, metrics: dict[str, Any], stage: str, batch_size: int) -> None:
        # a step's metrics stay on their device; epoch means are taken over all devices
        self.log_dict(metrics, prog_bar=stage != "test", batch_size=batch_size, sync_dist=stage != "train")
