"""What generation keeps of the tokens that a model has seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from tlm_layers.config import ModelConfig

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Span:
    """The tokens that one call appends to each row of a cache.

    Rows may hold different numbers of tokens, and take different numbers more: each row of the call
    has `width` places, of which the first `counts[row]` hold tokens and the rest padding.
    """

    starts: tuple[int, ...]
    """Tokens that each row held before."""

    counts: tuple[int, ...]
    """Tokens that each row takes."""

    width: int
    """Places for them in each row."""

    device: torch.device
    """Where the tensors of the call live."""

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all rows stand at the same place and none is padded."""
        return len(set(self.starts)) == 1 and set(self.counts) == {self.width}

    @property
    def start(self) -> int:
        """Where all rows of a uniform span stand."""
        return self.starts[0]

    @property
    def end(self) -> int:
        """One more than the last position of any token."""
        return max(start + count for start, count in zip(self.starts, self.counts, strict=True))

    @cached_property
    def positions(self) -> Tensor:
        """The position of each place, padding included, int64, (batch, width).

        (1, width) for a uniform span.
        """
        starts = self.starts[:1] if self.is_uniform else self.starts
        column = torch.tensor(starts, device=self.device).unsqueeze(-1)
        return column + torch.arange(self.width, device=self.device)

    @cached_property
    def is_token(self) -> Tensor:
        """Which places hold tokens, bool, (batch, width)."""
        counts = torch.tensor(self.counts, device=self.device).unsqueeze(-1)
        return torch.arange(self.width, device=self.device) < counts


@dataclass
class KeysAndValues:
    """The tensors of a cache that holds tokens."""

    keys: Tensor
    """(batch, num_kv_heads, places, head_dim)."""

    values: Tensor
    """(batch, num_kv_heads, places, head_dim)."""

    @classmethod
    def zeros(cls, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> "Self":
        """An empty cache, with tensors of a shape."""
        keys, values = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        return cls(keys, values)


class FullCache(KeysAndValues):
    """The keys and values of all tokens of one layer, in their order.

    A place beyond a row's tokens may hold anything: it is written before it is looked at.
    """

    def append(self, k: Tensor, v: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """Write the keys and values of a span, and return all up to it.

        Args:
            k: keys, (batch, num_kv_heads, width, head_dim).
            v: values, of the same shape.
            span: where they belong.

        Returns:
            Keys and values, (batch, num_kv_heads, span.end, head_dim).
        """
        for held, new in ((self.keys, k), (self.values, v)):
            if span.is_uniform:
                held[:, :, span.start : span.end] = new
            else:
                rows, places = span.is_token.nonzero(as_tuple=True)
                # (batch, heads, width, head_dim) -> (tokens, heads, head_dim)
                tokens = new.transpose(1, 2)[rows, places]
                held[rows, :, span.positions[rows, places]] = tokens.to(held.dtype)
        return self.keys[:, :, : span.end], self.values[:, :, : span.end]


class RingCache(KeysAndValues):
    """The keys and values of the last tokens of one layer: position p lies in place p mod size."""

    def positions(self, ends: Tensor) -> Tensor:
        """The position that each place holds where rows have `ends` tokens.

        Args:
            ends: int64, (batch,).

        Returns:
            int64, (batch, size); negative where a place holds nothing yet.
        """
        size = self.keys.shape[-2]
        last = ends.unsqueeze(-1) - 1
        return last - (last - torch.arange(size, device=ends.device)) % size

    def append(self, k: Tensor, v: Tensor, span: Span) -> None:
        """Write the keys and values of a span over the oldest.

        Args:
            k: keys, (batch, num_kv_heads, width, head_dim).
            v: values, of the same shape.
            span: where they belong.
        """
        size = self.keys.shape[-2]
        if span.is_uniform and span.width == 1:
            self.keys[:, :, span.start % size] = k[:, :, 0]
            self.values[:, :, span.start % size] = v[:, :, 0]
            return
        starts = torch.tensor(span.starts, device=k.device)
        ends = starts + torch.tensor(span.counts, device=k.device)
        # What each place holds afterwards, counted from the first token of the span.
        source = self.positions(ends) - starts.unsqueeze(-1)
        is_new = (source >= 0)[:, None, :, None]
        index = source.clamp(min=0)[:, None, :, None].expand(-1, *k.shape[1:2], -1, k.shape[-1])
        for held, new in ((self.keys, k), (self.values, v)):
            held.copy_(torch.where(is_new, new.gather(2, index).to(held.dtype), held))


@dataclass
class StateCache:
    """The running sums of linear attention of one layer, whatever the number of tokens."""

    sums: Tensor
    """Σ φ(k) [v, 1]ᵀ, float32 at least, (batch, num_kv_heads, head_dim, head_dim + 1)."""


LayerCache = FullCache | RingCache | StateCache


class Append(NamedTuple):
    """One layer's cache, and what a call appends to it."""

    cache: LayerCache
    span: Span


class KVCache:
    """The memory of a `TransformerLM` in generation, allocated once; see `TransformerLM.new_cache`.

    Args:
        config: that of the model.
        layers: one cache for each layer.
        batch_size: rows.
        capacity: tokens that a row may hold.
    """

    def __init__(
        self, config: ModelConfig, layers: Sequence[LayerCache], batch_size: int, capacity: int
    ) -> None:
        self.config = config
        self.layers = list(layers)
        self.capacity = capacity
        self.lengths = [0] * batch_size
        """Tokens that each row holds."""

    def span(
        self, batch_size: int, width: int, lengths: Sequence[int] | None, device: torch.device
    ) -> Span:
        """What a call with token ids of shape (batch_size, width) would append.

        Args:
            batch_size: rows of the call.
            width: places in each row.
            lengths: tokens in each row, the rest of it is padding; None: no padding.
            device: where the tensors of the call live.

        Raises:
            ValueError: another number of rows, a length that is not from 1 to the width, or more
                tokens than there is room for.
        """
        if batch_size != len(self.lengths):
            raise ValueError(
                f"token_ids of {batch_size} rows do not fit a cache of {len(self.lengths)} rows"
            )
        counts = (width,) * batch_size if lengths is None else tuple(int(n) for n in lengths)
        if len(counts) != batch_size or not all(1 <= count <= width for count in counts):
            raise ValueError(
                f"lengths={list(counts)} must be one number for each of {batch_size} rows, each "
                f"from 1 to {width}"
            )
        span = Span(tuple(self.lengths), counts, width, device)
        for start, count in zip(self.lengths, counts, strict=True):
            if start + count > self.capacity:
                raise ValueError(
                    f"{start} tokens and {count} more are beyond the cache's "
                    f"capacity={self.capacity}"
                )
        return span

    def advance(self, span: Span) -> None:
        """Count the tokens of a span as held, once all layers have it."""
        self.lengths = [
            start + count for start, count in zip(span.starts, span.counts, strict=True)
        ]

    def reset(self) -> None:
        """Forget all tokens; the memory stays."""
        self.lengths = [0] * len(self.lengths)
        for layer in self.layers:
            if isinstance(layer, StateCache):
                layer.sums.zero_()

    def num_bytes(self) -> int:
        """Size of its tensors."""
        return sum(
            tensor.numel() * tensor.element_size()
            for layer in self.layers
            for tensor in vars(layer).values()
        )
