"""The language model."""

import torch
from torch import Tensor, nn

from tlm_layers.block import TransformerBlock
from tlm_layers.config import ModelConfig
from tlm_layers.embedding import Embedding
from tlm_layers.linear import Linear
from tlm_layers.norm import RMSNorm
from tlm_layers.rope import RotaryPositionalEmbedding


class TransformerLM(nn.Module):
    """A decoder-only Transformer, as Llama is: from token ids to logits of the next token.

    Embedding, `num_layers` pre-norm blocks with RoPE and SwiGLU, a last norm, and a projection to
    the vocabulary (Touvron et al. 2023, https://arxiv.org/abs/2302.13971). `torch.manual_seed`
    before construction fixes the weights.

    Args:
        config: the shape.
        device: where the weights live.
        dtype: type of the weights.

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
    ) -> None:
        super().__init__()
        self.config = config
        config = config.resolved()
        # One set of tables; each block holds the same module.
        rope = RotaryPositionalEmbedding(
            config.rope_theta, config.head_dim, config.context_length, device=device
        )
        self.token_embeddings = Embedding(
            config.vocab_size, config.d_model, device=device, dtype=dtype
        )
        self.layers = nn.ModuleList(
            TransformerBlock(
                config.d_model, config.num_heads, config.d_ff, rope, device=device, dtype=dtype
            )
            for _ in range(config.num_layers)
        )
        self.ln_final = RMSNorm(config.d_model, device=device, dtype=dtype)
        self.lm_head = Linear(config.d_model, config.vocab_size, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh, in the order of construction."""
        self.token_embeddings.reset_parameters()
        for layer in self.layers:
            layer.reset_parameters()  # type: ignore[operator]
        self.ln_final.reset_parameters()
        self.lm_head.reset_parameters()

    def num_parameters(self) -> int:
        """The number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, token_ids: Tensor) -> Tensor:
        """Score every next token at every position.

        Args:
            token_ids: int32 or int64, (..., seq), seq at most `config.context_length`.

        Returns:
            Logits, (..., seq, vocab_size).

        Raises:
            TypeError: ids that are neither int32 nor int64.
            ValueError: a sequence longer than the context, or (on the CPU) an id outside the
                vocabulary.
        """
        seq = token_ids.shape[-1]
        if seq > self.config.context_length:
            raise ValueError(
                f"a sequence of {seq} tokens is longer than "
                f"context_length={self.config.context_length}"
            )
        x = self.token_embeddings(token_ids)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.lm_head(self.ln_final(x))
        return logits
