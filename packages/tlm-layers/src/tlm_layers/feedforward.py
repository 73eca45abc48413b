"""The position-wise feed-forward."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlm_layers.activations import silu
from tlm_layers.config import FeedForwardKind, default_d_ff
from tlm_layers.linear import Linear


class SwiGLU(nn.Module):
    """Gated feed-forward: W2 (SiLU(W1 x) ⊙ W3 x).

    Follows Shazeer 2020, https://arxiv.org/abs/2002.05202.

    Args:
        d_model: width of the input and the output.
        d_ff: inner width; None: `default_d_ff(d_model)`.
        device: where the weights live.
        dtype: type of the weights.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_ff is None:
            d_ff = default_d_ff(d_model)
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)
        self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        self.w1.reset_parameters()
        self.w2.reset_parameters()
        self.w3.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map each position by itself.

        Args:
            x: activations, (..., d_model).

        Returns:
            Activations, (..., d_model).
        """
        gate, inner = self.w1(x), self.w3(x)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            out: Tensor = self.w2(_gated(gate, inner))
        else:
            out = self.w2(silu(gate) * inner)
        return out


class _Gated(torch.autograd.Function):
    """silu(gate) · inner, keeping two tensors for the backward pass where autograd keeps three."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gate: Tensor, inner: Tensor) -> Tensor:
        return silu(gate).mul_(inner)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, inner = ctx.saved_tensors
        grad_inner = silu(gate).mul_(grad)
        if torch.is_grad_enabled():  # the fused kernel has no second derivative
            sigmoid = torch.sigmoid(gate)
            return grad * inner * sigmoid * (1 + gate * (1 - sigmoid)), grad_inner
        grad_gate = grad * inner
        # In place: fresh memory costs more than the arithmetic.
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return grad_gate, grad_inner


_gated = cast(Callable[[Tensor, Tensor], Tensor], _Gated.apply)


def relu2(x: Tensor) -> Tensor:
    """The squared ReLU: max(x, 0)², element by element.

    Follows So et al. 2021, https://arxiv.org/abs/2109.08668.

    Args:
        x: any real values, any shape.

    Returns:
        Values of the shape and type of `x`.

    Example:
        >>> relu2(torch.tensor([-2.0, 0.0, 3.0]))
        tensor([0., 0., 9.])
    """
    return F.relu(x).square()


class FeedForward(nn.Module):
    """Plain feed-forward: W2 activation(W1 x).

    Follows Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.3, without biases.

    Args:
        d_model: width of the input and the output.
        d_ff: inner width; None: `default_d_ff(d_model, "gelu")`, at which it has as many parameters
            as a `SwiGLU`.
        activation: a function of the inner activations, element by element.
        device: where the weights live.
        dtype: type of the weights.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int | None = None,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_ff is None:
            d_ff = default_d_ff(d_model, "gelu")
        self.activation = activation
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        self.w1.reset_parameters()
        self.w2.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map each position by itself.

        Args:
            x: activations, (..., d_model).

        Returns:
            Activations, (..., d_model).
        """
        out: Tensor = self.w2(self.activation(self.w1(x)))
        return out

    def extra_repr(self) -> str:
        """The activation, for `print(model)`."""
        return f"activation={getattr(self.activation, '__name__', self.activation)}"


def make_feed_forward(
    kind: FeedForwardKind,
    d_model: int,
    d_ff: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> SwiGLU | FeedForward:
    """The feed-forward of a kind.

    Args:
        kind: swiglu, silu, gelu or relu2.
        d_model: width of the input and the output.
        d_ff: inner width; None: `default_d_ff(d_model, kind)`.
        device: where the weights live.
        dtype: type of the weights.
    """
    if kind == "swiglu":
        return SwiGLU(d_model, d_ff, device=device, dtype=dtype)
    activations: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": silu,
        "gelu": F.gelu,
        "relu2": relu2,
    }
    return FeedForward(d_model, d_ff, activations[kind], device=device, dtype=dtype)
