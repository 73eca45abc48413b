"""The language model."""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tlm_layers.block import make_block, make_pattern, make_rope
from tlm_layers.config import ModelConfig
from tlm_layers.embedding import Embedding
from tlm_layers.initialize import truncated_normal_
from tlm_layers.kv_cache import Append, KVCache
from tlm_layers.linear import Linear
from tlm_layers.loss import cross_entropy, linear_cross_entropy, soft_cap
from tlm_layers.masks import document_runs
from tlm_layers.norm import make_norm


class TransformerLM(nn.Module):
    """A decoder-only Transformer: from token ids to logits of the next token.

    Embedding, `num_layers` blocks, a last norm (pre-norm models), and a projection to the
    vocabulary; by default all as in Llama (Touvron et al. 2023, https://arxiv.org/abs/2302.13971).
    `torch.manual_seed` before construction fixes the weights, on any device.

    Args:
        config: the sizes, and which part stands in each place.
        device: where the weights live.
        dtype: type of the weights.
        activation_checkpointing: whether the backward pass computes the inside of each block
            again, and the forward pass keeps only what stands between blocks (Chen et al. 2016,
            https://arxiv.org/abs/1604.06174); an attribute, which may be changed later.

    Example:
        >>> model = TransformerLM(ModelConfig(vocab_size=100, d_model=32, num_heads=2))
        >>> model(torch.tensor([[3, 14, 15]])).shape
        torch.Size([1, 3, 100])
    """

    def __init__(
        self,
        config: ModelConfig,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = activation_checkpointing
        rope = make_rope(config, device)  # one table; each block holds the same module
        self.token_embeddings = Embedding(
            config.vocab_size, config.d_model, device=device, dtype=dtype
        )
        self.layers = nn.ModuleList(
            make_block(config, rope, device=device, dtype=dtype) for _ in range(config.num_layers)
        )
        # A post-norm block ends with a norm already.
        last_norm = config.norm if config.norm_place == "pre" else "none"
        self.ln_final = make_norm(last_norm, config.d_model, config.norm_eps, device, dtype)
        if config.tie_embeddings:
            self.lm_head = None
            self._reset_tied()
        else:
            self.lm_head = Linear(config.d_model, config.vocab_size, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh, in the order of construction."""
        for part in (self.token_embeddings, *self.layers, self.ln_final, self.lm_head):
            if part is not None and not isinstance(part, nn.Identity):
                part.reset_parameters()
        if self.lm_head is None:
            self._reset_tied()

    def _reset_tied(self) -> None:
        # A table of unit variance would make logits as wide as sqrt(d_model).
        std = math.sqrt(2 / sum(self.output_weight.shape))  # as `Linear` has it
        truncated_normal_(self.output_weight, std)

    @property
    def output_weight(self) -> nn.Parameter:
        """The matrix from hidden states to logits, (vocab_size, d_model)."""
        return self.token_embeddings.weight if self.lm_head is None else self.lm_head.weight

    def num_parameters(self) -> int:
        """The number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        token_ids: Tensor,
        token_positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        cache: KVCache | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Score every next token at every position.

        Args:
            token_ids: int32 or int64, (..., seq), seq at most `config.context_length`.
            token_positions: int32 or int64, (..., seq), for RoPE; None: 0, 1, …, seq − 1, or on
                from those in the cache.
            document_ids: int, (..., seq): no token sees beyond its own run of equal ids; None: each
                row is one document.
            cache: from `new_cache`, which takes the tokens: they see those it holds. No gradients
                flow then, and `token_ids` are (batch, seq).
            lengths: with a cache, the tokens in each row, the rest of it is padding, whose logits
                mean nothing; None: no padding.

        Returns:
            Logits, (..., seq, vocab_size).

        Raises:
            TypeError: ids that are neither int32 nor int64.
            ValueError: a sequence longer than the context or the cache, an option without use, or
                (on the CPU) an id outside the vocabulary.
        """
        hidden = self.hidden(token_ids, token_positions, document_ids, cache, lengths)
        logits = self.logits(hidden)
        return logits if cache is None else logits.detach()

    def hidden(
        self,
        token_ids: Tensor,
        token_positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        cache: KVCache | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """What stands before the projection to the vocabulary; see `forward`.

        Returns:
            Hidden states, (..., seq, d_model).
        """
        if cache is not None:
            return self._hidden_cached(token_ids, token_positions, document_ids, cache, lengths)
        if lengths is not None:
            raise ValueError("lengths have no use without a cache: give cache, or leave them")
        seq = token_ids.shape[-1]
        if seq > self.config.context_length:
            raise ValueError(
                f"a sequence of {seq} tokens is longer than "
                f"context_length={self.config.context_length}"
            )
        documents = None
        if document_ids is not None:
            if document_ids.shape != token_ids.shape:
                raise ValueError(
                    f"document_ids of shape {tuple(document_ids.shape)} must have the shape "
                    f"{tuple(token_ids.shape)} of token_ids"
                )
            documents = document_runs(document_ids)
        x = self.token_embeddings(token_ids)
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, token_positions, documents, use_reentrant=False)
            else:
                x = layer(x, token_positions, documents)
        out: Tensor = self.ln_final(x)
        return out

    @torch.no_grad()
    def _hidden_cached(
        self,
        token_ids: Tensor,
        token_positions: Tensor | None,
        document_ids: Tensor | None,
        cache: KVCache,
        lengths: Sequence[int] | None,
    ) -> Tensor:
        if document_ids is not None:
            raise ValueError("document_ids do not go with a cache: a row of it is one document")
        if token_ids.ndim != 2:
            raise ValueError(
                f"token_ids of shape {tuple(token_ids.shape)} must be (batch, seq) with a cache"
            )
        if cache.config != self.config:
            raise ValueError(
                "the cache is of a model with another config: take this one's new_cache"
            )
        batch_size, width = token_ids.shape
        span = cache.span(batch_size, width, lengths, token_ids.device)
        positions: Tensor | int | None = token_positions
        if positions is None and self.config.position == "rope":
            # Padding may stand beyond the context; its positions do not matter.
            last = self.config.context_length - 1
            positions = span.start if span.is_uniform else span.positions.clamp(max=last)
        x = self.token_embeddings(token_ids)
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, positions, None, Append(layer_cache, span))
        cache.advance(span)
        out: Tensor = self.ln_final(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Project to the vocabulary.

        Args:
            hidden: from `hidden`, (..., d_model).

        Returns:
            Logits, (..., vocab_size), bent by `config.logit_soft_cap` where there is one.
        """
        if self.lm_head is None:
            logits = F.linear(hidden, self.output_weight)
        else:
            logits = self.lm_head(hidden)
        return soft_cap(logits, self.config.logit_soft_cap)

    def loss(
        self,
        token_ids: Tensor,
        targets: Tensor,
        token_positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        """What training makes small: cross-entropy and `config.z_loss`, without holding all logits.

        Args:
            token_ids: int32 or int64, (..., seq).
            targets: int64, (..., seq): the next token at each position, or `ignore_index`.
            token_positions: see `forward`.
            document_ids: see `forward`.
            ignore_index: targets of this value count for nothing.

        Returns:
            Nats per target that counts, a scalar; see `linear_cross_entropy`.
        """
        hidden = self.hidden(token_ids, token_positions, document_ids)
        if self.lm_head is not None and type(self.lm_head) is not Linear:
            # A head put in its place, such as a LoRA's, is more than its weight.
            logits, z_loss = self.logits(hidden), self.config.z_loss
            return cross_entropy(logits, targets, ignore_index=ignore_index, z_loss=z_loss)
        return linear_cross_entropy(
            hidden,
            self.output_weight,
            targets,
            ignore_index=ignore_index,
            z_loss=self.config.z_loss,
            logit_soft_cap=self.config.logit_soft_cap,
        )

    @torch.inference_mode(False)  # else it could not be written to outside of inference mode
    def new_cache(
        self, batch_size: int = 1, capacity: int | None = None, dtype: torch.dtype | None = None
    ) -> KVCache:
        """Allocate what generation keeps of the tokens that it has seen.

        Args:
            batch_size: rows.
            capacity: tokens that a row may hold; None: `config.context_length`.
            dtype: type of keys and values; None: that of the weights.

        Returns:
            An empty cache, for `forward` and `hidden`.

        Raises:
            ValueError: a size that is not positive, or a capacity beyond the context.

        Example:
            >>> model = TransformerLM(ModelConfig(vocab_size=100, d_model=32, num_heads=2))
            >>> cache = model.new_cache()
            >>> first, then = model(torch.tensor([[3, 14]]), cache=cache), torch.tensor([[15]])
            >>> whole = model(torch.tensor([[3, 14, 15]]))
            >>> torch.allclose(model(then, cache=cache), whole[:, 2:], atol=1e-5)
            True
        """
        config = self.config.resolved()
        capacity = config.context_length if capacity is None else capacity
        if batch_size < 1 or not 1 <= capacity <= config.context_length:
            raise ValueError(
                f"{batch_size=} must be positive, and {capacity=} from 1 to "
                f"context_length={config.context_length}"
            )
        weight = self.output_weight
        pattern, dtype = make_pattern(config), weight.dtype if dtype is None else dtype
        num_kv_heads, head_dim = cast(int, config.num_kv_heads), cast(int, config.head_dim)
        layers = [
            pattern.new_cache(batch_size, num_kv_heads, capacity, head_dim, weight.device, dtype)
            for _ in range(config.num_layers)
        ]
        return KVCache(self.config, layers, batch_size, capacity)
