"""The Transformer block."""

import torch
from torch import Tensor, nn

from tlm_layers.attention import MultiHeadSelfAttention
from tlm_layers.feedforward import SwiGLU
from tlm_layers.norm import RMSNorm
from tlm_layers.rope import RotaryPositionalEmbedding


class TransformerBlock(nn.Module):
    """A pre-norm block: x + attn(ln1(x)), then x + ffn(ln2(x)).

    The norms stand before the parts, so that the residual stream runs through untouched (Xiong et
    al. 2020, https://arxiv.org/abs/2002.04745).

    Args:
        d_model: width of the residual stream.
        num_heads: attention heads; must divide `d_model`.
        d_ff: inner width of the feed-forward; None: `default_d_ff(d_model)`.
        rope: turns queries and keys by their positions; None: no positions.
        device: where the weights live.
        dtype: type of the weights.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        rope: RotaryPositionalEmbedding | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ln1 = RMSNorm(d_model, device=device, dtype=dtype)
        self.attn = MultiHeadSelfAttention(d_model, num_heads, rope, device=device, dtype=dtype)
        self.ln2 = RMSNorm(d_model, device=device, dtype=dtype)
        self.ffn = SwiGLU(d_model, d_ff, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        self.ln1.reset_parameters()
        self.attn.reset_parameters()
        self.ln2.reset_parameters()
        self.ffn.reset_parameters()

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """Mix the tokens, then map each.

        Args:
            x: residual stream, (..., seq, d_model).
            token_positions: int32 or int64, (..., seq), for RoPE; None: 0, 1, …, seq − 1.

        Returns:
            Residual stream, (..., seq, d_model).
        """
        x = x + self.attn(self.ln1(x), token_positions)
        x = x + self.ffn(self.ln2(x))
        return x
