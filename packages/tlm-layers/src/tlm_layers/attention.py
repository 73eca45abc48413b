"""Attention: the plain mathematical form, and the causal multi-head layer."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from tlm_layers.activations import softmax
from tlm_layers.full_attention import FullAttention
from tlm_layers.kv_cache import Append, LayerCache
from tlm_layers.linear import Linear
from tlm_layers.norm import RMSNorm
from tlm_layers.precision import without_autocast
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
    with without_autocast(q):
        scores = q / math.sqrt(q.shape[-1]) @ k.mT  # (..., queries, keys)
        if mask is None:
            return (softmax(scores, dim=-1) @ v).to(dtype)
        weights = softmax(scores.masked_fill(~mask, -math.inf), dim=-1)
        return (weights.masked_fill(~mask, 0.0) @ v).to(dtype)


class AttentionPattern(Protocol):
    """How tokens see each other: what stands between the projections of a layer.

    `FullAttention`, `SlidingWindowAttention`, `StridedAttention` and `LinearAttention` are such.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None = None) -> Tensor:
        """Attend within rows; see `FullAttention`."""

    def new_cache(
        self,
        batch_size: int,
        num_kv_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> LayerCache:
        """What one layer keeps in generation."""

    def extend(self, q: Tensor, k: Tensor, v: Tensor, append: Append) -> Tensor:
        """Attend from new tokens to themselves and to those in a cache."""


class MultiHeadSelfAttention(nn.Module):
    """Causal self-attention in `num_heads` heads.

    Follows Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.2. With fewer heads
    of keys and values than of queries, a group of neighbouring queries shares each (Ainslie et al.
    2023, https://arxiv.org/abs/2305.13245).

    Args:
        d_model: width of the input and the output.
        num_heads: heads of queries; must divide `d_model` unless `head_dim` is given.
        rope: turns queries and keys by their positions; None: no positions.
        num_kv_heads: heads of keys and values; must divide `num_heads`; None: `num_heads`.
        head_dim: width of a head; None: d_model / num_heads.
        qk_norm: whether queries and keys pass an RMSNorm, head by head, before they are turned
            (Dehghani et al. 2023, https://arxiv.org/abs/2302.05442).
        eps: that of these norms.
        pattern: which tokens a token sees, and how they are weighed.
        device: where the weights live.
        dtype: type of the weights.

    Raises:
        ValueError: heads that do not divide `d_model` or each other, or a `rope` of another width.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        rope: RotaryPositionalEmbedding | None = None,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        qk_norm: bool = False,
        eps: float = 1e-5,
        pattern: AttentionPattern | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or (head_dim is None and d_model % num_heads):
            raise ValueError(f"{d_model=} must be divisible by {num_heads=}")
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"{num_heads=} must be divisible by {num_kv_heads=}")
        head_dim = d_model // num_heads if head_dim is None else head_dim
        if rope is not None and rope.d_k != head_dim:
            raise ValueError(f"rope.d_k={rope.d_k} must be {head_dim=}")
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = head_dim
        self.rope = rope
        self.pattern = FullAttention() if pattern is None else pattern
        d_q, d_kv = num_heads * head_dim, num_kv_heads * head_dim
        self.q_proj = Linear(d_model, d_q, device=device, dtype=dtype)
        self.k_proj = Linear(d_model, d_kv, device=device, dtype=dtype)
        self.v_proj = Linear(d_model, d_kv, device=device, dtype=dtype)
        self.output_proj = Linear(d_q, d_model, device=device, dtype=dtype)
        self.q_norm = RMSNorm(head_dim, eps, device=device, dtype=dtype) if qk_norm else None
        self.k_norm = RMSNorm(head_dim, eps, device=device, dtype=dtype) if qk_norm else None

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        for part in self.children():
            if part is not self.rope:  # its table is never unfilled
                part.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        token_positions: Tensor | int | None = None,
        documents: Tensor | None = None,
        append: Append | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: activations, (..., seq, d_model).
            token_positions: int32 or int64, (..., seq), for RoPE; a number: from there on; None: 0,
                1, …, seq − 1. Who sees whom follows the order of the tokens, not their positions.
            documents: int, (..., seq), from `document_runs`: no token sees another document; None:
                each row is one document.
            append: a cache from `pattern.new_cache` and what `x` appends to it; not together with
                `documents`.

        Returns:
            Activations, (..., seq, d_model).

        Raises:
            ValueError: positions for a layer without RoPE.
        """
        # (..., seq, heads · head_dim) -> (..., seq, heads, head_dim)
        q = self.q_proj(x).unflatten(-1, (self.num_heads, self.head_dim))
        k = self.k_proj(x).unflatten(-1, (self.num_kv_heads, self.head_dim))
        v = self.v_proj(x).unflatten(-1, (self.num_kv_heads, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        # (..., seq, heads, head_dim) -> (..., heads, seq, head_dim)
        q, k, v = q.transpose(-3, -2), k.transpose(-3, -2), v.transpose(-3, -2)
        if self.rope is not None:
            if isinstance(token_positions, Tensor):
                token_positions = token_positions.unsqueeze(-2)  # one axis for all heads
            q = self.rope(q, token_positions)
            k = self.rope(k, token_positions)
        elif token_positions is not None:
            raise ValueError("token_positions have no use without rope: give rope, or leave them")
        if append is None:
            heads = self.pattern(q, k, v, documents)
        else:
            heads = self.pattern.extend(q, k, v, append)
        # (..., num_heads, seq, head_dim) -> (..., seq, num_heads · head_dim)
        out: Tensor = self.output_proj(heads.transpose(-3, -2).flatten(-2))
        return out

    def extra_repr(self) -> str:
        """The heads and who sees whom, for `print(model)`."""
        return f"num_heads={self.num_heads}, num_kv_heads={self.num_kv_heads}, {self.pattern}"
