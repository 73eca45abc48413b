"""The shape of a Transformer language model, and the choice of its parts."""

import math
import typing
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Literal

Norm = Literal["rmsnorm", "layernorm", "none"]
NormPlace = Literal["pre", "post"]
Position = Literal["rope", "none"]
RopeScaling = Literal["none", "llama3"]
FeedForwardKind = Literal["swiglu", "silu", "gelu", "relu2"]
AttentionKind = Literal["full", "sliding_window", "strided", "linear"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that fixes a `TransformerLM`: its sizes, and which part stands in each place.

    The defaults are Llama's parts (Touvron et al. 2023, https://arxiv.org/abs/2302.13971).

    Raises:
        ValueError: a value out of its range, heads that do not divide what they share, a head
            dimension that is odd (RoPE turns it in pairs), a choice that is not one, or an option
            that the other choices leave without use.

    Example:
        >>> ModelConfig(d_model=96, num_heads=7)
        Traceback (most recent call last):
        ValueError: d_model=96 must be divisible by num_heads=7, or head_dim be given
        >>> ModelConfig(window_size=32)
        Traceback (most recent call last):
        ValueError: window_size=32 has no use with attention='full': it needs 'sliding_window'
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
    """Attention heads of queries in each block."""

    num_kv_heads: int | None = None
    """Heads of keys and values; must divide num_heads, whose groups share them (grouped-query
    attention, Ainslie et al. 2023, https://arxiv.org/abs/2305.13245; with 1, multi-query attention,
    Shazeer 2019, https://arxiv.org/abs/1911.02150). None: num_heads."""

    head_dim: int | None = None
    """Width of one head. None: d_model / num_heads."""

    d_ff: int | None = None
    """Inner width of the feed-forward. None: 8/3 of d_model for swiglu, to the nearest multiple of
    64; half as much again for the others, which have two matrices in place of three."""

    norm: Norm = "rmsnorm"
    """Normalisation: rmsnorm (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467), layernorm
    (Ba et al. 2016, https://arxiv.org/abs/1607.06450), or none."""

    norm_place: NormPlace = "pre"
    """pre: before attention and feed-forward, and once at the end (Xiong et al. 2020,
    https://arxiv.org/abs/2002.04745); post: after each addition to the residual stream (Vaswani et
    al. 2017, https://arxiv.org/abs/1706.03762)."""

    norm_eps: float = 1e-5
    """What norms add to the mean square or variance, inside the root."""

    position: Position = "rope"
    """rope: queries and keys are turned by their positions (Su et al. 2021,
    https://arxiv.org/abs/2104.09864); none: order is known from the causal mask alone (Kazemnejad
    et al. 2023, https://arxiv.org/abs/2305.19466)."""

    rope_theta: float = 10000.0
    """Base of the rotary angles."""

    rope_scaling: RopeScaling = "none"
    """llama3: slow rotations are slowed down further, for contexts longer than those of training
    (Dubey et al. 2024, https://arxiv.org/abs/2407.21783, section 3.4.3)."""

    rope_factor: float = 8.0
    """How many times slower llama3 makes the slowest rotations."""

    rope_low_freq_factor: float = 1.0
    """llama3: rotations of fewer turns than this over rope_original_context are slowed in full."""

    rope_high_freq_factor: float = 4.0
    """llama3: rotations of more turns than this over rope_original_context are left alone."""

    rope_original_context: int = 8192
    """llama3: the context, in tokens, of the training before the scaling."""

    attention: AttentionKind = "full"
    """full: each token sees all before it; sliding_window: the last window_size tokens (Beltagy et
    al. 2020, https://arxiv.org/abs/2004.05150); strided: the last stride tokens, and every
    stride-th before them (Child et al. 2019, https://arxiv.org/abs/1904.10509); linear: kernel
    features in place of the softmax, with a state of fixed size (Katharopoulos et al. 2020,
    https://arxiv.org/abs/2006.16236)."""

    window_size: int | None = None
    """sliding_window: tokens that a token sees, itself included. None: a quarter of the context."""

    stride: int | None = None
    """strided: the distance of the tokens seen far back. None: the root of the context."""

    qk_norm: bool = False
    """Whether queries and keys pass an RMSNorm, head by head, before they are turned (Dehghani et
    al. 2023, https://arxiv.org/abs/2302.05442)."""

    ffn: FeedForwardKind = "swiglu"
    """Feed-forward: swiglu (Shazeer 2020, https://arxiv.org/abs/2002.05202); or two matrices around
    silu (Elfwing et al. 2017, https://arxiv.org/abs/1702.03118), gelu (Hendrycks and Gimpel 2016,
    https://arxiv.org/abs/1606.08415) or relu2, the square of ReLU (So et al. 2021,
    https://arxiv.org/abs/2109.08668)."""

    tie_embeddings: bool = False
    """Whether the output projection is the embedding table (Press and Wolf 2016,
    https://arxiv.org/abs/1608.05859)."""

    logit_soft_cap: float | None = None
    """Logits are bent into (-cap, cap) by cap · tanh(logits / cap) (Gemma Team 2024,
    https://arxiv.org/abs/2408.00118). None: they are not."""

    z_loss: float = 0.0
    """Weight of log²(Σ exp(logits)) in the training loss, which keeps logits from drifting
    (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, section 5)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built, or would not do what it says."""
        for field in fields(self):
            self._check(field.name, typing.get_type_hints(ModelConfig)[field.name])
        if self.head_dim is None and self.d_model % self.num_heads:
            raise ValueError(
                f"d_model={self.d_model} must be divisible by num_heads={self.num_heads}, "
                f"or head_dim be given"
            )
        if self.num_kv_heads is not None and self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} must be divisible by num_kv_heads={self.num_kv_heads}"
            )
        head_dim = self.head_dim or self.d_model // self.num_heads
        if self.position == "rope" and head_dim % 2:
            raise ValueError(
                f"heads of width {head_dim} (head_dim, or d_model / num_heads) must be even for "
                f"position='rope'"
            )
        if self.rope_low_freq_factor >= self.rope_high_freq_factor:
            raise ValueError(
                f"rope_low_freq_factor={self.rope_low_freq_factor} must be below "
                f"rope_high_freq_factor={self.rope_high_freq_factor}"
            )
        defaults = {field.name: field.default for field in fields(self)}
        for name, (needs, choice) in _USES.items():
            value = getattr(self, name)
            if value != defaults[name] and getattr(self, needs) not in choice:
                raise ValueError(
                    f"{name}={value!r} has no use with {needs}={getattr(self, needs)!r}: it needs "
                    + " or ".join(map(repr, choice))
                )

    def _check(self, name: str, kind: Any) -> None:
        value, kinds = getattr(self, name), typing.get_args(kind) or (kind,)
        number: Any = Integral if int in kinds else Real
        if typing.get_origin(kind) is Literal:
            if value not in kinds:
                raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, kinds))}")
        elif kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{name}={value!r} must be True or False")
        elif value is None and type(None) in kinds:
            return
        elif isinstance(value, bool) or not isinstance(value, number):
            raise ValueError(f"{name}={value!r} must be a {'whole ' if int in kinds else ''}number")
        elif name == "z_loss":
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value} must be a number that is not negative")
        elif not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be a positive number")

    def resolved(self) -> "ModelConfig":
        """The same config with the numbers that None stands for.

        Example:
            >>> ModelConfig(d_model=512).resolved().head_dim
            64
        """
        return replace(
            self,
            num_kv_heads=self.num_kv_heads or self.num_heads,
            head_dim=self.head_dim or self.d_model // self.num_heads,
            d_ff=self.d_ff or default_d_ff(self.d_model, self.ffn),
            window_size=self.window_size
            or (max(1, self.context_length // 4) if self.attention == "sliding_window" else None),
            stride=self.stride
            or (round(self.context_length**0.5) if self.attention == "strided" else None),
        )


_USES: dict[str, tuple[str, tuple[str, ...]]] = {
    "rope_theta": ("position", ("rope",)),
    "rope_scaling": ("position", ("rope",)),
    "rope_factor": ("rope_scaling", ("llama3",)),
    "rope_low_freq_factor": ("rope_scaling", ("llama3",)),
    "rope_high_freq_factor": ("rope_scaling", ("llama3",)),
    "rope_original_context": ("rope_scaling", ("llama3",)),
    "window_size": ("attention", ("sliding_window",)),
    "stride": ("attention", ("strided",)),
    "norm_place": ("norm", ("rmsnorm", "layernorm")),
}


def default_d_ff(d_model: int, ffn: FeedForwardKind = "swiglu") -> int:
    """The usual inner width of a feed-forward, at which all kinds have as many parameters.

    For a SwiGLU it is 8/3 of d_model, to the nearest multiple of 64: with three matrices in place
    of two this keeps the parameters of the classic 4 · d_model. The other kinds have half as much
    again.

    Args:
        d_model: width of the residual stream.
        ffn: the kind.

    Returns:
        The inner width, at least 64.

    Example:
        >>> default_d_ff(512), default_d_ff(512, "gelu")
        (1344, 2016)
    """
    gated = max(64, 64 * round(8 * d_model / 3 / 64))
    return gated if ffn == "swiglu" else gated * 3 // 2
