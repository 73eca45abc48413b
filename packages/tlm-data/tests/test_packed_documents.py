import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_data import IGNORE, Batch, Loader, PackedDocuments, TokenStore, TokenStoreWriter
from tlm_data.packed_documents import cut_documents
from tlm_data.packed_rows import PackedRows
from tlm_layers import ModelConfig, TransformerLM


def make_store(path: Path, lengths: list[int], shard_tokens: int = 1 << 28) -> TokenStore:
    """A store in which every token differs from all others."""
    total = sum(lengths)
    with TokenStoreWriter(
        path, vocab_size=total + 1, tokenizer_fingerprint="", shard_tokens=shard_tokens
    ) as writer:
        first = 1
        for length in lengths:
            writer.add(np.arange(first, first + length), num_bytes=0)
            first += length
    return TokenStore.open(path)


def read_epoch(samples: PackedDocuments, epoch: int = 0) -> Batch:
    """All rows of an epoch; the numbers of rows in groups are known by then."""
    groups = samples._epoch_groups
    while len(samples._first_rows) <= (epoch + 1) * groups:
        samples.cursor(samples._first_rows[-1])
    first, stop = (samples._first_rows[e * groups] for e in (epoch, epoch + 1))
    return samples.rows(range(first, stop))


def pieces_of(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of each run of one document id, without padding."""
    assert batch.document_ids is not None and batch.positions is not None
    pieces = []
    for inputs, targets, ids, positions in zip(
        *(part.tolist() for part in (*batch, batch.positions)), strict=True
    ):
        begin = 0
        for end in range(1, len(ids) + 1):
            if end < len(ids) and ids[end] == ids[begin]:
                continue
            assert ids[begin] == begin
            assert positions[begin:end] == list(range(end - begin))
            if targets[begin] == IGNORE:
                assert set(targets[begin:end]) == {IGNORE} and set(inputs[begin:end]) == {0}
                assert end == len(ids)
            else:
                pieces.append((inputs[begin:end], targets[begin:end]))
            begin = end
    return pieces


lengths_of_documents = st.lists(
    st.one_of(st.integers(1, 30), st.integers(1, 200)), min_size=1, max_size=40
).filter(lambda lengths: max(lengths) > 1)


@settings(max_examples=60, deadline=None)
@given(
    lengths=lengths_of_documents,
    context_length=st.sampled_from([1, 3, 16, 40, 150, 300]),
    block_tokens=st.sampled_from([7, 64, 1000]),
    group_tokens=st.sampled_from([20, 200, 5000]),
    shard_tokens=st.sampled_from([50, 10_000]),
    seed=st.integers(0, 3),
)
def test_an_epoch_has_every_document_once_and_cuts_none_that_fits(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    context_length: int,
    block_tokens: int,
    group_tokens: int,
    shard_tokens: int,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("packed") / "store"
    store = make_store(path, lengths, shard_tokens)
    expected: Counter[tuple[int, ...]] = Counter()
    first = 1
    for length in lengths:
        document = list(range(first, first + length))
        first += length
        for begin in range(0, length - 1, context_length):
            expected[tuple(document[begin : begin + context_length + 1])] += 1
    samples = PackedDocuments(
        store, context_length, seed=seed, block_tokens=block_tokens, group_tokens=group_tokens
    )
    for epoch in (0, 1):
        batch = read_epoch(samples, epoch)
        assert batch.inputs.shape[1] == context_length
        found: Counter[tuple[int, ...]] = Counter()
        for inputs, targets in pieces_of(batch):
            assert inputs[1:] == targets[:-1]
            found[(*inputs, targets[-1])] += 1
        assert found == expected


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_rows_depend_on_their_number_alone(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, size=60).tolist()
    store = make_store(tmp_path_factory.mktemp("packed") / "store", lengths)

    def make(seed: int = 0) -> PackedDocuments:
        return PackedDocuments(store, 32, seed=seed, block_tokens=100, group_tokens=400)

    whole = make().rows(range(200))
    samples = make()
    for _ in range(12):
        if data.draw(st.booleans()):
            cursor = samples.cursor(data.draw(st.integers(0, 199)))
            samples = make()
            samples.seek(cursor)
        first = data.draw(st.integers(0, 199))
        stop = min(200, first + data.draw(st.integers(1, 20)))
        batch = samples.rows(range(first, stop))
        for found, expected in zip(batch, whole, strict=True):
            assert found is not None and expected is not None
            assert torch.equal(found, expected[first:stop])
        batch.inputs.zero_()  # who has a batch may write into it
        batch.targets.zero_()
    assert not torch.equal(make(seed=1).rows(range(20)).inputs, whole.inputs[:20])


def test_orders_of_epochs_differ(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [9] * 100)
    samples = PackedDocuments(store, 16, seed=0)
    first, second = (read_epoch(samples, epoch) for epoch in (0, 1))
    assert not torch.equal(first.inputs, second.inputs)
    assert torch.equal(first.inputs.flatten().sort()[0], second.inputs.flatten().sort()[0])
    # Documents come together with others, and not only rows in another order.
    assert set(map(tuple, first.inputs.tolist())) != set(map(tuple, second.inputs.tolist()))


def test_a_model_scores_packed_documents_as_it_scores_each_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 40, size=30).tolist()
    store = make_store(tmp_path / "store", lengths)
    torch.manual_seed(0)
    model = TransformerLM(
        ModelConfig(
            vocab_size=len(store) + 1,
            context_length=48,
            d_model=32,
            num_layers=2,
            num_heads=2,
            d_ff=48,
        )
    )
    batch = read_epoch(PackedDocuments(store, 48, seed=0))
    assert (batch.targets == IGNORE).any()
    with torch.no_grad():
        logits = model(batch.inputs, batch.positions, batch.document_ids)
        packed = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), reduction="none", ignore_index=IGNORE
        )
        loss = model.loss(*batch[:2], batch.positions, batch.document_ids)
        alone = torch.zeros(len(store) + 1)
        for document in store.documents():
            ids = torch.from_numpy(document.astype(np.int64))
            alone[ids[1:]] = F.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction="none")
    scored = batch.targets.flatten() != IGNORE
    expected = alone[batch.targets.flatten()[scored]]
    torch.testing.assert_close(packed[scored], expected, rtol=1e-4, atol=1e-4)
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-5)


@pytest.mark.parametrize("context_length", [256, 1024])
@pytest.mark.parametrize("mean", [150, 700])
def test_rows_of_typical_documents_are_full(tmp_path: Path, context_length: int, mean: int) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(mean) - 0.5, 1.0, size=2**20 // mean).astype(int) + 1
    store = make_store(tmp_path / "store", lengths.tolist())
    samples = PackedDocuments(store, context_length, seed=0, group_tokens=2**18)
    batch = read_epoch(samples)
    assert (batch.targets != IGNORE).float().mean() > 0.97
    assert len(np.unique(batch.targets.numpy())) == len(store) - len(lengths) + 1


def test_what_cannot_be_packed_is_refused(tmp_path: Path) -> None:
    single = make_store(tmp_path / "single", [1, 1, 1])
    with pytest.raises(ValueError, match="no document of the corpus has two tokens"):
        PackedDocuments(single, 8, seed=0).rows(range(1))
    with pytest.raises(ValueError, match="the corpus has 1 tokens, at least 2 are needed"):
        PackedDocuments(make_store(tmp_path / "one", [1]), 8, seed=0)
    store = make_store(tmp_path / "store", [9])
    for name in ("context_length", "block_tokens", "group_tokens"):
        sizes: dict[str, float] = {"context_length": 8, name: 0}
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            PackedDocuments(store, seed=0, **sizes)  # type: ignore[arg-type]
        sizes[name] = 8.5
        with pytest.raises(TypeError, match=rf"{name}=8\.5 must be an integer"):
            PackedDocuments(store, seed=0, **sizes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed=-1 must be at least 0"):
        PackedDocuments(store, 8, seed=-1)
    with pytest.raises(TypeError, match="store=ndarray must be a TokenStore, which knows where"):
        PackedDocuments(np.arange(99), 8, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"numbers=range\(-1, 3\) must be consecutive"):
        PackedDocuments(store, 8, seed=0).rows(range(-1, 3))


def test_a_document_belongs_to_the_block_of_its_pieces_starts() -> None:
    documents, starts, lengths = cut_documents(
        starts=np.array([0, 25]),
        ends=np.array([25, 26]),
        begins=np.array([8, 8]),
        stops=np.array([30, 30]),
        context_length=10,
    )
    assert documents.tolist() == [0, 0]
    assert starts.tolist() == [10, 20]
    assert lengths.tolist() == [10, 4]  # the document's last token is a target alone


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_rows_of_a_few_ranks_are_made_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    store = make_store(tmp_path / "store", [9] * 20_000)
    loader = Loader(
        PackedDocuments(store, 64, seed=0),
        2 * world_size,
        rank=world_size - 1,
        world_size=world_size,
    )
    make, calls = PackedRows._make, []

    def counting(rows: PackedRows, first: int, stop: int) -> tuple[np.ndarray, ...]:
        calls.append(stop - first)
        return make(rows, first, stop)

    monkeypatch.setattr(PackedRows, "_make", counting)
    for _ in range(200):
        next(loader)
    assert len(calls) <= 3


def test_memory_grows_with_a_group_and_not_with_the_context(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [1000] * 2000)
    samples = PackedDocuments(store, 1 << 18, seed=0, group_tokens=1 << 20)
    samples.rows(range(1))
    assert samples._buffer is not None
    assert len(samples._buffer) <= 1.5 * (1 << 20)


def test_a_read_that_fails_midway_does_not_change_the_rows_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store", [9] * 400)

    def make() -> PackedDocuments:
        return PackedDocuments(store, 16, seed=0, block_tokens=100, group_tokens=400)

    expected = make().rows(range(40))
    samples = make()
    # A place within the first group, whose tokens are then overwritten by those of the next.
    samples.rows(range(3))
    concatenate = np.concatenate

    def failing(parts: list[np.ndarray], **options: np.ndarray) -> np.ndarray:
        result = concatenate(parts, **options)  # type: ignore[call-overload]
        if "out" in options:
            raise OSError("the disk is gone")
        return np.asarray(result)

    monkeypatch.setattr(np, "concatenate", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        samples.rows(range(3, 40))
    monkeypatch.undo()
    assert torch.equal(samples.rows(range(3, 40)).inputs, expected.inputs[3:])


LARGE = """
import sys, time
from tlm_data import EpochWindows, Loader, PackedDocuments, RandomWindows, TokenStore

def own_memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

store = TokenStore.open(sys.argv[1])
make = {"random": RandomWindows, "epochs": EpochWindows, "packed": PackedDocuments}[sys.argv[2]]
next(Loader(make(TokenStore.open(sys.argv[3]), 256, seed=0), 32))  # imports and first calls
before = own_memory()
started = time.perf_counter()
loader = Loader(make(store, 1024, seed=0), 32)
next(loader)
print(time.perf_counter() - started)
for _ in range(100):
    next(loader)
loader.load_state_dict(loader.state_dict())
next(loader)
print(own_memory() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("name", ["random", "epochs", "packed"])
def test_a_hundred_billion_tokens_take_no_more_time_and_memory(tmp_path: Path, name: str) -> None:
    small = make_store(tmp_path / "small", [500] * 100)
    large = tmp_path / "large"
    large.mkdir()
    lengths = np.random.default_rng(0).lognormal(6, 1, size=2**20).astype(np.int64) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
    (large / "shard-00000.idx").write_bytes(offsets.tobytes())
    num_tokens = int(offsets[-1])
    shards = []
    for number in range(-(-100_000_000_000 // num_tokens)):
        file, index = f"shard-{number:05d}.bin", f"shard-{number:05d}.idx"
        with (large / file).open("wb") as tokens:
            tokens.truncate(2 * num_tokens)
        if number:
            (large / index).hardlink_to(large / "shard-00000.idx")
        own = {"file": file, "index": index, "num_tokens": num_tokens}
        shards.append(small.meta["shards"][0] | own | {"num_documents": len(lengths)})
    meta = small.meta | {"dtype": "uint16", "shards": shards}
    for total in ("num_tokens", "num_documents", "num_bytes"):
        meta[total] = sum(shard[total] for shard in shards)
    (large / "meta.json").write_text(json.dumps(meta))
    command = [sys.executable, "-c", LARGE, str(large), name, str(small.path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seconds, mebibytes = map(float, run.stdout.split())
    # The benchmark has the figures; here stands what no growth with the store could meet.
    assert seconds < 5
    assert mebibytes < 100
