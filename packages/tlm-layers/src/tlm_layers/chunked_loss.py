"""Cross-entropy and its gradients from hidden states, a chunk of positions at a time."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class LossOptions(NamedTuple):
    """What the loss is, beside its tensors; see `tlm_layers.linear_cross_entropy`."""

    ignore_index: int
    z_loss: float
    logit_soft_cap: float | None
    chunk_tokens: int
    dtype: torch.dtype
    """Type of the matrix products; all between them is in float32 at least."""
    grad_hidden: bool
    """Whether the gradient by the hidden states is wanted."""
    grad_weight: bool
    """Whether the gradient by the weight is wanted."""


class ChunkedCrossEntropy(torch.autograd.Function):
    """The mean loss; its gradients are made in the forward pass, while the logits are at hand.

    With p = softmax(logits) and n counted targets, the gradient by a position's logits is
    (p · (1 + 2 · z_loss · log Z) − onehot(target)) / n, times 1 − tanh² where they are capped.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, options: LossOptions
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            sums = _Sums(hidden, weight, targets, options)
            for start in range(0, len(hidden), options.chunk_tokens):
                sums.add(slice(start, start + options.chunk_tokens))
        count = (targets != options.ignore_index).sum()
        ctx.dtype = weight.dtype
        ctx.save_for_backward(sums.grad_hidden, sums.grad_weight, count)
        return sums.loss / count

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_cross_entropy has no second derivative: take cross_entropy of the logits"
            )
        by_hidden, by_weight, count = ctx.saved_tensors
        # Divided here and not before, where a loss scale could not keep half types from 0.
        scale = grad / count.clamp(min=1)
        grad_hidden = None if by_hidden is None else (by_hidden * scale).to(by_hidden.dtype)
        grad_weight = None if by_weight is None else (by_weight * scale).to(ctx.dtype)
        return grad_hidden, grad_weight, None, None


class _Sums:
    """The loss and the gradients, summed over chunks."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, options: LossOptions
    ) -> None:
        self.options = options
        self.hidden, self.weight = hidden.to(options.dtype), weight.to(options.dtype)
        self.targets = targets
        self.wide = torch.promote_types(options.dtype, torch.float32)
        self.loss = torch.zeros((), dtype=self.wide, device=hidden.device)
        # Where every target counts, a pass over the logits is spared; on a GPU, to ask is to wait,
        # and in a compiled graph it is to leave it.
        may_ask = hidden.device.type == "cpu" and not torch.compiler.is_compiling()
        self.all_count = may_ask and not (targets == options.ignore_index).any()
        shape = (min(options.chunk_tokens, len(hidden)), len(weight))
        self.logits = torch.empty(shape, dtype=options.dtype, device=hidden.device)
        self.log_probs = torch.empty(shape, dtype=self.wide, device=hidden.device)
        self.is_half = options.dtype != self.wide
        self.wide_logits = torch.empty_like(self.log_probs) if self.is_half else self.logits
        self.grad_hidden = torch.empty_like(hidden) if options.grad_hidden else None
        is_wanted = options.grad_weight
        self.grad_weight = torch.zeros_like(weight, dtype=self.wide) if is_wanted else None

    def add(self, chunk: slice) -> None:
        """Add the loss of some positions, and their gradients."""
        options = self.options
        hidden, targets = self.hidden[chunk], self.targets[chunk].unsqueeze(-1)
        counted = (targets != options.ignore_index).to(self.wide)
        targets = targets.where(counted > 0, 0)
        buffers = (self.logits, self.wide_logits, self.log_probs)
        products, logits, log_probs = (buffer[: len(hidden)] for buffer in buffers)
        torch.mm(hidden, self.weight.T, out=products)
        if self.is_half:
            logits.copy_(products)
        if options.logit_soft_cap is not None:
            logits.div_(options.logit_soft_cap).tanh_().mul_(options.logit_soft_cap)
        torch.log_softmax(logits, -1, out=log_probs)
        surprise = -log_probs.gather(1, targets)
        log_z = logits.gather(1, targets) + surprise
        self.loss += (counted * (surprise + options.z_loss * log_z.square())).sum()
        if not (options.grad_hidden or options.grad_weight):
            return
        grad_logits = log_probs.exp_()
        if options.z_loss or not self.all_count:
            grad_logits.mul_(counted * (1 + 2 * options.z_loss * log_z))
        grad_logits.scatter_add_(1, targets, -counted)
        if options.logit_soft_cap is not None:
            grad_logits.mul_(logits.div_(options.logit_soft_cap).square_().neg_().add_(1))
        if self.is_half:
            grad_logits = products.copy_(grad_logits)
        self._add_gradients(chunk, grad_logits)

    def _add_gradients(self, chunk: slice, grad_logits: Tensor) -> None:
        hidden = self.hidden[chunk]
        if self.grad_hidden is not None:
            grad_hidden = self.grad_hidden[chunk]
            if grad_hidden.dtype == grad_logits.dtype:
                torch.mm(grad_logits, self.weight, out=grad_hidden)
            else:
                grad_hidden.copy_(grad_logits @ self.weight)
        if self.grad_weight is not None:
            if self.is_half:  # sums over chunks would lose too much in a half type
                self.grad_weight += grad_logits.T @ hidden
            else:
                self.grad_weight.addmm_(grad_logits.T, hidden)
