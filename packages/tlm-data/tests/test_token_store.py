import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import TokenStore, TokenStoreError, TokenStoreWriter

DOCUMENTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]]
FLAT = [token for document in DOCUMENTS for token in document]


def write(path: Path, documents: list[list[int]], vocab_size: int = 100, shard: int = 4) -> None:
    with TokenStoreWriter(
        path, vocab_size=vocab_size, tokenizer_fingerprint="abc", shard_tokens=shard
    ) as writer:
        for document in documents:
            writer.add(document, num_bytes=2 * len(document))


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    write(tmp_path / "store", DOCUMENTS)
    return TokenStore.open(tmp_path / "store")


def test_numpy_reads_the_raw_files(store: TokenStore) -> None:
    shards = sorted(store.path.glob("*.bin"))
    assert len(shards) == 3
    assert np.concatenate([np.fromfile(s, dtype="<u2") for s in shards]).tolist() == FLAT
    assert np.fromfile(store.path / "shard-00000.idx", dtype="<u8").tolist() == [0, 3, 4]
    assert np.fromfile(store.path / "shard-00001.idx", dtype="<u8").tolist() == [0, 5]


def test_meta_counts(store: TokenStore) -> None:
    assert len(store) == 11
    found = {k: store.meta[k] for k in ("num_tokens", "num_documents", "num_bytes", "max_id")}
    assert found == {"num_tokens": 11, "num_documents": 4, "num_bytes": 22, "max_id": 11}
    assert store.meta["dtype"] == "uint16"
    assert store.meta["tokenizer_fingerprint"] == "abc"
    assert [document.tolist() for document in store.documents()] == DOCUMENTS


@given(
    documents=st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=12),
    shard=st.integers(1, 20),
    bounds=st.tuples(st.integers(-30, 60), st.integers(-30, 60)),
)
def test_slices_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    shard: int,
    bounds: tuple[int, int],
) -> None:
    path = tmp_path_factory.mktemp("stores") / "store"
    write(path, documents, shard=shard)
    store = TokenStore.open(path)
    flat = [token for document in documents for token in document]
    assert store[bounds[0] : bounds[1]].tolist() == flat[bounds[0] : bounds[1]]
    assert store[:].tolist() == flat
    assert [d.tolist() for d in store.documents()] == [d for d in documents if d]


def test_large_vocabularies_take_uint32(tmp_path: Path) -> None:
    write(tmp_path / "small", [[65_535]], vocab_size=65_536)
    write(tmp_path / "large", [[65_536]], vocab_size=65_537)
    assert TokenStore.open(tmp_path / "small")[:].dtype == np.uint16
    large = TokenStore.open(tmp_path / "large")
    assert large[:].dtype == np.uint32 and large[:].tolist() == [65_536]


@pytest.mark.parametrize("wrong", [-1, 100, 70_000])
def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"token id {wrong} is outside the vocabulary 0..99"):
        write(tmp_path / "store", [[1], [2, wrong]])
    assert os.listdir(tmp_path) == []


def test_a_name_in_use_is_refused(store: TokenStore) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        write(store.path, [[1]])
    assert TokenStore.open(store.path)[:].tolist() == FLAT


def test_the_fingerprint_follows_the_tokens(tmp_path: Path, store: TokenStore) -> None:
    write(tmp_path / "same", DOCUMENTS)
    write(tmp_path / "other", [*DOCUMENTS[:-1], [10, 12]])
    assert TokenStore.open(tmp_path / "same").fingerprint == store.fingerprint
    assert TokenStore.open(tmp_path / "other").fingerprint != store.fingerprint


def edit_meta(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps(meta | changes))

    return damage


def truncate(path: Path) -> None:
    os.truncate(path / "shard-00001.bin", 9)


def remove_index(path: Path) -> None:
    (path / "shard-00000.idx").unlink()


def cut_meta(path: Path) -> None:
    os.truncate(path / "meta.json", 40)


def remove_meta(path: Path) -> None:
    (path / "meta.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"shard-00001.bin has 9 bytes, but 5 ids of uint16 take 10: .*whole number"),
        (remove_index, r"shard-00000.idx is missing"),
        (cut_meta, r"meta.json is damaged"),
        (remove_meta, r"is not a token store: meta.json is missing"),
        (edit_meta(version=2), r"version 2 is not 1"),
        (edit_meta(dtype="int8"), r"dtype 'int8' is not one of"),
        (edit_meta(format="x"), r"does not describe a token store"),
        (edit_meta(num_tokens=12), r"num_tokens=12, but the shards hold 11"),
        (edit_meta(shards=None), r"it lacks shards, of type list"),
        (edit_meta(tokenizer_fingerprint=1), r"it lacks tokenizer_fingerprint, of type str"),
        (edit_meta(shards=[1]), r"shard 0 lacks file, of type str"),
        (edit_meta(shards=[{}]), r"shard 0 lacks file, of type str"),
    ],
)
def test_damage_is_found_at_open(
    store: TokenStore, damage: Callable[[Path], None], message: str
) -> None:
    damage(store.path)
    with pytest.raises(TokenStoreError, match=message):
        TokenStore.open(store.path)


@pytest.mark.parametrize("name", ["shard-00001.bin", "shard-00000.idx"])
def test_verify_finds_a_flipped_bit(store: TokenStore, name: str) -> None:
    store.verify()
    data = bytearray((store.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (store.path / name).write_bytes(data)
    with pytest.raises(TokenStoreError, match=f"{name} is damaged: its XXH3 checksum is"):
        TokenStore.open(store.path).verify()


def test_bad_arguments(tmp_path: Path, store: TokenStore) -> None:
    with pytest.raises(ValueError, match="step=2"):
        store[::2]
    with pytest.raises(TypeError, match=r"store\[3\]: take a slice, as in store\[3 : 3 \+ 1\]"):
        store[3]  # type: ignore[index]
    assert repr(store).endswith("store': 11 tokens in 4 documents)")
    with pytest.raises(ValueError, match="vocab_size=0"):
        TokenStoreWriter(tmp_path / "x", vocab_size=0, tokenizer_fingerprint="")
