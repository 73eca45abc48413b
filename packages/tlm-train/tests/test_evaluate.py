import math

import pytest
import torch
import torch.nn.functional as F
from bpe_tok import Tokenizer
from tlm_data import IGNORE, Batch
from tlm_train import evaluate
from tlm_train.trainer import token_bytes


def test_scores_are_torchs_over_all_tokens() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(11, 8), torch.nn.Linear(8, 11))
    lengths = torch.randint(0, 5, (11,))
    # Batches of unequal size: the mean is over tokens, not over batches.
    shapes = ((4, 6), (1, 3))
    batches = [Batch(torch.randint(11, shape), torch.randint(11, shape)) for shape in shapes]
    batches[0].targets[3, 4:] = IGNORE
    scores = evaluate(model, batches, lengths)
    x = torch.cat([batch.inputs.flatten() for batch in batches])
    y = torch.cat([batch.targets.flatten() for batch in batches])
    x, y = x[y != IGNORE], y[y != IGNORE]
    loss = F.cross_entropy(model(x), y).item()
    assert scores.loss == pytest.approx(loss, rel=1e-6)
    assert scores.perplexity == pytest.approx(math.exp(loss), rel=1e-6)
    bits = F.cross_entropy(model(x), y, reduction="sum").item() / math.log(2)
    assert scores.bits_per_byte == pytest.approx(bits / int(lengths[y].sum()), rel=1e-6)


def test_a_uniform_byte_model_needs_eight_bits_a_byte() -> None:
    tokenizer = Tokenizer.byte_level()
    ids = torch.tensor([tokenizer.encode("any text at all, 漢字 too")])

    class Uniform(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*ids.shape, 256)

    scores = evaluate(Uniform(), [Batch(ids[:, :-1], ids[:, 1:])], token_bytes(tokenizer))
    assert scores.bits_per_byte == pytest.approx(8.0)
    assert scores.perplexity == pytest.approx(256.0, rel=1e-5)


def test_the_models_mode_is_given_back() -> None:
    modes = []

    class Model(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return torch.zeros(*ids.shape, 4)

    model, ids = Model(), torch.zeros(1, 2, dtype=torch.int64)
    evaluate(model, [Batch(ids, ids)], torch.ones(4, dtype=torch.int64))
    assert modes == [False] and model.training
    evaluate(model.eval(), [Batch(ids, ids)], torch.ones(4, dtype=torch.int64))
    assert not model.training


def test_special_tokens_have_no_bytes() -> None:
    tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
    lengths = token_bytes(tokenizer)
    assert lengths[:256].tolist() == [1] * 256 and lengths[256] == 0
