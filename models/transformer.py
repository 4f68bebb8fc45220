"""The transformer of a stream: positions of tokens, and encoder layers.

Shapes: N rows (views of clips), L tokens, H heads, D width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionTable(nn.Module):
    """Adds a vector to each token, which tells the transformer the token's position.

    Args:
        kind: "sinusoidal" (sine and cosine, Vaswani et al., 2017), "learned" (a table), or "none".
        tokens: L.
        width: D.

    Raises:
        ValueError: The width is odd and the positions are sinusoidal.
    """

    table: Tensor | None

    def __init__(self, kind: str, tokens: int, width: int) -> None:
        super().__init__()
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(tokens, width).normal_(std=0.02))
        elif kind == "sinusoidal":
            self.register_buffer("table", sinusoids(tokens, width), persistent=False)
        else:
            self.table = None

    def forward(self, x_NLD: Tensor) -> Tensor:
        """Add the positions to tokens [N, L, D]."""
        if self.table is None:
            return x_NLD
        return x_NLD + self.table.to(x_NLD.dtype)


def sinusoids(tokens: int, width: int) -> Tensor:
    """Compute the table of sinusoidal positions (Vaswani et al., 2017).

    Returns:
        [tokens, width]; even columns are sin(t / 10000^(i/width)), each odd column the cosine of
        the same.

    Raises:
        ValueError: The width is odd.
    """
    if width % 2:
        raise ValueError(f"sinusoidal positions need an even width, got {width}")
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(tokens)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Layer(nn.Module):
    """An encoder layer with ReLU, which computes the same as `nn.TransformerEncoderLayer`.

    The layer of torch copies tensors, and takes different code paths in training and evaluation.

    Args:
        width: D.
        heads: H; must divide D.
        feedforward: width of the hidden layer.
        dropout: probability that a value is dropped in training.
        norm: "post" normalises each residual sum, "pre" the input of each block.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(
        self, *, width: int, heads: int, feedforward: int, dropout: float, norm: str
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.heads = heads
        self.pre = norm == "pre"
        self.rate = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, feedforward)
        self.contract = nn.Linear(feedforward, width)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        # The initial weights of nn.MultiheadAttention.
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_NLD: Tensor) -> Tensor:
        """Encode tokens [N, L, D]."""
        if self.pre:
            x_NLD = x_NLD + self._attention(self.norm_attention(x_NLD))
            return x_NLD + self._feedforward(self.norm_feedforward(x_NLD))
        x_NLD = self.norm_attention(x_NLD + self._attention(x_NLD))
        return self.norm_feedforward(x_NLD + self._feedforward(x_NLD))

    def _attention(self, x_NLD: Tensor) -> Tensor:
        query, key, value = self.qkv(x_NLD).chunk(3, -1)
        x_NHLd = F.scaled_dot_product_attention(
            self._by_head(query),
            self._by_head(key),
            self._by_head(value),
            dropout_p=self.rate if self.training else 0.0,
        )
        return self.dropout(self.out(x_NHLd.transpose(1, 2).flatten(2)))

    def _by_head(self, x_NLD: Tensor) -> Tensor:
        """[N, L, D] to [N, H, L, D / H]."""
        return x_NLD.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _feedforward(self, x_NLD: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.expand(x_NLD)))
        return self.dropout(self.contract(hidden))
