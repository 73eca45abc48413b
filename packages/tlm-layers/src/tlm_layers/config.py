"""The shape of a Transformer language model."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that fixes the shape of a `TransformerLM`.

    Raises:
        ValueError: a value that is not positive, heads that do not divide `d_model`, or a head
            dimension that is odd (RoPE turns it in pairs).

    Example:
        >>> ModelConfig(d_model=512).head_dim
        64
        >>> ModelConfig(d_model=96, num_heads=7)
        Traceback (most recent call last):
        ValueError: d_model=96 must be divisible by num_heads=7
    """

    vocab_size: int = 2048
    """Number of token ids that the model knows."""

    context_length: int = 128
    """The longest sequence, in tokens."""

    d_model: int = 256
    """Width of the residual stream."""

    num_layers: int = 4
    """Number of Transformer blocks."""

    num_heads: int = 8
    """Attention heads in each block; must divide d_model."""

    d_ff: int | None = None
    """Inner width of the feed-forward; None: 8/3 of d_model, to the nearest multiple of 64."""

    rope_theta: float = 10000.0
    """Base of the rotary angles."""

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be built."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise ValueError(f"{field.name}={value} must be positive")
        if self.d_model % self.num_heads:
            raise ValueError(
                f"d_model={self.d_model} must be divisible by num_heads={self.num_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"d_model={self.d_model} over num_heads={self.num_heads} makes heads of "
                f"{self.head_dim}, which must be even for RoPE"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head: d_model / num_heads."""
        return self.d_model // self.num_heads
