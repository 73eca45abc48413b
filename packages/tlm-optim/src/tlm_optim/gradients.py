"""What the gradients that come in must be."""

from torch import Tensor, strided


def refuse_sparse(grad: Tensor, taker: str) -> Tensor:
    """Pass a dense gradient on.

    Args:
        grad: the gradient of one parameter.
        taker: the name of what would work on it, for the message.

    Returns:
        `grad` itself.

    Raises:
        TypeError: a sparse gradient.
    """
    if grad.layout is not strided:
        raise TypeError(
            f"{taker} takes no sparse gradients, and the parameter of shape {tuple(grad.shape)} "
            f"has one: make its layer dense (sparse=False), or train it apart, with "
            f"torch.optim.SparseAdam"
        )
    return grad
