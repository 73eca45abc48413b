"""Trained values, by part."""

from dataclasses import dataclass

from tlm_layers.accounting.parts import Parts
from tlm_layers.accounting.shape import Shape
from tlm_layers.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ParameterCount(Parts):
    """Trained values by part."""

    embeddings: int
    """The table of token vectors."""

    attention: int
    """The four projections of all blocks."""

    ffn: int
    """The feed-forwards of all blocks."""

    norms: int
    """Gains and biases, those of queries and keys included."""

    head: int
    """The projection to the vocabulary; 0 where it is the table of token vectors."""

    @property
    def non_embedding(self) -> int:
        """All but the table and the head: N of the scaling laws.

        See Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1.
        """
        return self.attention + self.ffn + self.norms


def num_parameters(config: ModelConfig) -> ParameterCount:
    """Count what `TransformerLM(config)` trains, without building it.

    Args:
        config: the model's.

    Returns:
        Trained values by part.

    Example:
        >>> gpt2_xl = ModelConfig(
        ...     vocab_size=50257,
        ...     context_length=1024,
        ...     d_model=1600,
        ...     num_layers=48,
        ...     num_heads=25,
        ...     d_ff=6400,
        ... )
        >>> print(num_parameters(gpt2_xl))
        embeddings     80,411,200    3.8%
        attention     491,520,000   23.1%
        ffn         1,474,560,000   69.3%
        norms             155,200    0.0%
        head           80,411,200    3.8%
        total       2,127,057,600  100.0%
    """
    shape = Shape.of(config)
    config, d_model = shape.config, config.d_model
    table = config.vocab_size * d_model
    norm = {"rmsnorm": 1, "layernorm": 2, "none": 0}[config.norm] * d_model
    return ParameterCount(
        embeddings=table,
        attention=config.num_layers * 2 * d_model * (shape.d_q + shape.d_kv),
        ffn=config.num_layers * ffn_matrices(config) * d_model * shape.d_ff,
        norms=config.num_layers * (2 * norm + 2 * shape.head_dim * config.qk_norm)
        + norm * (config.norm_place == "pre"),
        head=0 if config.tie_embeddings else table,
    )


def ffn_matrices(config: ModelConfig) -> int:
    """How many matrices of d_model × d_ff a feed-forward has."""
    return 3 if config.ffn == "swiglu" else 2
