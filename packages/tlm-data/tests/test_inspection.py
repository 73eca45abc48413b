from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpe_tok import Tokenizer
from tlm_data import TokenStore, TokenStoreWriter
from tlm_data.bin_files import open_bin
from tlm_data.inspection import inspect_store


def write(path: Path, documents: list[list[int]], **options: int) -> TokenStore:
    with TokenStoreWriter(path, vocab_size=256, tokenizer_fingerprint="", **options) as writer:
        for document in documents:
            writer.add(document, num_bytes=2 * len(document))
    return TokenStore.open(path)


def test_statistics_are_numpys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlm_data.inspection._CHUNK_TOKENS", 100)
    monkeypatch.setattr("tlm_data.inspection._EXACT_LENGTHS", 60)
    rng = np.random.default_rng(0)
    lengths = rng.geometric(1 / 40, 51)
    documents = [rng.integers(0, 200, length).tolist() for length in lengths]
    progress: list[tuple[int, int]] = []
    store = write(tmp_path / "store", documents, shard_tokens=300)
    found = inspect_store(store, on_progress=lambda *done: progress.append(done))
    flat = np.concatenate(documents)
    assert found.lengths is not None
    assert found.lengths.min_tokens == lengths.min()
    assert found.lengths.max_tokens == lengths.max() > 60
    assert found.lengths.median_tokens == np.quantile(lengths, 0.5, method="inverted_cdf")
    assert found.lengths.p90_tokens == np.quantile(lengths, 0.9, method="inverted_cdf")
    assert found.lengths.mean_tokens == pytest.approx(lengths.mean())
    values, counts = np.unique(flat, return_counts=True)
    assert found.max_id == flat.max()
    assert found.distinct_ids == len(values)
    assert found.vocab_share == len(values) / 256
    assert [count for _, count in found.most_frequent] == sorted(counts.tolist())[:-11:-1]
    assert all(counts[values == token] == count for token, count in found.most_frequent)
    assert found.bytes_per_token == 2
    assert progress[-1] == (len(flat), len(flat)) and len(progress) > 5


def test_samples_are_decoded_starts_of_documents(tmp_path: Path) -> None:
    documents = [list(f"This is document {n}.".encode()) for n in range(9)]
    store = write(tmp_path / "store", documents)
    found = inspect_store(store, Tokenizer.byte_level(), samples=5, seed=1)
    assert len(found.samples) == 5
    starts = np.cumsum([0, *map(len, documents)]).tolist()
    for sample in found.samples:
        assert sample.text == f"This is document {starts.index(sample.position)}."
    assert len({sample.position for sample in found.samples}) == 5
    assert found == inspect_store(store, Tokenizer.byte_level(), samples=5, seed=1)
    assert found.samples != inspect_store(store, Tokenizer.byte_level(), samples=5, seed=2).samples
    text = str(found)
    assert "171, uint16 in 1 shard\n" in text
    assert "documents       9\n" in text
    assert "342 bytes, 2.00 a token" in text
    assert "19 to 19 tokens, median 19, mean 19.0" in text
    assert f"{ord('i'):>7}  'i'" in text
    assert "'This is document 8.'" in text


def test_an_empty_store_and_one_without_a_description(tmp_path: Path) -> None:
    empty = inspect_store(write(tmp_path / "empty", []))
    assert (empty.num_tokens, empty.lengths, empty.samples, empty.max_id) == (0, None, [], -1)
    assert "tokens          0, uint16\n" in str(empty) and str(empty).endswith(
        "ids             none"
    )
    np.array([1, 2, 2], "<u2").tofile(tmp_path / "x.bin")
    foreign = inspect_store(open_bin(tmp_path / "x.bin"), samples=1)
    assert foreign.bytes_per_token is None and foreign.vocab_share is None
    assert "largest 2, 2 different ones" in str(foreign)
    assert "1 2 2" in str(foreign)


def test_a_wrong_dtype_shows(tmp_path: Path) -> None:
    np.random.default_rng(0).integers(0, 50257, 1000).astype("<u2").tofile(tmp_path / "x.bin")
    found = inspect_store(open_bin(tmp_path / "x.bin", dtype="uint32"))
    assert found.distinct_ids is None and found.most_frequent == []
    assert "is uint32 the right dtype?" in str(found)


def test_a_tokenizer_that_is_too_small_is_refused(tmp_path: Path) -> None:
    class Small:
        vocab_size = 100

        def decode_bytes(self, ids: Any, /) -> bytes:
            return bytes(ids)

    progress: list[int] = []
    message = "the store has the id 100, but the tokenizer only ids below 100"
    store = write(tmp_path / "store", [[1, 100]])
    with pytest.raises(ValueError, match=message):
        inspect_store(store, Small(), on_progress=lambda done, total: progress.append(done))
    assert progress == []  # nothing was read
    np.array([1, 100], "<u2").tofile(tmp_path / "x.bin")
    with pytest.raises(ValueError, match=message):
        inspect_store(open_bin(tmp_path / "x.bin"), Small())
