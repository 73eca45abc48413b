"""Attention: the plain mathematical form, and the causal multi-head layer."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlm_layers.activations import softmax
from tlm_layers.linear import Linear
from tlm_layers.rope import RotaryPositionalEmbedding


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention as the formula has it: softmax(q kᵀ / sqrt(d_k)) v.

    Follows Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1. It holds all
    queries × keys scores at once: the form to read and to test against. Computed in float32 at
    least, and cast back.

    Args:
        q: queries, (..., queries, d_k).
        k: keys, (..., keys, d_k).
        v: values, (..., keys, d_v), of a floating type.
        mask: bool, (..., queries, keys), True where the query may see the key; None: everywhere.
            A query that may see nothing gets zeros.

    Returns:
        Weighted values, (..., queries, d_v), of the type of `v`.

    Raises:
        TypeError: a mask that is not bool, or values that are not of a floating type.

    Example:
        >>> q, k = torch.zeros(1, 2), torch.zeros(3, 2)
        >>> v = torch.tensor([[0.0], [2.0], [100.0]])
        >>> scaled_dot_product_attention(q, k, v, mask=torch.tensor([[True, True, False]]))
        tensor([[1.]])
    """
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}; it must be torch.bool, True where a query may see")
    if not v.is_floating_point():
        raise TypeError(f"v is {v.dtype}; it must be of a floating type, as v.float() is")
    dtype, wide = v.dtype, torch.promote_types(v.dtype, torch.float32)
    q, k, v = q.to(wide), k.to(wide), v.to(wide)
    scores = q / math.sqrt(q.shape[-1]) @ k.mT  # (..., queries, keys)
    if mask is None:
        return (softmax(scores, dim=-1) @ v).to(dtype)
    weights = softmax(scores.masked_fill(~mask, -math.inf), dim=-1)
    return (weights.masked_fill(~mask, 0.0) @ v).to(dtype)


class MultiHeadSelfAttention(nn.Module):
    """Causal self-attention in `num_heads` heads of width d_model / num_heads.

    Each token sees itself and the tokens before it. Follows Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762, section 3.2.2, through torch's fused kernel; equal to
    `scaled_dot_product_attention` with a lower triangular mask.

    Args:
        d_model: width of the input and the output.
        num_heads: number of heads; must divide `d_model`.
        rope: turns queries and keys by their positions; None: no positions.
        device: where the weights live.
        dtype: type of the weights.

    Raises:
        ValueError: heads that do not divide `d_model`, or a `rope` of another width.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        rope: RotaryPositionalEmbedding | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"{d_model=} must be divisible by {num_heads=}")
        head_dim = d_model // num_heads
        if rope is not None and rope.d_k != head_dim:
            raise ValueError(f"rope.d_k={rope.d_k} must be d_model / num_heads = {head_dim}")
        self.num_heads = num_heads
        self.rope = rope
        self.q_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.k_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.v_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.output_proj = Linear(d_model, d_model, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh, and fill the table of `rope`."""
        self.q_proj.reset_parameters()
        self.k_proj.reset_parameters()
        self.v_proj.reset_parameters()
        self.output_proj.reset_parameters()
        if self.rope is not None:
            self.rope.reset_parameters()

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: activations, (..., seq, d_model).
            token_positions: int32 or int64, (..., seq), for RoPE; None: 0, 1, …, seq − 1. The
                mask follows the order of the tokens, not their positions.

        Returns:
            Activations, (..., seq, d_model).

        Raises:
            ValueError: positions for a layer without RoPE.
        """
        q = self._split(self.q_proj(x))
        k = self._split(self.k_proj(x))
        v = self._split(self.v_proj(x))
        if self.rope is not None:
            if token_positions is not None:
                token_positions = token_positions.unsqueeze(-2)  # one axis for all heads
            q = self.rope(q, token_positions)
            k = self.rope(k, token_positions)
        elif token_positions is not None:
            raise ValueError("token_positions have no use without rope: give rope, or leave them")
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        # (..., num_heads, seq, head_dim) -> (..., seq, d_model)
        out: Tensor = self.output_proj(heads.transpose(-3, -2).flatten(-2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        # (..., seq, d_model) -> (..., num_heads, seq, head_dim)
        head_dim = x.shape[-1] // self.num_heads
        return x.view(*x.shape[:-1], self.num_heads, head_dim).transpose(-3, -2)
