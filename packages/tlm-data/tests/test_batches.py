import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import RandomBatches, TokenStore, TokenStoreWriter, get_batch, sequential_batches


def test_windows_are_those_that_torch_unfolds() -> None:
    tokens = np.random.default_rng(0).integers(0, 1000, size=200).astype(np.uint16)
    windows = {tuple(w) for w in torch.from_numpy(tokens.astype(np.int64)).unfold(0, 8, 1).tolist()}
    x, y = get_batch(tokens, batch_size=500, context_length=7)
    assert x.shape == y.shape == (500, 7)
    assert x.dtype == y.dtype == torch.int64
    drawn = {tuple(row) for row in torch.cat([x, y[:, -1:]], dim=1).tolist()}
    assert drawn <= windows
    # 193 windows, 500 draws: about 1 - exp(-500/193) = 92% of them are seen.
    assert len(drawn) > 0.8 * len(windows)


def test_starts_are_uniform_over_all_windows() -> None:
    tokens, context_length, draws = np.arange(20), 7, 20_000
    x, _ = get_batch(tokens, draws, context_length, rng=np.random.default_rng(1))
    counts = np.bincount(x[:, 0].numpy())
    expected = draws / (20 - context_length)
    assert len(counts) == 20 - context_length
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 32.9  # 0.1% point at 12 degrees of freedom


def test_the_only_window_of_the_shortest_text() -> None:
    x, y = get_batch(np.arange(5), batch_size=2, context_length=4)
    assert x.tolist() == [[0, 1, 2, 3]] * 2
    assert y.tolist() == [[1, 2, 3, 4]] * 2


def test_a_device_that_is_not_there() -> None:
    with pytest.raises((RuntimeError, AssertionError)):
        get_batch(np.arange(100), 2, 4, device="cuda:99")


@pytest.mark.parametrize("length", [0, 1, 8])
def test_a_text_shorter_than_a_context_is_refused(length: int) -> None:
    tokens = np.arange(length)
    match = f"the corpus has {length} tokens, but context_length=8 needs at least 9"
    with pytest.raises(ValueError, match=match):
        get_batch(tokens, 1, 8)
    with pytest.raises(ValueError, match=match):
        RandomBatches(tokens, 1, 8, seed=0)
    with pytest.raises(ValueError, match="context_length=0 must be at least 1"):
        get_batch(tokens, 1, 0)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    tokens = np.arange(10_000)
    one = RandomBatches(tokens, 4, 16, seed=3)
    forward = [one.batch(step)[0] for step in range(5)]
    np.random.seed(0)
    other = RandomBatches(tokens, 4, 16, seed=3)
    backward = [other.batch(step)[0] for step in reversed(range(5))]
    for a, b in zip(forward, reversed(backward), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(forward[0], forward[1])
    with pytest.raises(ValueError, match="step=-1 must not be negative"):
        one.batch(-1)
    assert not torch.equal(forward[0], RandomBatches(tokens, 4, 16, seed=4).batch(0)[0])


@given(
    length=st.integers(2, 200),
    context_length=st.integers(1, 40),
    batch_size=st.integers(1, 7),
)
def test_sequential_batches_score_every_token_once(
    length: int, context_length: int, batch_size: int
) -> None:
    tokens = np.arange(length)
    inputs, targets = [], []
    for x, y in sequential_batches(tokens, batch_size, context_length):
        assert x.shape[0] <= batch_size and x.shape[1] <= context_length
        inputs += x.flatten().tolist()
        targets += y.flatten().tolist()
    assert inputs == list(range(length - 1))
    assert targets == list(range(1, length))


@pytest.mark.parametrize("length", [0, 1])
def test_one_token_cannot_be_scored(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} tokens are too few to evaluate on"):
        next(sequential_batches(np.arange(length), 1, 8))


@given(max_windows=st.integers(1, 30))
def test_a_part_of_the_windows_is_spread_over_the_text(max_windows: int) -> None:
    tokens = np.arange(20 * 10 + 1)
    starts = [
        row[0]
        for x, _ in sequential_batches(tokens, 3, 10, max_windows=max_windows)
        for row in x.tolist()
    ]
    assert len(starts) == min(max_windows, 20)
    assert len(set(starts)) == len(starts)
    gaps = np.diff([*starts, 200])
    assert max(gaps) <= 10 * math.ceil(20 / len(starts))


def test_a_token_store_gives_the_batches_of_its_array(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 300, size=1000)
    with TokenStoreWriter(
        tmp_path / "store", vocab_size=300, tokenizer_fingerprint="", shard_tokens=64
    ) as writer:
        for first in range(0, 1000, 50):
            writer.add(tokens[first : first + 50], num_bytes=0)
    store = TokenStore.open(tmp_path / "store")
    for step in range(5):
        expected = RandomBatches(tokens, 8, 100, seed=0).batch(step)
        found = RandomBatches(store, 8, 100, seed=0).batch(step)
        assert torch.equal(expected[0], found[0]) and torch.equal(expected[1], found[1])
