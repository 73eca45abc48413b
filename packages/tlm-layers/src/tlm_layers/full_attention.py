"""Full causal attention, through torch's fused kernels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tlm_layers.fused_attention import flex_attention_by_document, fused_attention, prefers_flex
from tlm_layers.kv_cache import Append, FullCache
from tlm_layers.masks import causal_mask, document_mask


@dataclass(frozen=True)
class FullAttention:
    """Each token sees itself and all tokens before it.

    Follows Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1. Equal to
    `scaled_dot_product_attention` with `causal_mask`, and `document_mask` where there are several.
    """

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
        if documents is None:
            return fused_attention(q, k, v, is_causal=True)
        if prefers_flex(q):
            return flex_attention_by_document(q, k, v, documents)
        mask = document_mask(documents) & causal_mask(q.shape[-2], q.device)
        return fused_attention(q, k, v, mask.unsqueeze(-3))

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
        k, v = (x.to(q.dtype) for x in cache.append(k, v, span))
        if span.is_uniform and span.width == 1:
            return fused_attention(q, k, v)
        if span.is_uniform and span.start == 0:
            return fused_attention(q, k, v, is_causal=True)
        mask = span.positions.unsqueeze(-1) >= torch.arange(span.end, device=q.device)
        return fused_attention(q, k, v, mask.unsqueeze(-3))
