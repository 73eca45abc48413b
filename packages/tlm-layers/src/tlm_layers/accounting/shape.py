"""The numbers of a config that the accounts are made of."""

from dataclasses import dataclass
from typing import cast

from tlm_layers.config import ModelConfig


@dataclass(frozen=True)
class Shape:
    """A resolved config's numbers, and those of a batch."""

    config: ModelConfig
    """The resolved config."""

    batch_size: int
    """Rows."""

    seq: int
    """Tokens in each row."""

    @classmethod
    def of(
        cls, config: ModelConfig, batch_size: int = 1, seq: int | None = None, name: str = "seq"
    ) -> "Shape":
        """Check a batch, and resolve what None stands for.

        Args:
            config: the model's.
            batch_size: rows.
            seq: tokens in each row; None: `config.context_length`.
            name: what an error calls `seq`.

        Raises:
            ValueError: sizes that are not positive, or a sequence beyond the context.
        """
        seq = config.context_length if seq is None else seq
        if batch_size < 1 or not 1 <= seq <= config.context_length:
            raise ValueError(
                f"{batch_size=} must be positive, and {name}={seq} from 1 to "
                f"context_length={config.context_length}"
            )
        return cls(config.resolved(), batch_size, seq)

    @property
    def tokens(self) -> int:
        """Tokens of the batch."""
        return self.batch_size * self.seq

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys, and of values."""
        return cast(int, self.config.num_kv_heads)

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return cast(int, self.config.head_dim)

    @property
    def d_q(self) -> int:
        """Width of all heads of queries."""
        return self.config.num_heads * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of all heads of keys, or of values."""
        return self.num_kv_heads * self.head_dim

    @property
    def d_ff(self) -> int:
        """Inner width of the feed-forward."""
        return cast(int, self.config.d_ff)

    @property
    def window_size(self) -> int | None:
        """Tokens of the window, where the row is cut into windows; None: it is not."""
        window = self.config.window_size
        return window if window is not None and window < self.seq else None

    @property
    def stride(self) -> int | None:
        """The distance of strided attention, where the row is longer; None: it is full."""
        stride = self.config.stride
        return stride if stride is not None and stride < self.seq else None

    def padded(self, size: int) -> int:
        """Tokens of the batch when rows are cut into blocks, and the last filled up."""
        return self.batch_size * -(-self.seq // size) * size
