"""Torch's fused attention kernels: the scores are never held all at once."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


def _cpu_kernel_takes_groups() -> bool:
    # Older versions of torch, such as 2.6, fall back to plain operations for grouped heads.
    q, k = torch.zeros(1, 2, 1, 8), torch.zeros(1, 1, 1, 8)
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch gives the reason for the error below
            F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    except RuntimeError:
        return False
    return True


CPU_KERNEL_TAKES_GROUPS = _cpu_kernel_takes_groups()
_HAS_AMX: bool = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """Attention through `torch.nn.functional.scaled_dot_product_attention`.

    Follows Dao et al. 2022, https://arxiv.org/abs/2205.14135, where the device has such a kernel.

    Args:
        q: queries, (..., num_heads, queries, head_dim).
        k: keys, (..., num_kv_heads, keys, head_dim); num_kv_heads divides num_heads.
        v: values, (..., num_kv_heads, keys, head_dim).
        mask: bool, broadcast to (..., num_heads, queries, keys), True where the query may see the
            key, with one True in each row at least; None: everywhere.
        is_causal: query i sees the keys up to i only; not together with `mask`.

    Returns:
        Weighted values, (..., num_heads, queries, head_dim).
    """
    if _trains_faster_in_float32(q):
        with torch.autocast("cpu", enabled=False):  # which would cast back
            out = fused_attention(q.float(), k.float(), v.float(), mask, is_causal)
        return out.to(q.dtype)
    grouped = q.shape[-3] != k.shape[-3]
    if grouped and q.device.type == "cpu" and not CPU_KERNEL_TAKES_GROUPS:
        group = q.shape[-3] // k.shape[-3]
        k, v = k.repeat_interleave(group, -3), v.repeat_interleave(group, -3)
        grouped = False
    # The kernels take one axis before the heads.
    leading = q.shape[:-3]
    if mask is not None and mask.ndim > 2:
        mask = _merge(mask.expand(*leading, *mask.shape[-3:]))
    out = F.scaled_dot_product_attention(
        _merge(q), _merge(k), _merge(v), mask, is_causal=is_causal, enable_gqa=grouped
    )
    return out.reshape(*leading, *out.shape[-3:])


def _merge(x: Tensor) -> Tensor:
    # (..., heads, queries, d) -> (rows, heads, queries, d)
    return x.unsqueeze(0).flatten(0, -4)


def _trains_faster_in_float32(q: Tensor) -> bool:
    # Without matrix units for half types the kernel's backward pass takes three times as long.
    return (
        q.device.type == "cpu"
        and q.dtype in (torch.bfloat16, torch.float16)
        and torch.is_grad_enabled()
        and not _HAS_AMX
    )


def flex_attention_by_document(
    q: Tensor, k: Tensor, v: Tensor, documents: Tensor, window_size: int | None = None
) -> Tensor:
    """Causal attention within documents, through FlexAttention.

    Whole blocks of the mask that hide everything are passed over, so that it costs what the
    documents cost and not the row. Made for `torch.compile` on a GPU; elsewhere it runs as plain
    operations, and is slow. Follows Dong et al. 2024, https://arxiv.org/abs/2412.05496.

    Args:
        q: queries, (batch, num_heads, seq, head_dim).
        k: keys, (batch, num_kv_heads, seq, head_dim).
        v: values, (batch, num_kv_heads, seq, head_dim).
        documents: int, (batch, seq), from `document_runs`.
        window_size: tokens that a token sees at most; None: no limit.

    Returns:
        Weighted values, (batch, num_heads, seq, head_dim).
    """

    def may_see(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (key <= query) & (documents[batch, query] == documents[batch, key])
        return seen if window_size is None else seen & (query - key < window_size)

    batch, _, seq, _ = q.shape
    blocks = create_block_mask(may_see, batch, None, seq, seq, device=str(q.device))
    grouped = q.shape[-3] != k.shape[-3]
    out = flex_attention(q, k, v, block_mask=blocks, enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out


def prefers_flex(q: Tensor) -> bool:
    """Whether masks are better served by FlexAttention: in a compiled graph on a GPU."""
    return q.is_cuda and q.ndim == 4 and torch.compiler.is_compiling()
