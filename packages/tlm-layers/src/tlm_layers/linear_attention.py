"""Linear attention: time grows with seq, and generation keeps a state of fixed size."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tlm_layers.kv_cache import Append, StateCache
from tlm_layers.local_blocks import cut, join
from tlm_layers.masks import causal_mask, document_mask
from tlm_layers.precision import without_autocast

CHUNK = 64
"""Tokens that are mixed at once, by their scores; before them stands a running sum."""


def elu_feature_map(x: Tensor) -> Tensor:
    """The positive features φ(x) = elu(x) + 1, element by element.

    Args:
        x: any real values, any shape.

    Returns:
        Positive values of the shape and type of `x`.

    Example:
        >>> elu_feature_map(torch.tensor([0.0, 2.0]))
        tensor([1., 3.])
    """
    return F.elu(x) + 1


def linear_attention_recurrent(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal linear attention as its recurrent form has it, token by token.

    With features φ, from S = 0 and z = 0,

        S ← S + φ(kᵢ) vᵢᵀ
        z ← z + φ(kᵢ)
        outᵢ = Sᵀ φ(qᵢ) / (φ(qᵢ) · z)

    Follows Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236, equations 18 to 20: the
    form to read and to test against.

    Args:
        q: queries, (..., seq, head_dim).
        k: keys, (..., seq, head_dim).
        v: values, (..., seq, d_v).

    Returns:
        Weighted values, (..., seq, d_v).
    """
    dtype, wide = v.dtype, torch.promote_types(v.dtype, torch.float32)
    q, k, v = elu_feature_map(q.to(wide)), elu_feature_map(k.to(wide)), v.to(wide)
    sums = torch.zeros(*v.shape[:-2], k.shape[-1], v.shape[-1], dtype=v.dtype, device=v.device)
    norms = torch.zeros(*k.shape[:-2], k.shape[-1], dtype=k.dtype, device=k.device)
    out = []
    for i in range(q.shape[-2]):
        sums = sums + k[..., i, :, None] * v[..., i, None, :]
        norms = norms + k[..., i, :]
        query = q[..., i, :]
        weight = (query * norms).sum(-1, keepdim=True).clamp(min=_least_weight(wide))
        out.append((query.unsqueeze(-1) * sums).sum(-2) / weight)
    return torch.stack(out, dim=-2).to(dtype) if out else torch.zeros_like(v, dtype=dtype)


@dataclass(frozen=True)
class LinearAttention:
    """Weights are φ(q) · φ(k), with φ(x) = elu(x) + 1, in place of exp(q · k / sqrt(head_dim)).

    Sums over the past then need no scores: a state of head_dim × head_dim holds them. Follows
    Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236; equal to
    `linear_attention_recurrent`. Training goes in chunks of 64 tokens: within a chunk by scores,
    from the chunks before by their sum. Computed in float32 at least.

    Where RoPE has turned queries and keys, φ does not keep the turn: weights then depend on the
    positions, and not, as those of the other patterns, on their distance alone.
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
        wide = torch.promote_types(q.dtype, torch.float32)
        features = elu_feature_map(q.to(wide)), elu_feature_map(k.to(wide))
        with without_autocast(q):
            return _attend(*features, v.to(wide), documents).to(q.dtype)

    def new_cache(
        self,
        batch_size: int,
        num_kv_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> StateCache:
        """The running sums of nothing, in float32 at least whatever `dtype` is."""
        wide = torch.promote_types(dtype, torch.float32)
        shape = (batch_size, num_kv_heads, head_dim, head_dim + 1)
        return StateCache(torch.zeros(shape, device=device, dtype=wide))

    def extend(self, q: Tensor, k: Tensor, v: Tensor, append: Append) -> Tensor:
        """Attend from the tokens of a span to themselves and to those in the cache.

        Args:
            q: queries, (batch, num_heads, width, head_dim).
            k: keys, (batch, num_kv_heads, width, head_dim); the cache takes them.
            v: values, of the shape of `k`; the cache takes them.
            append: a `StateCache`, and the span.

        Returns:
            Weighted values, (batch, num_heads, width, head_dim).
        """
        cache, span = append
        assert isinstance(cache, StateCache)
        wide = cache.sums.dtype
        features, keys, values = (
            elu_feature_map(q.to(wide)),
            elu_feature_map(k.to(wide)),
            v.to(wide),
        )
        if not span.is_uniform:  # padding must not enter the sums
            keys = keys * span.is_token[:, None, :, None]
        with without_autocast(q):
            out = _attend(features, keys, values, None, cache.sums)
            cache.sums += keys.mT @ _with_ones(values)
        return out.to(q.dtype)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None, before: Tensor | None = None
) -> Tensor:
    """Mix values by features; `before` are the sums that stand before the first token."""
    seq = q.shape[-2]
    # (..., heads, seq, d) -> (..., num_kv_heads, queries that share them, chunks, CHUNK, d)
    q = torch.unflatten(cut(q, CHUNK), -4, (k.shape[-3], -1))
    k, v = (cut(x, CHUNK).unsqueeze(-4) for x in (k, _with_ones(v)))
    within, late, reached = causal_mask(CHUNK, q.device), k, q
    if documents is not None:
        ids = cut(documents.unsqueeze(-1), CHUNK).squeeze(-1)  # (..., chunks, CHUNK)
        ids = ids.unsqueeze(-3).unsqueeze(-3)  # axes for the heads
        last = ids[..., -1:]
        previous = F.pad(last, (0, 0, 1, 0), value=-1)[..., :-1, :]
        within = within & document_mask(ids)
        late = k * (ids == last).unsqueeze(-1)  # only these are seen from the next chunk
        reached = q * (ids == previous).unsqueeze(-1)  # only these see the chunk before
        sums = _running_sums((late.mT @ v).flatten(-2), last.squeeze(-1))
        sums = torch.unflatten(sums, -1, (k.shape[-1], v.shape[-1]))
    else:
        sums = (late.mT @ v).cumsum(-3)
    # The sums of all chunks before each one.
    sums = F.pad(sums, (0, 0, 0, 0, 1, 0))[..., :-1, :, :]
    if before is not None:
        sums = sums + before[..., None, None, :, :]
    mixed = ((q @ k.mT) * within) @ v + reached @ sums
    # The padding goes before the division, for it has no weights to divide by.
    mixed = join(mixed.flatten(-5, -4), seq)
    return mixed[..., :-1] / mixed[..., -1:].clamp(min=_least_weight(mixed.dtype))


def _least_weight(dtype: torch.dtype) -> float:
    # A feature that is not zero is eps / 2 at least: 1 + expm1(x) has no smaller step.
    return (torch.finfo(dtype).eps / 2) ** 2


def _with_ones(v: Tensor) -> Tensor:
    # What is summed for the values is summed for a one beside them: the norm.
    return F.pad(v, (0, 1), value=1.0)


def _running_sums(sums: Tensor, documents: Tensor) -> Tensor:
    """Sum up, at each place, what stands there and before it with the same document.

    By masks, over `CHUNK` places and then over what those groups end with. A running sum of all,
    less that of the documents before, would leave something of them in the rounding.

    Args:
        sums: (..., places, width).
        documents: int, in runs, (..., places).

    Returns:
        (..., places, width).
    """
    places = documents.shape[-1]
    if places <= CHUNK:
        seen = document_mask(documents) & causal_mask(places, sums.device)
        return seen.to(sums.dtype) @ sums
    groups = cut(documents.unsqueeze(-1), CHUNK).squeeze(-1)  # (..., groups, CHUNK)
    within = _running_sums(cut(sums, CHUNK), groups)
    last = groups[..., -1]
    carried = F.pad(_running_sums(within[..., -1, :], last), (0, 0, 1, 0))[..., :-1, :]
    goes_on = groups == F.pad(last, (1, 0), value=-1)[..., :-1].unsqueeze(-1)
    return join(within + goes_on.unsqueeze(-1) * carried.unsqueeze(-2), places)
