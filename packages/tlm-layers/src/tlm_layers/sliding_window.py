"""Sliding-window attention: time and memory grow with seq × window_size, not with seq²."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tlm_layers.full_attention import FullAttention
from tlm_layers.fused_attention import flex_attention_by_document, fused_attention, prefers_flex
from tlm_layers.kv_cache import Append, RingCache
from tlm_layers.local_blocks import cut, join, local_mask, with_previous


@dataclass(frozen=True)
class SlidingWindowAttention:
    """Each token sees itself and the `window_size` − 1 tokens before it.

    Follows Beltagy et al. 2020, https://arxiv.org/abs/2004.05150. Equal to
    `scaled_dot_product_attention` with `sliding_window_mask`. The row is cut into blocks of
    `window_size` tokens: a block sees itself and the one before, through torch's fused kernels.
    """

    window_size: int
    """Tokens seen, the token itself included."""

    def __post_init__(self) -> None:
        """Refuse a window of nothing."""
        if self.window_size < 1:
            raise ValueError(f"window_size={self.window_size} must be positive")

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            q: queries, (..., num_heads, seq, head_dim).
            k: keys, (..., num_kv_heads, seq, head_dim).
            v: values, (..., num_kv_heads, seq, head_dim).
            documents: int, (..., seq), from `document_runs`; None: each row is one document.

        Returns:
            Weighted values, (..., num_heads, seq, head_dim).
        """
        seq, size = q.shape[-2], self.window_size
        if seq <= size:
            return FullAttention()(q, k, v, documents)
        if documents is not None and prefers_flex(q):
            return flex_attention_by_document(q, k, v, documents, size)
        if documents is not None:
            mask = local_mask(seq, size, size, documents, q.device)
            keys, values = with_previous(cut(k, size)), with_previous(cut(v, size))
            return join(_attend(cut(q, size), keys, values, mask.unsqueeze(-3)), seq)
        # One mask serves all blocks but the first, which has none before it. A copy of that one
        # keeps no more than itself for the backward pass.
        start = [x[..., :size, :].clone() for x in (q, k, v)]
        first = fused_attention(start[0], start[1], start[2], is_causal=True)
        mask = torch.ones(size, 2 * size, dtype=torch.bool, device=q.device).tril(size).triu(1)
        queries, (keys, values) = cut(q[..., size:, :], size), (_pairs(x, size) for x in (k, v))
        rest = join(_attend(queries, keys, values, mask), seq - size)
        return torch.cat((first, rest), dim=-2)

    def new_cache(
        self,
        batch_size: int,
        num_kv_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> RingCache:
        """Room for the keys and values of the window, however long the rows become."""
        size = min(self.window_size, capacity)
        return RingCache.zeros((batch_size, num_kv_heads, size, head_dim), device, dtype)

    def extend(self, q: Tensor, k: Tensor, v: Tensor, append: Append) -> Tensor:
        """Attend from the tokens of a span to themselves and to those in the cache.

        Args:
            q: queries, (batch, num_heads, width, head_dim).
            k: keys, (batch, num_kv_heads, width, head_dim); the cache takes them.
            v: values, of the shape of `k`; the cache takes them.
            append: a `RingCache`, and the span.

        Returns:
            Weighted values, (batch, num_heads, width, head_dim).
        """
        cache, span = append
        assert isinstance(cache, RingCache)
        if span.is_uniform and span.width == 1:
            cache.append(k, v, span)
            k, v = (x[:, :, : span.end].to(q.dtype) for x in (cache.keys, cache.values))
            return fused_attention(q, k, v)
        is_first = max(span.starts) == 0  # padding stands behind all tokens: none of them sees it
        out = self(q, k, v) if is_first else self._extend(q, k, v, cache, append)
        cache.append(k, v, span)
        return out

    def _extend(self, q: Tensor, k: Tensor, v: Tensor, cache: RingCache, append: Append) -> Tensor:
        span = append.span
        held = cache.positions(torch.tensor(span.starts, device=q.device))
        new = span.positions.expand(len(span.starts), -1)
        places = torch.cat((held, new), dim=-1).unsqueeze(-2)  # (batch, 1, size + width)
        distance = new.unsqueeze(-1) - places
        mask = (distance >= 0) & (distance < self.window_size) & (places >= 0)
        k = torch.cat((cache.keys.to(k.dtype), k), dim=-2)
        v = torch.cat((cache.values.to(v.dtype), v), dim=-2)
        return fused_attention(q, k, v, mask.unsqueeze(-3))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    # The blocks become one more leading axis, before the heads:
    # (..., heads, blocks, size, head_dim) -> (..., blocks, heads, size, head_dim)
    q, k, v = (x.transpose(-4, -3) for x in (q, k, v))
    return fused_attention(q, k, v, mask).transpose(-4, -3)


def _pairs(x: Tensor, size: int) -> Tensor:
    # Each block but the first, behind the one before it.
    own = cut(x[..., size:, :], size)
    before = cut(x[..., : own.shape[-3] * size, :], size)
    return torch.cat((before, own), dim=-2)
