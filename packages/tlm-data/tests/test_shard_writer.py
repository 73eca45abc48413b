import errno
import itertools
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import TokenStore
from tlm_data.shard_writer import ShardWriter, write_meta


def write_store(folder: Path, shards: list[dict[str, Any]], vocab_size: int = 100) -> TokenStore:
    write_meta(folder, vocab_size=vocab_size, tokenizer_fingerprint="abc", shards=shards)
    return TokenStore.open(folder)


Step = tuple[str, list[list[int]]]


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["batch", "pieces", "discarded"]),
            st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=4),
        ),
        max_size=8,
    )
)
def test_a_shard_is_its_documents_however_they_came(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    expected: list[list[int]] = []
    num_bytes = 0
    with ShardWriter(folder, "shard-00000", vocab_size=100) as writer:
        for kind, lists in steps:
            flat = [token for tokens in lists for token in tokens]
            if kind == "batch":
                writer.add_documents(flat, [len(tokens) for tokens in lists], 3 * len(flat))
                expected += [tokens for tokens in lists if tokens]
                num_bytes += 3 * len(flat)
                continue
            for tokens in lists:
                writer.add_tokens(tokens, 3 * len(tokens))
            assert writer.num_tokens == sum(map(len, expected)) + len(flat)
            if kind == "pieces":
                writer.end_document()
                expected += [flat] if flat else []
                num_bytes += 3 * len(flat)
            else:
                writer.discard_document()
        assert writer.num_documents == len(expected)
        assert writer.num_tokens == sum(map(len, expected))
        assert writer.num_bytes == num_bytes
        entry = writer.close()
    flat = [token for tokens in expected for token in tokens]
    assert entry["max_id"] == max(flat, default=-1)
    assert entry["longest_document_tokens"] == max(map(len, expected), default=0)
    assert sorted(os.listdir(folder)) == ["shard-00000.bin", "shard-00000.idx"]
    store = write_store(folder, [entry])
    store.verify()
    assert [tokens.tolist() for tokens in store.documents()] == expected
    assert np.fromfile(folder / "shard-00000.bin", "<u2").tolist() == flat


def test_the_bytes_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.geometric(1 / 300, 4000)
    ids = rng.integers(0, 50257, lengths.sum())
    entries = []
    for name, batches in (("one", 1), ("many", 17)):
        with ShardWriter(tmp_path, name, vocab_size=50257) as writer:
            bounds = np.linspace(0, len(lengths), batches + 1).astype(int)
            ends = np.concatenate([[0], np.cumsum(lengths)])
            for first, last in itertools.pairwise(bounds):
                writer.add_documents(ids[ends[first] : ends[last]], lengths[first:last], 0)
            entries.append(writer.close())
    assert entries[0]["xxh3_128"] == entries[1]["xxh3_128"]
    assert entries[0]["index_xxh3_128"] == entries[1]["index_xxh3_128"]
    assert (tmp_path / "one.bin").read_bytes() == ids.astype("<u2").tobytes()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_ids_that_do_not_fit_are_refused_before_a_write(tmp_path: Path, dtype: str) -> None:
    with ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        writer.add_documents([1, 2], [2], 2)
        for wrong in (-1, 100, np.iinfo(dtype).min, np.iinfo(dtype).max):
            tokens = np.array([3, wrong, 4], dtype=dtype)
            with pytest.raises(ValueError, match=f"token id {wrong} is outside the vocabulary 0"):
                writer.add_documents(tokens, [3], 3)
            with pytest.raises(ValueError, match=f"token id {wrong} is outside the vocabulary 0"):
                writer.add_tokens(tokens[::-1], 3)
            writer.discard_document()
        entry = writer.close()
    assert np.fromfile(tmp_path / "shard.bin", "<u2").tolist() == [1, 2]
    assert entry["num_bytes"] == 2


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(1 << 16, "<u2"), ((1 << 16) + 1, "<u4"), (1 << 32, "<u4")]
)
def test_the_largest_id_of_each_dtype_fits(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    for given_dtype in ("uint64", "int64", ">i8", dtype):
        with ShardWriter(tmp_path, "shard", vocab_size=vocab_size) as writer:
            writer.add_documents(np.array([0, vocab_size - 1], given_dtype), [2], 0)
            assert writer.close()["max_id"] == vocab_size - 1
        assert np.fromfile(tmp_path / "shard.bin", dtype).tolist() == [0, vocab_size - 1]


def test_wrong_calls(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        for lengths in ([2], [4], [4, -1], []):
            with pytest.raises(ValueError, match="lengths must add up to the 3 ids"):
                writer.add_documents([1, 2, 3], lengths, 0)
        with pytest.raises(ValueError, match="but 5 documents of 3 to 4611686018427387904 tokens"):
            writer.add_documents([1, 2, 3], [1 << 62] * 4 + [3], 0)  # their sum wraps to 3
        with pytest.raises(ValueError, match="lengths must be integers in one dimension, not flo"):
            writer.add_documents([1, 2, 3], [1.7, 1.2], 0)  # type: ignore[list-item]
        with pytest.raises(ValueError, match=r"lengths must be .*, not int64 of shape \(1, 1\)"):
            writer.add_documents([1], np.array([[1]]), 0)
        with pytest.raises(ValueError, match="integers in one dimension, not float64"):
            writer.add_documents(np.array([1.5]), [1], 0)
        with pytest.raises(ValueError, match=r"not int64 of shape \(1, 1\)"):
            writer.add_documents(np.array([[1]]), [1], 0)
        writer.add_tokens([1], 1)
        with pytest.raises(ValueError, match="end or discard the open document first"):
            writer.add_documents([1], [1], 1)
        with pytest.raises(ValueError, match="end or discard the open document first"):
            writer.close()
    with pytest.raises(ValueError, match="vocab_size=0 must be from 1 to 4294967296"):
        ShardWriter(tmp_path, "shard", vocab_size=0)
    for wrong in (100.0, True, "100"):
        with pytest.raises(TypeError, match=f"vocab_size={wrong!r} must be an integer"):
            ShardWriter(tmp_path, "shard", vocab_size=wrong)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", [-3, 2.5, float("nan"), None, True, 10**30])
def test_a_wrong_number_of_bytes_is_refused_before_a_write(tmp_path: Path, wrong: Any) -> None:
    with ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        writer.add_documents([1, 2], [2], np.int64(3))  # type: ignore[arg-type]
        with pytest.raises((TypeError, ValueError), match=f"num_bytes={wrong!r} must be"):
            writer.add_documents([3], [1], wrong)
        with pytest.raises((TypeError, ValueError), match=f"num_bytes={wrong!r} must be"):
            writer.add_tokens([3], wrong)
        writer.discard_document()
        entry = writer.close()
    store = write_store(tmp_path, [entry], vocab_size=np.int64(100))  # type: ignore[arg-type]
    assert (store.num_bytes, store.vocab_size, len(store)) == (3, 100, 2)
    store.verify()


def test_a_description_that_could_not_be_opened_is_not_written(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        writer.add_documents([1, 99], [2], 2)
        entry = writer.close()

    def refuses(error: type[Exception], message: str, **changes: Any) -> None:
        arguments = {"vocab_size": 100, "tokenizer_fingerprint": "", "shards": [entry]} | changes
        with pytest.raises(error, match=message):
            write_meta(tmp_path, **arguments)

    refuses(TypeError, "vocab_size=100.0 must be an integer", vocab_size=100.0)
    refuses(TypeError, "tokenizer_fingerprint=None must be a string", tokenizer_fingerprint=None)
    refuses(ValueError, "max_id=99 must be below vocab_size=99", vocab_size=99)
    refuses(ValueError, "shard 0 lacks num_bytes, of type int", shards=[entry | {"num_bytes": 2.0}])
    refuses(ValueError, "shard 1 lacks file, of type str", shards=[entry, None])
    assert sorted(os.listdir(tmp_path)) == ["shard.bin", "shard.idx"]


def test_memory_does_not_grow_with_the_documents(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        writer.add_documents([1], [1], 1)
        tracemalloc.start()
        for _ in range(3_000):
            writer.add_documents([1], [1], 1)
        writer.add_documents(np.ones(100_000, np.uint16), np.ones(100_000, np.int64), 1)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 100_000  # bytes
        assert writer.close()["num_documents"] == 103_001
    assert np.array_equal(np.fromfile(tmp_path / "shard.idx", "<u8"), np.arange(103_002))


def test_the_space_of_the_index_is_taken_beforehand(small_disk: Path) -> None:
    """Documents of one token need four times the space in the index as in the token file."""
    with (
        pytest.raises(OSError, match=r"no space left on .* needs \d,000 more bytes") as e,
        ShardWriter(small_disk, "shard", vocab_size=100) as writer,
    ):
        for _ in range(1000):
            writer.add_documents(np.ones(1000, np.int64), np.ones(1000, np.int64), 1)
    assert "shard." in str(e.value.filename)
    assert 150_000 < writer.num_documents < 210_000
    assert os.listdir(small_disk) == []


def test_a_block_that_raises_leaves_the_old_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        writer.add_documents([1], [1], 1)
        writer.close()
    with pytest.raises(KeyError), ShardWriter(tmp_path, "shard", vocab_size=100) as writer:
        writer.add_documents(np.full(1_000_000, 2), [1_000_000], 1)
        raise KeyError
    assert np.fromfile(tmp_path / "shard.bin", "<u2").tolist() == [1]
    assert sorted(os.listdir(tmp_path)) == ["shard.bin", "shard.idx"]


def test_a_full_disk_is_named_and_nothing_is_left(small_disk: Path) -> None:
    batch = np.arange(100_000) % 100
    with (
        pytest.raises(
            OSError, match=r"no space left on .*: the file needs \d+,\d+ more bytes, "
        ) as e,
        ShardWriter(small_disk, "shard", vocab_size=100) as writer,
    ):
        for _ in range(1000):
            writer.add_documents(batch, [batch.size], 0)
    assert e.value.errno == errno.ENOSPC
    assert "shard.bin" in str(e.value.filename)
    assert writer.num_tokens == 1_000_000  # 2.0 MB of the 2.1 MB were used
    assert os.listdir(small_disk) == []


def test_a_disk_that_is_just_large_enough(small_disk: Path) -> None:
    batch = np.arange(1_000_000) % 100
    with ShardWriter(small_disk, "shard", vocab_size=100) as writer:
        writer.add_documents(batch, [batch.size], 0)
        entry = writer.close()
    write_store(small_disk, [entry]).verify()


def test_a_disk_that_fills_up_where_no_space_is_reserved(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with (
        pytest.raises(OSError, match="no space left on"),
        ShardWriter(small_disk, "shard", vocab_size=100) as writer,
    ):
        for _ in range(2000):
            writer.add_documents(np.full(1000, 7), [1000], 0)
        writer.close()
    assert os.listdir(small_disk) == []


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = """
import sys, time
import numpy as np
from tlm_data.shard_writer import ShardWriter
writer = ShardWriter(sys.argv[1], "shard-00003", vocab_size=100)
for _ in range(10):
    writer.add_documents(np.full(100_000, 7), [100_000], 0)
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = sorted(os.listdir(tmp_path))
    assert [name[:17] for name in left] == [".shard-00003.bin.", ".shard-00003.idx."]
    other = ShardWriter(tmp_path, "shard-000030", vocab_size=100)  # its files are not touched
    with ShardWriter(tmp_path, "shard-00003", vocab_size=100) as writer:
        writer.add_documents([1], [1], 1)
        entry = writer.close()
    other.close()
    assert entry["num_tokens"] == 1
    assert sorted(os.listdir(tmp_path)) == [
        "shard-00003.bin",
        "shard-00003.idx",
        "shard-000030.bin",
        "shard-000030.idx",
    ]
