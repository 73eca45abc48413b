"""The Transformer block, and the choice of its parts."""

from typing import cast

import torch
from torch import Tensor, nn

from tlm_layers.attention import AttentionPattern, MultiHeadSelfAttention
from tlm_layers.config import ModelConfig, NormPlace
from tlm_layers.feedforward import make_feed_forward
from tlm_layers.full_attention import FullAttention
from tlm_layers.kv_cache import Append
from tlm_layers.linear_attention import LinearAttention
from tlm_layers.norm import make_norm
from tlm_layers.rope import Llama3Scaling, RotaryPositionalEmbedding
from tlm_layers.sliding_window import SlidingWindowAttention
from tlm_layers.strided import StridedAttention


class TransformerBlock(nn.Module):
    """A pre-norm block: x + attn(ln1(x)), then x + ffn(ln2(x)).

    The norms stand before the parts, so that the residual stream runs through untouched (Xiong et
    al. 2020, https://arxiv.org/abs/2002.04745).

    Args:
        config: the widths, and which norm, attention and feed-forward it is made of.
        rope: turns queries and keys by their positions, where the config says so; None: one of the
            config is made. Blocks may share it.
        device: where the weights live.
        dtype: type of the weights.

    Raises:
        ValueError: a config with norms in the other place, or a `rope` for one without positions.
    """

    norm_place: NormPlace = "pre"
    """Where its norms stand; see `ModelConfig.norm_place`."""

    def __init__(
        self,
        config: ModelConfig,
        rope: RotaryPositionalEmbedding | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if config.norm_place != self.norm_place:
            raise ValueError(
                f"norm_place={config.norm_place!r} of the config must be {self.norm_place!r} for a "
                f"{type(self).__name__}"
            )
        if rope is not None and config.position == "none":
            raise ValueError("rope has no use with position='none' of the config: leave it out")
        config = config.resolved()
        self.ln1 = make_norm(config.norm, config.d_model, config.norm_eps, device, dtype)
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            config.num_heads,
            make_rope(config, device) if rope is None else rope,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            qk_norm=config.qk_norm,
            eps=config.norm_eps,
            pattern=make_pattern(config),
            device=device,
            dtype=dtype,
        )
        self.ln2 = make_norm(config.norm, config.d_model, config.norm_eps, device, dtype)
        self.ffn = make_feed_forward(config.ffn, config.d_model, config.d_ff, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        for part in (self.ln1, self.attn, self.ln2, self.ffn):
            if not isinstance(part, nn.Identity):
                part.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        token_positions: Tensor | int | None = None,
        documents: Tensor | None = None,
        append: Append | None = None,
    ) -> Tensor:
        """Mix the tokens, then map each.

        Args:
            x: residual stream, (..., seq, d_model).
            token_positions: int32 or int64, (..., seq), for RoPE; a number: from there on; None: 0,
                1, …, seq − 1.
            documents: int, (..., seq), from `document_runs`; None: each row is one document.
            append: the attention's cache, and what `x` appends to it.

        Returns:
            Residual stream, (..., seq, d_model).
        """
        x = x + self.attn(self.ln1(x), token_positions, documents, append)
        x = x + self.ffn(self.ln2(x))
        return x


class PostNormBlock(TransformerBlock):
    """A post-norm block: ln1(x + attn(x)), then ln2(x + ffn(x)).

    The order of the first Transformer (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).
    """

    norm_place = "post"

    def forward(
        self,
        x: Tensor,
        token_positions: Tensor | int | None = None,
        documents: Tensor | None = None,
        append: Append | None = None,
    ) -> Tensor:
        """Mix the tokens, then map each; see `TransformerBlock.forward`."""
        x = self.ln1(x + self.attn(x, token_positions, documents, append))
        x = self.ln2(x + self.ffn(x))
        return x


def make_block(
    config: ModelConfig,
    rope: RotaryPositionalEmbedding | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> TransformerBlock:
    """The block that a config describes; see `TransformerBlock`."""
    kind = PostNormBlock if config.norm_place == "post" else TransformerBlock
    return kind(config, rope, device, dtype)


def make_pattern(config: ModelConfig) -> AttentionPattern:
    """The attention pattern that a config describes."""
    config = config.resolved()
    if config.attention == "sliding_window":
        return SlidingWindowAttention(cast(int, config.window_size))
    if config.attention == "strided":
        return StridedAttention(cast(int, config.stride))
    return LinearAttention() if config.attention == "linear" else FullAttention()


def make_rope(
    config: ModelConfig, device: torch.device | str | None = None
) -> RotaryPositionalEmbedding | None:
    """The rotary embedding that a config describes, or None."""
    if config.position == "none":
        return None
    scaling = None
    if config.rope_scaling == "llama3":
        scaling = Llama3Scaling(
            factor=config.rope_factor,
            low_freq_factor=config.rope_low_freq_factor,
            high_freq_factor=config.rope_high_freq_factor,
            original_context=config.rope_original_context,
        )
    head_dim = cast(int, config.resolved().head_dim)
    return RotaryPositionalEmbedding(
        config.rope_theta, head_dim, config.context_length, device, scaling
    )
