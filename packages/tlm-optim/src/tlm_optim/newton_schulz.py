"""The nearest orthogonal matrix, near enough, by matrix products alone."""

import torch
from torch import Tensor

from tlm_optim.rounding import wide_dtype

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(
    matrices: Tensor,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
) -> Tensor:
    """Bring all singular values of matrices near 1, with the singular vectors as they are.

    With X of Frobenius norm 1, no taller than wide, each step of the quintic Newton–Schulz
    iteration is

        A = X Xᵀ,    X ← a X + (b A + c A²) X

    Follows Keller Jordan 2024, https://kellerjordan.github.io/posts/muon/, whose coefficients
    (a, b, c) lift small singular values fastest and leave all between 0.7 and 1.2 or so. The
    arithmetic is in bfloat16 on accelerators; on the CPU in float32 (float64 for float64), which is
    faster there.

    Args:
        matrices: of one shape, (..., rows, columns).
        steps: of the iteration.
        coefficients: a, b, c.
        eps: the least norm that is divided by.

    Returns:
        Matrices of the shape and type of `matrices`.

    Raises:
        ValueError: fewer than two axes.

    Example:
        >>> torch.linalg.svdvals(orthogonalize(torch.diag(torch.tensor([9.0, 3.0, 1.0])))).round()
        tensor([1., 1., 1.])
    """
    if matrices.ndim < 2:
        raise ValueError(
            f"orthogonalize takes matrices, (..., rows, columns), not the shape "
            f"{tuple(matrices.shape)}"
        )
    if matrices.numel() == 0:
        return matrices.clone()
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.reshape(-1, *matrices.shape[-2:]).to(wide_dtype(matrices.dtype))
    x = x.mT if tall else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=eps)
    if x.device.type != "cpu":
        x = x.bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(matrices.shape).to(matrices.dtype)
