"""Validation: how well a model predicts text that it has not seen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tlm_layers import cross_entropy


@dataclass(frozen=True)
class Evaluation:
    """What a model scores on a text.

    Attributes:
        loss: Mean cross-entropy, nats per token.
        perplexity: exp(loss).
        bits_per_byte: Cross-entropy in bits, divided by the bytes of the predicted text; the one
            figure that compares models with different tokenizers.
    """

    loss: float
    perplexity: float
    bits_per_byte: float


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    token_bytes: torch.Tensor,
) -> Evaluation:
    """Score a model on batches of text.

    Args:
        model: Maps token ids (batch, seq) to logits (batch, seq, vocab_size).
        batches: Inputs and targets, int64, (batch, seq).
        token_bytes: Length of each token in bytes, (vocab_size,); 0 for special tokens.
    """
    was_training = model.training
    model.eval()
    nats, num_tokens, num_bytes = 0.0, 0, 0
    for x, y in batches:
        nats += cross_entropy(model(x), y).item() * y.numel()
        num_tokens += y.numel()
        num_bytes += int(token_bytes[y].sum())
    model.train(was_training)
    loss = nats / num_tokens
    return Evaluation(
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),
        bits_per_byte=nats / math.log(2) / max(num_bytes, 1),
    )
