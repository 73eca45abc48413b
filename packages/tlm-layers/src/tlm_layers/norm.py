"""Normalisation of activations."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlm_layers.config import Norm
from tlm_layers.precision import matmul_dtype


class RMSNorm(nn.Module):
    """Root-mean-square norm: x / sqrt(mean(x²) + eps) · weight, over the last axis.

    Computed in float32 at least, since squares leave the range of half precision, and cast back.
    Follows Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467. The gain is cast to the type
    of `x`, so that half-precision activations keep to torch's fused kernel where there is one. The
    CPU has none, and the passes over memory are ours.

    Args:
        d_model: width of the last axis.
        eps: added to the mean square, inside the root.
        device: where the gain lives.
        dtype: type of the gain.

    Raises:
        ValueError: a width or an eps that is not positive.
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check(d_model, eps)
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(d_model, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to one."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis.

        Args:
            x: activations, (..., d_model).

        Returns:
            Activations, (..., d_model), of the type of `x`; under autocast of its type.
        """
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            wide = torch.promote_types(x.dtype, torch.float32)
            norm = _rms_norm_on_cpu if torch.is_grad_enabled() else _CpuRMSNorm.forward
            return norm(x, self.weight.to(wide), self.eps, matmul_dtype(x))[0]
        out = F.rms_norm(x, (self.d_model,), self.weight.to(x.dtype), self.eps)
        return out.to(matmul_dtype(x))

    def extra_repr(self) -> str:
        """The width and eps, for `print(model)`."""
        return f"d_model={self.d_model}, eps={self.eps}"


class _CpuRMSNorm(torch.autograd.Function):
    """RMSNorm in three passes forward and three backward, where autograd's own takes twelve.

    LayerNorm's gradient by x, with 0 in place of its mean, is RMSNorm's less the row's
    rstd · mean(grad · weight): torch's fused kernel gives the former, a product a row the rest.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        wide = x.to(weight.dtype)
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        rstd = torch.rsqrt(length.square() / x.shape[-1] + eps)
        return (wide * rstd).mul_(weight).to(dtype), rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, ctx.eps, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, weight, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, Tensor, None, None]:
        x, weight, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable_backward(x, weight, ctx.eps, grad), None, None
        grad = grad.contiguous().to(x.dtype)
        grad_x, grad_weight, _ = torch.ops.aten.native_layer_norm_backward(
            grad, x, x.shape[-1:], torch.zeros_like(rstd), rstd, weight, None, [True, True, False]
        )
        row = (grad.to(weight.dtype) @ weight).unsqueeze(-1) * rstd / x.shape[-1]
        return grad_x.add_(row), grad_weight, None, None


def _differentiable_backward(
    x: Tensor, weight: Tensor, eps: float, grad: Tensor
) -> tuple[Tensor, Tensor]:
    # By plain operations, for second derivatives.
    wide, grad = x.to(weight.dtype), grad.to(weight.dtype)
    rstd = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    normed, pulled = wide * rstd, grad * weight
    by_x = rstd * (pulled - normed * (pulled * normed).mean(-1, keepdim=True))
    return by_x.to(x.dtype), (grad * normed).flatten(0, -2).sum(0)


_rms_norm_on_cpu = cast(
    Callable[[Tensor, Tensor, float, torch.dtype], tuple[Tensor, Tensor]], _CpuRMSNorm.apply
)


class LayerNorm(nn.Module):
    """Layer norm: (x − mean) / sqrt(variance + eps) · weight + bias, over the last axis.

    Follows Ba et al. 2016, https://arxiv.org/abs/1607.06450, through torch's fused kernel, which
    computes in float32 at least.

    Args:
        d_model: width of the last axis.
        eps: added to the variance, inside the root.
        device: where gain and bias live.
        dtype: type of gain and bias.

    Raises:
        ValueError: a width or an eps that is not positive.
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check(d_model, eps)
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(d_model, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(d_model, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to one and the bias to zero."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis.

        Args:
            x: activations, (..., d_model).

        Returns:
            Activations, (..., d_model), of the type of `x`; under autocast of its type.
        """
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, (self.d_model,), weight, bias, self.eps).to(matmul_dtype(x))

    def extra_repr(self) -> str:
        """The width and eps, for `print(model)`."""
        return f"d_model={self.d_model}, eps={self.eps}"


def make_norm(
    kind: Norm,
    d_model: int,
    eps: float = 1e-5,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """The norm of a kind; `none` is a module that passes its input on.

    Args:
        kind: rmsnorm, layernorm or none.
        d_model: width of the last axis.
        eps: added inside the root.
        device: where its weights live.
        dtype: type of its weights.
    """
    if kind == "none":
        return nn.Identity()
    norms = {"rmsnorm": RMSNorm, "layernorm": LayerNorm}
    return norms[kind](d_model, eps, device=device, dtype=dtype)


def _check(d_model: int, eps: float) -> None:
    if d_model < 1 or not eps > 0:
        raise ValueError(f"{d_model=} and {eps=} must be positive")
