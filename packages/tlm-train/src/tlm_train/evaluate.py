"""Validation: how well a model predicts text that it has not seen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tlm_data import IGNORE, Batch
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
    batches: Iterable[Batch],
    token_bytes: torch.Tensor,
) -> Evaluation:
    """Score a model on batches of text.

    Args:
        model: Maps token ids (batch, seq) to logits (batch, seq, vocab_size).
        batches: Windows of text; targets of `IGNORE` are not scored.
        token_bytes: Length of each token in bytes, (vocab_size,); 0 for special tokens.
    """
    was_training = model.training
    model.eval()
    nats, num_tokens, num_bytes = 0.0, 0, 0
    for batch in batches:
        scored = batch.targets[batch.targets != IGNORE]
        loss = cross_entropy(model(batch.inputs), batch.targets, ignore_index=IGNORE)
        nats += loss.item() * scored.numel()
        num_tokens += scored.numel()
        num_bytes += int(token_bytes[scored].sum())
    model.train(was_training)
    mean = nats / num_tokens
    return Evaluation(
        loss=mean,
        perplexity=math.exp(min(mean, 700.0)),
        bits_per_byte=nats / math.log(2) / max(num_bytes, 1),
    )
