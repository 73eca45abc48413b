"""Arithmetic, by part and direction."""

from dataclasses import dataclass

from tlm_layers.accounting.parameters import ffn_matrices
from tlm_layers.accounting.parts import Parts, table
from tlm_layers.accounting.shape import Shape
from tlm_layers.config import ModelConfig
from tlm_layers.linear_attention import CHUNK


@dataclass(frozen=True, kw_only=True)
class Flops(Parts):
    """Floating-point operations by part."""

    attention_projections: int
    """From the residual stream to queries, keys and values, and back."""

    attention_mixing: int
    """Between tokens: scores and weighted values, or what stands for them."""

    ffn: int
    """The feed-forwards."""

    head: int
    """The projection to the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class TrainingFlops:
    """Floating-point operations of a training step; `print` shows a table."""

    forward: Flops
    """The forward pass: that of the loss, or of generation's first pass over a prompt."""

    backward: Flops
    """Gradients, by weights and by activations."""

    recomputation: Flops
    """What activation checkpointing computes a second time."""

    @property
    def total(self) -> int:
        """The whole step."""
        return self.forward.total + self.backward.total + self.recomputation.total

    def __str__(self) -> str:
        """A table of parts by directions."""
        directions = (self.forward, self.backward, self.recomputation)
        header = ("", "forward", "backward", "recomputation", "total")
        numbers = {
            part: [flops.by_part()[part] for flops in directions]
            for part in directions[0].by_part()
        }
        numbers["total"] = [flops.total for flops in directions]
        return table(
            [header]
            + [
                (part.replace("_", " "), *(f"{n:.4g}" for n in (*row, sum(row))))
                for part, row in numbers.items()
            ]
        )


def training_flops(
    config: ModelConfig,
    batch_size: int = 1,
    seq: int | None = None,
    activation_checkpointing: bool = False,
) -> TrainingFlops:
    """Count the operations of matrix products, 2 · m · n · k each; all else is small beside them.

    Counted is what the products compute. Full attention counts the whole square of scores, though a
    fused kernel may leave out the half that the causal mask hides, as the course and torch's flop
    counter do; the other kinds count their blocks whole, what is masked in them and the padding of
    the last one included. The backward pass makes two products of each.

    Args:
        config: the model's.
        batch_size: rows.
        seq: tokens in each row; None: `config.context_length`.
        activation_checkpointing: whether the backward pass computes blocks again. It stops before
            the last product of a block where nothing needs its result.

    Returns:
        Operations by part and direction.

    Raises:
        ValueError: sizes that are not positive, or a sequence beyond the context.

    Example:
        >>> gpt2_xl = ModelConfig(
        ...     vocab_size=50257,
        ...     context_length=1024,
        ...     d_model=1600,
        ...     num_layers=48,
        ...     num_heads=25,
        ...     d_ff=6400,
        ... )
        >>> print(training_flops(gpt2_xl))
                                 forward   backward  recomputation      total
        attention projections  1.007e+12  2.013e+12              0   3.02e+12
        attention mixing       3.221e+11  6.442e+11              0  9.664e+11
        ffn                     3.02e+12   6.04e+12              0   9.06e+12
        head                   1.647e+11  3.294e+11              0   4.94e+11
        total                  4.513e+12  9.027e+12              0  1.354e+13
    """
    shape = Shape.of(config, batch_size, seq)
    config, d_model = shape.config, config.d_model
    product = 2 * shape.tokens * d_model * shape.d_ff
    forward = Flops(
        attention_projections=config.num_layers
        * (4 * shape.tokens * d_model * (shape.d_q + shape.d_kv)),
        attention_mixing=config.num_layers * _mixing(shape),
        ffn=config.num_layers * ffn_matrices(config) * product,
        head=2 * shape.tokens * d_model * config.vocab_size,
    )
    unneeded = config.num_layers * product if config.norm_place == "pre" else 0
    again = {**forward.by_part(), "ffn": forward.ffn - unneeded, "head": 0}
    return TrainingFlops(
        forward=forward,
        backward=Flops(**{part: 2 * count for part, count in forward.by_part().items()}),
        recomputation=Flops(
            **{part: count * activation_checkpointing for part, count in again.items()}
        ),
    )


def _mixing(shape: Shape) -> int:
    """Operations between the tokens of one block's batch."""
    config, head_dim = shape.config, shape.head_dim
    if config.attention == "linear":
        n = shape.padded(CHUNK)
        # Values have a one beside them, for the norm.
        state = 2 * n * head_dim * (head_dim + 1)
        scores = 2 * n * CHUNK * (head_dim + head_dim + 1)
        return config.num_heads * (scores + state) + shape.num_kv_heads * state
    if shape.stride is not None:
        keys = 2 * shape.stride + -(-shape.seq // shape.stride)
        return 4 * shape.d_q * shape.padded(shape.stride) * keys
    if shape.window_size is not None:
        window = shape.window_size
        # The first block has none before it.
        keys = 2 * shape.padded(window) - shape.batch_size * window
        return 4 * shape.d_q * keys * window
    return 4 * shape.d_q * shape.tokens * shape.seq
