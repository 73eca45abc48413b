import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tlm_data import (
    Batch,
    EpochWindows,
    Loader,
    Mixture,
    PackedDocuments,
    RandomWindows,
    Samples,
    SequentialWindows,
    TokenStore,
    TokenStoreWriter,
)

MakeSamples = Callable[..., Samples]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return make_store(tmp_path_factory.mktemp("loader") / "store", seed=0)


def make_store(path: Path, seed: int) -> TokenStore:
    rng = np.random.default_rng(seed)
    with TokenStoreWriter(
        path, vocab_size=500, tokenizer_fingerprint="", shard_tokens=1000
    ) as writer:
        for _ in range(100):
            writer.add(rng.integers(0, 500, size=rng.integers(1, 90)), num_bytes=0)
    return TokenStore.open(path)


def random(store: TokenStore, context_length: int = 24, seed: int = 0) -> Samples:
    return RandomWindows(store, context_length, seed=seed)


def epochs(store: TokenStore, context_length: int = 24, seed: int = 0) -> Samples:
    return EpochWindows(store, context_length, seed=seed)


def packed(store: TokenStore, context_length: int = 24, seed: int = 0) -> Samples:
    return PackedDocuments(store, context_length, seed=seed, block_tokens=100, group_tokens=1000)


def mixed(store: TokenStore, context_length: int = 24, seed: int = 0) -> Samples:
    make = (random, epochs, packed)
    weighted = zip(make, (3, 2, 1), strict=True)
    return Mixture([(m(store, context_length, seed), weight) for m, weight in weighted])


KINDS = pytest.mark.parametrize("make", [random, epochs, packed, mixed])


def assert_equal(found: Batch, expected: Batch) -> None:
    for name, ours, theirs in zip(Batch._fields, found, expected, strict=True):
        if theirs is None:
            assert ours is None, name
        else:
            assert ours is not None and torch.equal(ours, theirs), name


@KINDS
@pytest.mark.parametrize("world_size", [1, 2, 3, 6, 8])
def test_ranks_together_read_the_same_rows(
    store: TokenStore, make: MakeSamples, world_size: int
) -> None:
    # Whole batches, asked for by their rows, are what the parts of all ranks must make up.
    whole = make(store).rows(range(24 * 12))
    ranks = [
        Loader(make(store), 24, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    for step in range(12):
        parts = [next(loader) for loader in ranks]
        rows = slice(24 * step, 24 * step + 24)
        assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs[rows])
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets[rows])
        if whole.document_ids is not None:
            ids = [part.document_ids for part in parts if part.document_ids is not None]
            assert torch.equal(torch.cat(ids), whole.document_ids[rows])


@KINDS
def test_no_rows_are_a_batch_too(store: TokenStore, make: MakeSamples) -> None:
    samples = make(store)
    for part in samples.rows(range(3, 3)):
        assert part is None or part.shape == (0, 24)
    assert samples.has_documents == (samples.rows(range(2)).document_ids is not None)


@KINDS
@pytest.mark.parametrize("prefetch", [False, True])
def test_a_resumed_loader_goes_on_as_one_that_never_stopped(
    store: TokenStore, make: MakeSamples, prefetch: bool
) -> None:
    unbroken = Loader(make(store), 6)
    expected = [next(unbroken) for _ in range(60)]
    for stop in (0, 1, 7, 23, 40):
        loader = Loader(make(store), 6, prefetch=prefetch)
        for step in range(stop):
            assert_equal(next(loader), expected[step])
        state = json.loads(json.dumps(loader.state_dict()))
        assert_equal(next(loader), expected[stop])  # a state taken changes nothing
        again = Loader(make(store), 6, prefetch=prefetch)
        again.load_state_dict(state)
        for step in range(stop, stop + 15):
            assert_equal(next(again), expected[step])
        # From 1 rank to 3, and to half the batch size.
        ranks = [Loader(make(store), 3, rank=rank, world_size=3) for rank in range(3)]
        for rank in ranks:
            rank.load_state_dict(state)
        halves = torch.cat([next(rank).inputs for _ in range(2) for rank in ranks])
        assert torch.equal(halves, expected[stop].inputs)


@KINDS
def test_the_batch_of_a_step_depends_on_the_step_alone(
    store: TokenStore, make: MakeSamples
) -> None:
    loader = Loader(make(store), 5, prefetch=True)
    expected = [next(loader) for _ in range(30)]
    for step in [*range(29, -1, -1), 7, 7, 8]:
        assert_equal(loader.batch(step), expected[step])
        assert loader.next_sample == 150
    with pytest.raises(ValueError, match="step=-1 must be at least 0"):
        loader.batch(-1)


@KINDS
def test_another_seed_text_or_context_is_refused_by_name(
    store: TokenStore, make: MakeSamples, tmp_path: Path
) -> None:
    loader = Loader(make(store), 4)
    for other, what in (
        (make(store, seed=1), r"seed=1, but these samples have 0"),
        (make(store, context_length=25), r"context_length=25, but these samples have 24"),
        (make(make_store(tmp_path / "other", seed=1)), r"tokens='[0-9a-f]{64}', but these"),
    ):
        with pytest.raises(ValueError, match=what):
            loader.load_state_dict(Loader(other, 4).state_dict())
    assert loader.next_sample == 0


def test_another_kind_or_mixture_is_refused_by_name(store: TokenStore) -> None:
    loader = Loader(random(store), 4)
    with pytest.raises(ValueError, match="samples='epochs of windows', but these samples have 'r"):
        loader.load_state_dict(Loader(epochs(store), 4).state_dict())
    with pytest.raises(ValueError, match="these samples have"):
        loader.load_state_dict(Loader(mixed(store), 4).state_dict())
    state = Loader(Mixture([(random(store), 1), (epochs(store), 1)]), 4).state_dict()
    with pytest.raises(ValueError, match=r"sources\[1\]\.seed=0, but these samples have 5"):
        other = Mixture([(random(store), 1), (epochs(store, seed=5), 1)])
        Loader(other, 4).load_state_dict(state)
    with pytest.raises(ValueError, match=r"shares\[0\]='1/2', but these samples have '2/3'"):
        Loader(Mixture([(random(store), 2), (epochs(store), 1)]), 4).load_state_dict(state)


def test_an_array_is_told_from_another() -> None:
    tokens = np.arange(20_000)
    state = Loader(random(tokens), 4).state_dict()  # type: ignore[arg-type]
    other = tokens.copy()
    other[3] = 9
    with pytest.raises(ValueError, match="tokens="):
        Loader(random(other), 4).load_state_dict(state)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_samples_with_an_end_end(world_size: int, prefetch: bool) -> None:
    samples = SequentialWindows(np.arange(42), 4)  # 11 rows
    loaders = [
        Loader(samples, 4, rank=rank, world_size=world_size, prefetch=prefetch)
        for rank in range(world_size)
    ]
    parts = [[batch.inputs[:, 0] for batch in loader] for loader in loaders]
    assert [len(part) for part in parts] == [3] * world_size
    starts = torch.cat([torch.cat(batch) for batch in zip(*parts, strict=True)])
    assert starts.tolist() == list(range(0, 41, 4))
    with pytest.raises(StopIteration):
        next(loaders[0])
    with pytest.raises(ValueError, match="step=3 is past the end: these are 11 samples"):
        loaders[0].batch(3)


def test_parts_that_do_not_come_out_even_are_refused() -> None:
    samples = RandomWindows(np.arange(20), 4, seed=0)
    with pytest.raises(ValueError, match="batch_size=32 must be a positive multiple of world_si"):
        Loader(samples, 32, world_size=6)
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        Loader(samples, 0)
    with pytest.raises(ValueError, match="rank=-1 must be at least 0"):
        Loader(samples, 4, rank=-1, world_size=2)
    with pytest.raises(ValueError, match="rank=2 must lie between 0 and world_size - 1 = 1"):
        Loader(samples, 4, rank=2, world_size=2)
    with pytest.raises(ValueError, match="must be consecutive, from 0 on and below"):
        Loader(samples, 4).batch(2**61)


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_asked_for() -> None:
    class Broken(RandomWindows):
        broken = True

        def rows(self, numbers: range) -> Batch:
            if numbers.start >= 4 and self.broken:
                raise OSError("the disk is gone")
            return super().rows(numbers)

    samples = Broken(np.arange(20), 4, seed=0)
    loader = Loader(samples, 2, prefetch=True)
    assert next(loader).inputs.shape == next(loader).inputs.shape == (2, 4)
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            next(loader)
    samples.broken = False  # and what went wrong once does not stay wrong
    whole = RandomWindows(np.arange(20), 4, seed=0).rows(range(4, 8))
    assert_equal(next(loader), Batch(whole.inputs[:2], whole.targets[:2]))
    assert_equal(next(loader), Batch(whole.inputs[2:], whole.targets[2:]))


@KINDS
@pytest.mark.parametrize("copy_of", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_copy_goes_on_from_the_same_place(
    store: TokenStore, make: MakeSamples, copy_of: Callable[[Loader], Loader]
) -> None:
    for prefetch in (False, True):
        loader = Loader(make(store), 6, prefetch=prefetch)
        for _ in range(5):
            next(loader)
        again = copy_of(loader)
        for _ in range(20):
            assert_equal(next(again), next(loader))


@KINDS
def test_a_pickle_is_small(store: TokenStore, make: MakeSamples) -> None:
    loader = Loader(make(store), 6, prefetch=True)
    for _ in range(5):
        next(loader)
    assert len(pickle.dumps(loader)) < 8000
    assert len(pickle.dumps(SequentialWindows(store, 8))) < 1000
    array = np.arange(10_000, dtype=np.uint16)
    assert len(pickle.dumps(Loader(SequentialWindows(array, 256), 8))) < 1.1 * array.nbytes


FORK = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from test_loader import epochs, mixed, packed, random
from tlm_data import Loader, TokenStore

def read(loader, queue):
    queue.put([next(loader).inputs.tolist() for _ in range(10)])

fork = multiprocessing.get_context("fork")
for make in (random, epochs, packed, mixed):
    loader, queue = Loader(make(TokenStore.open(sys.argv[2])), 6, prefetch=True), fork.SimpleQueue()
    for _ in range(5):
        next(loader)
        child = fork.Process(target=read, args=(loader, queue))
        child.start()
        found = queue.get()
        child.join()
        assert child.exitcode == 0
        assert found == [next(loader).inputs.tolist() for _ in range(10)]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_goes_on_from_the_same_place(store: TokenStore) -> None:
    command = [sys.executable, "-c", FORK, str(Path(__file__).parent), str(store.path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


@KINDS
def test_a_state_is_json_whatever_integers_it_was_made_of(
    store: TokenStore, make: MakeSamples
) -> None:
    loader = Loader(make(store, np.int64(24), np.uint32(3)), np.int64(4))  # type: ignore[arg-type]
    for _ in range(3):
        next(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    again = Loader(make(store, 24, 3), 4)
    again.load_state_dict(state)
    assert_equal(next(again), next(loader))


@KINDS
def test_what_is_no_state_is_refused_and_changes_nothing(
    store: TokenStore, make: MakeSamples
) -> None:
    loader, unbroken = Loader(make(store), 4), Loader(make(store), 4)
    for _ in range(3):
        assert_equal(next(loader), next(unbroken))
    state = unbroken.state_dict()
    broken: list[Any] = [None, {}, {"next_sample": 0}]
    broken += [state | {"next_sample": n} for n in (-5, 1.5, "3", None, True)]
    broken += [state | {"cursor": c} for c in ([-1, 0], ["a", 1], [0], 3, {}, [0, 1, 2, 3])]
    for wrong in broken:
        with pytest.raises(ValueError, match=r"state=|next_sample=|cursor="):
            loader.load_state_dict(wrong)
        assert loader.next_sample == 12
    for _ in range(3):
        assert_equal(next(loader), next(unbroken))
    ending = Loader(SequentialWindows(np.arange(9), 4), 1)
    ending.load_state_dict(ending.state_dict() | {"next_sample": 2})
    assert list(ending) == []
    with pytest.raises(ValueError, match="next_sample=3 must be at most 2, the samples' end"):
        ending.load_state_dict(ending.state_dict() | {"next_sample": 3})


def test_the_thread_leaves_the_way_to_the_device_to_the_caller(store: TokenStore) -> None:
    loader = Loader(random(store), 4, device="meta", prefetch=True)
    assert next(loader).inputs.is_meta and next(loader).inputs.is_meta
    assert loader._ahead is not None
    assert loader._ahead[1].result().inputs.device.type == "cpu"
    assert loader.batch(7).inputs.is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@KINDS
@pytest.mark.parametrize("prefetch", [False, True])
def test_a_batch_on_the_device_is_that_of_the_cpu(
    store: TokenStore, make: MakeSamples, prefetch: bool
) -> None:
    loader = Loader(make(store), 4)
    on_device = Loader(make(store), 4, device="cuda", prefetch=prefetch)
    for _ in range(20):
        expected, found = next(loader), next(on_device)
        assert found.inputs.is_cuda
        assert_equal(Batch(*(p.cpu() for p in found if p is not None)), expected)


def test_positions_count_within_documents() -> None:
    ids = torch.tensor([[0, 0, 2, 2, 2, 5]], dtype=torch.int32)
    tokens = torch.zeros(1, 6, dtype=torch.int64)
    positions = Batch(tokens, tokens, ids).positions
    assert positions is not None and positions.dtype == torch.int32
    assert positions.tolist() == [[0, 1, 0, 1, 2, 0]]
    assert Batch(tokens, tokens).positions is None
    on_meta = Batch(tokens, tokens, ids).to("meta")
    assert on_meta.document_ids is not None and on_meta.document_ids.is_meta
