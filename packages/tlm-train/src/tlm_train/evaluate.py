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
        model: Maps token ids (batch, seq) to logits (batch, seq, vocab_size). For batches with
            document ids it takes `token_positions` and `document_ids` as well.
        batches: Windows of text; targets of `IGNORE` are not scored.
        token_bytes: Length of each token in bytes, (vocab_size,); 0 for special tokens.

    Raises:
        ValueError: There is no target to score.
    """
    was_training = model.training
    model.eval()
    nats, num_tokens, num_bytes = 0.0, 0, 0
    try:
        for batch in batches:
            scored = batch.targets[batch.targets != IGNORE]
            if scored.numel():  # a rank's part of the last batch may have no row
                loss = cross_entropy(_logits(model, batch), batch.targets, ignore_index=IGNORE)
                nats += loss.item() * scored.numel()
                num_tokens += scored.numel()
                num_bytes += int(token_bytes[scored].sum())
    finally:
        model.train(was_training)
    if not num_tokens:
        raise ValueError("the batches have no target to score: give text of two tokens or more")
    mean = nats / num_tokens
    return Evaluation(
        loss=mean,
        perplexity=math.exp(min(mean, 700.0)),
        bits_per_byte=nats / math.log(2) / max(num_bytes, 1),
    )


def _logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    if batch.document_ids is None:
        logits: torch.Tensor = model(batch.inputs)
    else:
        logits = model(
            batch.inputs, token_positions=batch.positions, document_ids=batch.document_ids
        )
    return logits
