import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import (
    IGNORE,
    EpochWindows,
    Loader,
    RandomWindows,
    SequentialWindows,
    TokenStore,
    TokenStoreWriter,
    get_batch,
)


def make_store(path: Path, tokens: np.ndarray, shard_tokens: int) -> TokenStore:
    with TokenStoreWriter(
        path,
        vocab_size=int(tokens.max()) + 1,
        tokenizer_fingerprint="",
        shard_tokens=shard_tokens,
    ) as writer:
        for first in range(0, len(tokens), 50):
            writer.add(tokens[first : first + 50], num_bytes=0)
    return TokenStore.open(path)


def test_windows_are_those_that_torch_unfolds() -> None:
    tokens = np.random.default_rng(0).integers(0, 1000, size=200).astype(np.uint16)
    windows = {tuple(w) for w in torch.from_numpy(tokens.astype(np.int64)).unfold(0, 8, 1).tolist()}
    for x, y in (
        get_batch(tokens, batch_size=500, context_length=7),
        RandomWindows(tokens, 7, seed=0).rows(range(500))[:2],
    ):
        assert x.shape == y.shape == (500, 7)
        assert x.dtype == y.dtype == torch.int64
        assert x.is_contiguous() and y.is_contiguous()
        drawn = {tuple(row) for row in torch.cat([x, y[:, -1:]], dim=1).tolist()}
        assert drawn <= windows
        # 193 windows, 500 draws: about 1 - exp(-500/193) = 92% of them are seen.
        assert len(drawn) > 0.8 * len(windows)


@pytest.mark.parametrize("source", ["get_batch", "RandomWindows", "another seed"])
def test_starts_are_uniform_over_all_windows(source: str) -> None:
    tokens, context_length, draws = np.arange(20), 7, 20_000
    if source == "get_batch":
        x, _ = get_batch(tokens, draws, context_length, rng=np.random.default_rng(1))
    else:
        x = RandomWindows(tokens, context_length, seed=len(source)).rows(range(draws)).inputs
    counts = np.bincount(x[:, 0].numpy())
    expected = draws / (20 - context_length)
    assert len(counts) == 20 - context_length
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 32.9  # 0.1% point at 12 degrees of freedom


def test_starts_that_follow_each_other_are_independent() -> None:
    starts = RandomWindows(np.arange(9), 4, seed=0).rows(range(50_001)).inputs[:, 0].numpy()
    pairs = np.bincount(starts[:-1] * 5 + starts[1:], minlength=25)
    chi_squared = float(((pairs - 2000) ** 2 / 2000).sum())
    assert chi_squared < 51.2  # 0.1% point at 24 degrees of freedom


def test_the_only_window_of_the_shortest_text() -> None:
    for x, y in (
        get_batch(np.arange(5), batch_size=2, context_length=4),
        RandomWindows(np.arange(5), 4, seed=0).rows(range(2))[:2],
        EpochWindows(np.arange(5), 4, seed=0).rows(range(2))[:2],
    ):
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
    for windows in (RandomWindows, EpochWindows):
        with pytest.raises(ValueError, match=match):
            windows(tokens, 8, seed=0)
        with pytest.raises(ValueError, match="context_length=0 must be at least 1"):
            windows(np.arange(9), 0, seed=0)
        with pytest.raises(ValueError, match="seed=-1 must be at least 0"):
            windows(np.arange(9), 8, seed=-1)


@pytest.mark.parametrize("windows", [RandomWindows, EpochWindows])
def test_rows_depend_on_seed_and_number_alone(windows: type) -> None:
    tokens = np.arange(10_000)
    whole = windows(tokens, 16, seed=3).rows(range(9000))
    jumping = windows(tokens, 16, seed=3)
    rng = np.random.default_rng(0)
    for first in [0, 4, 8, 4, 8999, *rng.integers(0, 8990, size=50).tolist()]:
        stop = min(first + 4, 9000)
        batch = jumping.rows(range(first, stop))
        assert torch.equal(batch.inputs, whole.inputs[first:stop])
        assert torch.equal(batch.targets, whole.targets[first:stop])
        batch.inputs.zero_()  # who has a batch may write into it
    assert not torch.equal(whole.inputs[:100], windows(tokens, 16, seed=4).rows(range(100)).inputs)
    assert jumping.rows(range(5, 5)).inputs.shape == (0, 16)
    for numbers in (
        range(-1, 3),
        range(0, 8, 2),
        range(8999, 9003, 2),
        range(2**62 - 1, 2**62 + 1),
    ):
        with pytest.raises(ValueError, match="must be consecutive, from 0 on"):
            jumping.rows(numbers)


@given(
    length=st.integers(2, 300),
    context_length=st.integers(1, 40),
    first_epoch=st.integers(0, 5),
    seed=st.integers(0, 5),
)
def test_an_epoch_has_every_window_once(
    length: int, context_length: int, first_epoch: int, seed: int
) -> None:
    context_length = min(context_length, length - 1)
    samples = EpochWindows(np.arange(length), context_length, seed=seed)
    size = samples.epoch_samples
    assert size == (length - 1) // context_length
    shifts = set()
    for epoch in range(first_epoch, first_epoch + 3):
        batch = samples.rows(range(epoch * size, (epoch + 1) * size))
        targets = np.sort(batch.targets.flatten().numpy())
        shifts.add(int(targets[0]))
        assert np.array_equal(targets, np.arange(size * context_length) + targets[0])
        assert torch.equal(batch.inputs + 1, batch.targets)
    assert max(shifts) + size * context_length <= length


def test_the_tail_has_its_turn_and_orders_differ() -> None:
    samples = EpochWindows(np.arange(25), 10, seed=0)
    epochs = [samples.rows(range(2 * e, 2 * e + 2)).inputs for e in range(60)]
    starts = [epoch.min().item() for epoch in epochs]
    assert set(starts) == set(range(5))
    assert len({tuple(epoch[:, 0].tolist()) for epoch in epochs}) == 10


@given(
    length=st.integers(2, 200),
    context_length=st.integers(1, 40),
    batch_size=st.integers(1, 7),
)
def test_windows_in_order_score_every_token_once(
    length: int, context_length: int, batch_size: int
) -> None:
    tokens = np.arange(length)
    inputs, targets = [], []
    for batch in Loader(SequentialWindows(tokens, context_length), batch_size):
        assert batch.inputs.shape == batch.targets.shape
        assert batch.inputs.shape[0] <= batch_size and batch.inputs.shape[1] == context_length
        scored = batch.targets != IGNORE
        assert (batch.inputs[~scored] == 0).all()
        inputs += batch.inputs[scored].tolist()
        targets += batch.targets[scored].tolist()
    assert inputs == list(range(length - 1))
    assert targets == list(range(1, length))


@pytest.mark.parametrize("length", [0, 1])
def test_one_token_cannot_be_scored(length: int) -> None:
    with pytest.raises(ValueError, match=f"the corpus has {length} tokens, at least 2"):
        SequentialWindows(np.arange(length), 8)


def test_sizes_and_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="context_length=0 must be at least 1"):
        SequentialWindows(np.arange(9), 0)
    with pytest.raises(ValueError, match="max_windows=0 must be at least 1"):
        SequentialWindows(np.arange(9), 4, max_windows=0)
    samples = SequentialWindows(np.arange(10), 4)
    with pytest.raises(ValueError, match=r"numbers=range\(0, 4\) must be consecutive, .* below 3"):
        samples.rows(range(4))
    for tokens in (np.arange(3), np.arange(10)):
        assert SequentialWindows(tokens, 4).rows(range(0)).targets.shape == (0, 4)


@given(max_windows=st.integers(1, 30))
def test_a_part_of_the_windows_is_spread_over_the_text(max_windows: int) -> None:
    samples = SequentialWindows(np.arange(20 * 10 + 1), 10, max_windows=max_windows)
    batches = list(Loader(samples, 3))
    starts = [row[0] for batch in batches for row in batch.inputs.tolist()]
    assert len(starts) == min(max_windows, 20)
    assert len(set(starts)) == len(starts)
    gaps = np.diff([*starts, 200])
    assert max(gaps) <= 10 * math.ceil(20 / len(starts))
    assert all((batch.targets == batch.inputs + 1).all() for batch in batches)


@pytest.mark.parametrize("vocab_size", [300, 70_000])
@pytest.mark.parametrize("shard_tokens", [64, 400, 10_000])
def test_a_token_store_gives_the_rows_of_its_array(
    tmp_path: Path, shard_tokens: int, vocab_size: int
) -> None:
    tokens = np.random.default_rng(0).integers(0, vocab_size, size=1000)
    store = make_store(tmp_path / "store", tokens, shard_tokens)
    for make in (
        lambda tokens: RandomWindows(tokens, 100, seed=0),
        lambda tokens: EpochWindows(tokens, 100, seed=0),
        lambda tokens: SequentialWindows(tokens, 99),
    ):
        for first in range(0, 8, 3):
            expected, found = (make(t).rows(range(first, first + 3)) for t in (tokens, store))
            assert torch.equal(expected.inputs, found.inputs)
            assert torch.equal(expected.targets, found.targets)


def test_memmaps_and_strided_arrays_are_read(tmp_path: Path) -> None:
    tokens = np.arange(500, dtype="<u2")
    tokens.tofile(tmp_path / "tokens.bin")
    expected = RandomWindows(tokens, 9, seed=0).rows(range(20)).inputs
    memmap = np.memmap(tmp_path / "tokens.bin", dtype="<u2", mode="r")
    strided = np.repeat(tokens, 2)[::2]
    for other in (memmap, strided):
        assert torch.equal(RandomWindows(other, 9, seed=0).rows(range(20)).inputs, expected)


@pytest.mark.parametrize(
    "tokens",
    [np.arange(20.0), np.arange(20).reshape(4, 5), np.arange(20) > 3, np.array(5), np.array(["a"])],
)
def test_what_is_no_line_of_whole_numbers_is_refused(tokens: np.ndarray) -> None:
    match = "must be whole numbers in one dimension"
    for use in (
        lambda: get_batch(tokens, 2, 3),
        lambda: RandomWindows(tokens, 3, seed=0),
        lambda: EpochWindows(tokens, 3, seed=0),
        lambda: SequentialWindows(tokens, 3),
    ):
        with pytest.raises(ValueError, match=match):
            use()


def test_ids_come_out_as_they_are_or_not_at_all() -> None:
    tokens = np.arange(20, dtype=np.uint64)
    x, y = get_batch(tokens, 50, 3)
    assert torch.equal(x + 1, y)
    tokens[:] = 2**64 - 1
    with pytest.raises(ValueError, match=f"token id {2**64 - 1} is too large"):
        get_batch(tokens, 2, 3)


@pytest.mark.parametrize("value", [1.5, "3", None, True, float("nan"), np.float64(2)])
def test_numbers_that_are_not_whole_are_refused_by_name(value: Any) -> None:
    tokens = np.arange(20)
    for name, use in (
        ("seed", lambda: RandomWindows(tokens, 3, seed=value)),
        ("seed", lambda: EpochWindows(tokens, 3, seed=value)),
        ("context_length", lambda: RandomWindows(tokens, value, seed=0)),
        ("context_length", lambda: EpochWindows(tokens, value, seed=0)),
        ("context_length", lambda: SequentialWindows(tokens, value)),
        ("max_windows", lambda: SequentialWindows(tokens, 3, max_windows=value)),
        ("context_length", lambda: get_batch(tokens, 3, value)),
        ("batch_size", lambda: get_batch(tokens, value, 3)),
        ("batch_size", lambda: Loader(RandomWindows(tokens, 3, seed=0), value)),
        ("rank", lambda: Loader(RandomWindows(tokens, 3, seed=0), 4, rank=value, world_size=4)),
        ("step", lambda: Loader(RandomWindows(tokens, 3, seed=0), 4).batch(value)),
    ):
        if value is None and name == "max_windows":
            continue
        with pytest.raises(TypeError, match=f"{name}=.* must be an integer"):
            use()


@pytest.mark.parametrize("kind", [RandomWindows, EpochWindows])
@pytest.mark.parametrize("world_size", [2, 8, 64])
def test_a_ranks_starts_are_computed_for_many_steps_at_once(kind: type, world_size: int) -> None:
    samples = kind(np.arange(10**6), 8, seed=0)
    compute, calls = samples._starts._function, []
    samples._starts._function = lambda numbers: calls.append(len(numbers)) or compute(numbers)
    loader = Loader(samples, 4 * world_size, rank=world_size - 1, world_size=world_size)
    for _ in range(200):
        next(loader)
    assert len(calls) <= 3 + 200 * 4 * world_size / 4096
