"""Memory: what training keeps, and what generation keeps."""

from dataclasses import dataclass

from tlm_layers.accounting.parameters import num_parameters
from tlm_layers.accounting.parts import Parts
from tlm_layers.accounting.shape import Shape
from tlm_layers.config import ModelConfig
from tlm_layers.linear_attention import CHUNK

_FLOAT32 = 4
_INT64 = 8

# Inner activations that a feed-forward keeps, each of d_ff: the gate, what it gates, and their
# product; or what goes into an activation, and what comes out.
_FFN_INNER = {"swiglu": 3, "silu": 2, "gelu": 2, "relu2": 2}

# Numbers of float32 that a norm keeps of each vector beside the vector itself.
_NORM_STATISTICS = {"rmsnorm": 1, "layernorm": 2, "none": 0}


@dataclass(frozen=True, kw_only=True)
class ActivationBytes(Parts):
    """Bytes that the forward pass keeps for the backward pass, by part."""

    embeddings: int
    """The token ids."""

    checkpoints: int
    """With activation checkpointing, the inputs of all blocks but the one at work."""

    norms: int
    """Inputs of the norms, and a statistic or two of each vector."""

    attention: int
    """The input of the projections; queries, keys, values; what comes out of the mixing."""

    ffn: int
    """The input of the feed-forwards, and inner activations."""

    head: int
    """The loss in chunks: gradients by hidden states and by the weight; else hidden states and
    what is kept of all logits."""


def activation_bytes(
    config: ModelConfig,
    batch_size: int = 1,
    seq: int | None = None,
    *,
    dtype_bytes: int = 4,
    stream_bytes: int | None = None,
    activation_checkpointing: bool = False,
    chunked_loss: bool = True,
) -> ActivationBytes:
    """Count what autograd keeps between the passes, through the layers' fused attention.

    Weights are not counted, nor their copies under autocast; nor are chunks and gradients that come
    and go. Exact in float32 for full and sliding-window attention; within some percent for linear
    and strided attention, by the copies that torch makes of tensors that do not lie in one piece.
    Half types are taken to be fast: a CPU without units for them attends in float32, and keeps
    that.

    Args:
        config: the model's.
        batch_size: rows.
        seq: tokens in each row; None: `config.context_length`.
        dtype_bytes: size of a number in matrix products and what stands between them, 2 under
            autocast.
        stream_bytes: size of a number in the residual stream, 4 under autocast where nothing or
            pre-norm normalises it; None: `dtype_bytes`.
        activation_checkpointing: whether blocks are computed again in the backward pass; then what
            is counted is there when the first of them has been.
        chunked_loss: whether the loss is `TransformerLM.loss`; else it is `cross_entropy` of all
            logits.

    Returns:
        Bytes by part.

    Raises:
        ValueError: sizes that are not positive, or a sequence beyond the context.

    Example:
        >>> config = ModelConfig(vocab_size=50257, context_length=1024)
        >>> print(activation_bytes(config, batch_size=8))
        embeddings        65,536    0.0%
        checkpoints            0    0.0%
        norms         75,792,384   12.3%
        attention    168,820,736   27.5%
        ffn          310,378,496   50.5%
        head          59,851,784    9.7%
        total        614,908,936  100.0%
    """
    shape = Shape.of(config, batch_size, seq)
    config, tokens = shape.config, shape.tokens
    stream = config.d_model * (dtype_bytes if stream_bytes is None else stream_bytes)
    # A norm's output is what matrix products take; without one that is cast.
    hidden = stream if config.norm == "none" else config.d_model * dtype_bytes
    statistics = _NORM_STATISTICS[config.norm] * _FLOAT32
    norm = (stream + statistics) * tokens if statistics else 0
    blocks = 1 if activation_checkpointing else config.num_layers
    return ActivationBytes(
        embeddings=_INT64 * tokens,
        checkpoints=(config.num_layers - blocks) * stream * tokens,
        norms=(2 * blocks + (config.norm_place == "pre")) * norm,
        attention=blocks * _attention(shape, dtype_bytes),
        ffn=blocks
        * (config.d_model + _FFN_INNER[config.ffn] * shape.d_ff)
        * (dtype_bytes * tokens),
        # Gradients, and the number of targets that they are divided by.
        head=config.d_model * config.vocab_size * _FLOAT32 + hidden * tokens + _INT64
        if chunked_loss
        else _plain_loss(shape, dtype_bytes),
    )


def _attention(shape: Shape, dtype_bytes: int) -> int:
    """Bytes of one block's attention: input, norms of queries and keys, mixing."""
    config = shape.config
    kept = config.d_model * dtype_bytes
    if config.qk_norm:
        heads = config.num_heads + shape.num_kv_heads
        kept += heads * (shape.head_dim * dtype_bytes + _FLOAT32)
    mixing = _fused
    if shape.stride is not None:
        mixing = _strided
    elif config.attention == "linear":
        mixing = _linear
    return kept * shape.tokens + mixing(shape, dtype_bytes)


def _fused(shape: Shape, dtype_bytes: int) -> int:
    """Queries, keys, values, output, and the log of each softmax's sum."""
    window = shape.window_size
    sums = shape.config.num_heads * _FLOAT32
    if window is None:
        return (2 * (shape.d_q + shape.d_kv) * dtype_bytes + sums) * shape.tokens
    # Keys and values lie twice, in their own block and before the next, but for the first block;
    # what is put together of the first block and the rest is kept beside them.
    padded = shape.padded(window)
    first = shape.batch_size * window
    kept = 2 * shape.d_q * padded + 2 * shape.d_kv * first + 4 * shape.d_kv * (padded - first)
    joined = shape.d_q * shape.tokens
    return (kept + joined + 2 * window**2) * dtype_bytes + sums * padded


def _strided(shape: Shape, dtype_bytes: int) -> int:
    """Plain operations: scores, their exponentials and weights are kept, and copies of inputs."""
    config, wide = shape.config, max(dtype_bytes, _FLOAT32)
    assert shape.stride is not None
    rows = -(-shape.seq // shape.stride)
    scores = 2 * shape.stride + rows
    kept = (8 * shape.d_q + config.num_heads * (3 * scores + rows + 2)) * wide
    mask = rows * shape.stride * scores
    return kept * shape.padded(shape.stride) + mask + shape.d_q * dtype_bytes * shape.tokens


def _linear(shape: Shape, dtype_bytes: int) -> int:
    """Plain operations: features, values with ones, scores, states of chunks, and copies."""
    heads, d_q, d_kv = shape.config.num_heads, shape.d_q, shape.d_kv
    wide, places = max(dtype_bytes, _FLOAT32), shape.padded(CHUNK)
    is_grouped, is_whole = heads != shape.num_kv_heads, places == shape.tokens
    per_token = (d_q + d_kv + heads) * wide + d_q * dtype_bytes
    per_place = (
        2 * (d_q + d_kv)
        + heads  # features, values and results
        + shape.num_kv_heads
        + heads * CHUNK
        + d_q * (shape.head_dim + 1) // CHUNK
        + d_q * is_whole  # padding puts them in one piece, else products do, each anew
        + d_q * (is_grouped or is_whole)
        + (d_q + heads) * is_grouped
    )
    return per_token * shape.tokens + per_place * wide * places


def _plain_loss(shape: Shape, dtype_bytes: int) -> int:
    config, tokens = shape.config, shape.tokens
    logits = config.vocab_size * _FLOAT32  # log-probabilities
    if config.logit_soft_cap is not None:
        logits += config.vocab_size * dtype_bytes  # the tanh
    if config.z_loss:
        logits += config.vocab_size * _FLOAT32 + _FLOAT32  # capped logits, and log of their sum
    targets = _INT64 + 1  # and whether they count
    return (config.d_model * dtype_bytes + logits + targets) * tokens + _INT64


def kv_cache_bytes(
    config: ModelConfig,
    batch_size: int = 1,
    capacity: int | None = None,
    *,
    dtype_bytes: int = 4,
) -> int:
    """Count what `TransformerLM.new_cache` allocates.

    Keys and values of all tokens for full and strided attention, of a window for sliding-window
    attention; for linear attention a state of fixed size, of float32 at least.

    Args:
        config: the model's.
        batch_size: rows.
        capacity: tokens that a row may hold; None: `config.context_length`.
        dtype_bytes: size of a number of keys and values.

    Returns:
        Bytes.

    Raises:
        ValueError: sizes that are not positive, or a capacity beyond the context.

    Example:
        >>> llama3_8b = ModelConfig(
        ...     context_length=8192, d_model=4096, num_layers=32, num_heads=32, num_kv_heads=8
        ... )
        >>> kv_cache_bytes(llama3_8b, dtype_bytes=2) / 2**30
        1.0
    """
    shape = Shape.of(config, batch_size, capacity, "capacity")
    if config.attention == "linear":
        state = shape.d_kv * (shape.head_dim + 1) * max(dtype_bytes, _FLOAT32)
        return config.num_layers * batch_size * state
    held = shape.window_size or shape.seq
    return config.num_layers * batch_size * held * 2 * shape.d_kv * dtype_bytes


@dataclass(frozen=True, kw_only=True)
class ModelStateBytes(Parts):
    """Bytes that training keeps of each weight, by what they are."""

    weights: int
    """The weights."""

    gradients: int
    """Their gradients."""

    moments: int
    """The two running means of AdamW."""

    rounded_off: int
    """What the optimizers of tlm-optim keep of half-precision weights that rounding takes away."""


def model_state_bytes(config: ModelConfig, *, dtype_bytes: int = 4) -> ModelStateBytes:
    """Count weights, gradients and the states of AdamW.

    Args:
        config: the model's.
        dtype_bytes: size of a weight, and of its gradient; the moments are of float32 at least.

    Returns:
        Bytes by what they are.

    Example:
        >>> print(model_state_bytes(ModelConfig(), dtype_bytes=2))
        weights       8,524,288   14.3%
        gradients     8,524,288   14.3%
        moments      34,097,152   57.1%
        rounded off   8,524,288   14.3%
        total        59,670,016  100.0%
    """
    count = num_parameters(config).total
    return ModelStateBytes(
        weights=count * dtype_bytes,
        gradients=count * dtype_bytes,
        moments=count * 2 * max(dtype_bytes, _FLOAT32),
        rounded_off=count * dtype_bytes if dtype_bytes < _FLOAT32 else 0,
    )
