"""Strided sparse attention: time and memory grow with seq · (stride + seq / stride)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tlm_layers.activations import softmax
from tlm_layers.full_attention import FullAttention
from tlm_layers.fused_attention import fused_attention
from tlm_layers.kv_cache import Append, FullCache
from tlm_layers.local_blocks import cut, join, local_mask, with_previous
from tlm_layers.precision import without_autocast


@dataclass(frozen=True)
class StridedAttention:
    """Each token sees the last `stride` tokens, and every `stride`-th before them.

    With a stride near the root of the length a token sees few, and any two are two steps apart.
    Follows Child et al. 2019, https://arxiv.org/abs/1904.10509, section 4.2, with both parts under
    one softmax. Equal to `scaled_dot_product_attention` with `strided_mask`.
    """

    stride: int
    """The window, and the distance of the tokens beyond it."""

    def __post_init__(self) -> None:
        """Refuse a stride of nothing."""
        if self.stride < 1:
            raise ValueError(f"stride={self.stride} must be positive")

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
        if q.shape[-2] <= self.stride:
            return FullAttention()(q, k, v, documents)
        with without_autocast(q):
            return self._attend(q, k, v, documents)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> Tensor:
        seq, dtype = q.shape[-2], q.dtype
        wide = torch.promote_types(dtype, torch.float32)
        group = q.shape[-3] // k.shape[-3]
        q = cut(q.to(wide) / math.sqrt(q.shape[-1]), self.stride)
        k, v = (cut(x.to(wide).repeat_interleave(group, -3), self.stride) for x in (k, v))
        # Row r and column c of a head hold token r · stride + c: the tokens at strided distances
        # are those in the same column, in the rows before.
        near_k, near_v = with_previous(k), with_previous(v)
        far_k, far_v = k.transpose(-3, -2), v.transpose(-3, -2)  # (..., stride, rows, head_dim)
        near = q @ near_k.mT  # (..., rows, stride, 2 · stride)
        far = (q.transpose(-3, -2) @ far_k.mT).transpose(-3, -2)  # (..., rows, stride, rows)
        near_mask = local_mask(seq, self.stride, self.stride, documents, q.device)
        mask = torch.cat((near_mask, self._far_mask(seq, documents, near_mask)), dim=-1)
        if documents is not None:
            mask = mask.unsqueeze(-4)  # one axis for all heads
        scores = torch.cat((near, far), dim=-1).masked_fill(~mask, -math.inf)
        weights = softmax(scores, dim=-1)
        near, far = torch.split(weights, [2 * self.stride, k.shape[-3]], dim=-1)
        out = near @ near_v + (far.transpose(-3, -2) @ far_v).transpose(-3, -2)
        return join(out, seq).to(dtype)

    def _far_mask(self, seq: int, documents: Tensor | None, near_mask: Tensor) -> Tensor:
        rows = near_mask.shape[-3]
        before = torch.ones(rows, rows, dtype=torch.bool, device=near_mask.device).tril(-1)
        mask = before.unsqueeze(1).expand(rows, self.stride, rows)
        if documents is None:
            return mask
        columns = cut(documents.unsqueeze(-1), self.stride).squeeze(-1)  # (..., rows, stride)
        # (..., rows, stride, 1) against (..., 1, stride, rows)
        return mask & (columns.unsqueeze(-1) == columns.mT.unsqueeze(-3))

    def new_cache(
        self,
        batch_size: int,
        num_kv_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> FullCache:
        """Room for the keys and values of `capacity` tokens in each row."""
        return FullCache.zeros((batch_size, num_kv_heads, capacity, head_dim), device, dtype)

    def extend(self, q: Tensor, k: Tensor, v: Tensor, append: Append) -> Tensor:
        """Attend from the tokens of a span to themselves and to those in the cache.

        Args:
            q: queries, (batch, num_heads, width, head_dim).
            k: keys, (batch, num_kv_heads, width, head_dim); the cache takes them.
            v: values, of the shape of `k`; the cache takes them.
            append: a `FullCache`, and the span.

        Returns:
            Weighted values, (batch, num_heads, width, head_dim).
        """
        cache, span = append
        assert isinstance(cache, FullCache)
        keys, values = (x.to(q.dtype) for x in cache.append(k, v, span))
        if max(span.starts) == 0:  # padding stands behind all tokens, and none of them sees it
            return self(q, k, v)
        distance = span.positions.unsqueeze(-1) - torch.arange(span.end, device=q.device)
        mask = (distance >= 0) & ((distance < self.stride) | (distance % self.stride == 0))
        return fused_attention(q, keys, values, mask.unsqueeze(-3))
