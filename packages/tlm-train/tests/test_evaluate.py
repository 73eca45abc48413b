import math

import pytest
import torch
import torch.nn.functional as F
from bpe_tok import Tokenizer
from tlm_data import IGNORE, Batch, Loader, SequentialWindows
from tlm_layers import ModelConfig, TransformerLM
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
    with pytest.raises(ValueError, match="must match all axes"):
        evaluate(model, [Batch(ids, ids[:, :1])], torch.ones(4, dtype=torch.int64))
    assert model.training
    modes.clear()
    evaluate(model.eval(), [Batch(ids, ids)], torch.ones(4, dtype=torch.int64))
    assert not model.training


def test_packed_documents_are_scored_each_alone() -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 24}
    model = TransformerLM(ModelConfig(vocab_size=11, context_length=8, **sizes))
    documents = [torch.randint(11, (length + 1,)) for length in (5, 3)]
    packed = Batch(
        torch.cat([ids[:-1] for ids in documents])[None],
        torch.cat([ids[1:] for ids in documents])[None],
        torch.tensor([[0] * 5 + [5] * 3], dtype=torch.int32),
    )
    alone = [Batch(ids[None, :-1], ids[None, 1:]) for ids in documents]
    ones = torch.ones(11, dtype=torch.int64)
    expected = evaluate(model, alone, ones).loss
    assert evaluate(model, [packed], ones).loss == pytest.approx(expected, rel=1e-5)


def test_parts_without_a_target_count_for_nothing() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(18, 8), torch.nn.Linear(8, 18))
    ones = torch.ones(18, dtype=torch.int64)
    samples = SequentialWindows(torch.arange(18).numpy(), 8)  # 3 rows for 8 ranks
    parts = [list(Loader(samples, 8, rank=rank, world_size=8)) for rank in range(8)]
    assert {len(batch.inputs) for part in parts for batch in part} == {0, 1}
    padding = Batch(torch.zeros(1, 8).long(), torch.full((1, 8), IGNORE))
    scores = evaluate(model, [padding, *(batch for part in parts for batch in part)], ones)
    assert scores == evaluate(model, Loader(samples, 1), ones)
    for nothing in ([], [padding], parts[0] * 2):
        with pytest.raises(ValueError, match="the batches have no target to score"):
            evaluate(model, nothing, ones)
    assert model.training


def test_special_tokens_have_no_bytes() -> None:
    tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
    lengths = token_bytes(tokenizer)
    assert lengths[:256].tolist() == [1] * 256 and lengths[256] == 0
