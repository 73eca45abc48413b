import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import TokenStore, TokenStoreError, TokenStoreWriter
from tlm_data.shard_writer import write_meta

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
    assert store.meta["tokenizer_fingerprint"] == store.tokenizer_fingerprint == "abc"
    assert (store.num_documents, store.num_bytes, store.vocab_size) == (4, 22, 100)
    assert [shard["longest_document_tokens"] for shard in store.meta["shards"]] == [3, 5, 2]
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


@given(
    documents=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), max_size=12),
    shard=st.integers(1, 20),
    data=st.data(),
)
def test_document_spans_are_those_that_overlap(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    shard: int,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("stores") / "store"
    write(path, documents, shard=shard)
    store = TokenStore.open(path)
    ends = np.cumsum([len(document) for document in documents]).astype(int).tolist()
    all_spans = list(zip([0, *ends[:-1]], ends, strict=False))
    begin = data.draw(st.integers(0, len(store)))
    end = data.draw(st.integers(begin, len(store)))
    found = store.document_spans(begin, end)
    assert [array.dtype for array in found] == [np.int64, np.int64]
    overlapping = [span for span in all_spans if span[0] < end and span[1] > begin and begin < end]
    assert list(zip(*(array.tolist() for array in found), strict=True)) == overlapping


def test_spans_outside_the_store_are_refused(store: TokenStore) -> None:
    for begin, end in ((-1, 3), (0, 12), (5, 4)):
        with pytest.raises(ValueError, match=f"begin={begin}, end={end} must satisfy 0 <="):
            store.document_spans(begin, end)


def test_it_is_mapped_and_read_only(store: TokenStore) -> None:
    assert [shard.tolist() for shard in store.shards] == [[1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert store.starts == [0, 4, 9, 11]
    assert all(type(shard) is np.ndarray for shard in store.shards)
    with pytest.raises(ValueError, match="read-only"):
        store.shards[0][0] = 1


def test_it_pickles_by_its_path(tmp_path: Path, store: TokenStore) -> None:
    data = pickle.dumps(store)
    assert len(data) < 500
    again = pickle.loads(data)
    assert again[:].tolist() == FLAT and again.fingerprint == store.fingerprint
    store.path.rename(tmp_path / "old")
    write(store.path, DOCUMENTS[::-1])
    with pytest.raises(TokenStoreError, match="holds another corpus than when it was sent here"):
        pickle.loads(data)


def test_a_hundred_billion_tokens_are_not_read(tmp_path: Path) -> None:
    """Sparse files of 200 GB in all; the memory of this process must not follow them."""
    tokens, shards = 12_500_000_000, []
    for number in range(8):
        name = f"shard-{number:05d}"
        (tmp_path / f"{name}.bin").touch()
        os.truncate(tmp_path / f"{name}.bin", 2 * tokens)
        np.array([0, tokens], dtype="<u8").tofile(tmp_path / f"{name}.idx")
        shards.append(
            {
                "file": f"{name}.bin",
                "index": f"{name}.idx",
                "num_tokens": tokens,
                "num_documents": 1,
                "num_bytes": 1,
                "max_id": 0,
                "longest_document_tokens": tokens,
                "xxh3_128": "",
                "index_xxh3_128": "",
            }
        )
    write_meta(tmp_path, vocab_size=50257, tokenizer_fingerprint="", shards=shards)
    before = resident_bytes()
    store = TokenStore.open(tmp_path)
    assert len(store) == 100_000_000_000
    assert store[50_000_000_000 - 5 : 50_000_000_005].tolist() == [0] * 10
    starts, ends = store.document_spans(99_999_999_000, 100_000_000_000)
    assert (starts.tolist(), ends.tolist()) == ([87_500_000_000], [100_000_000_000])
    assert len(store.fingerprint) == 64
    assert resident_bytes() - before < 8 << 20


def resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        pytest.skip("this system does not tell the memory of a process")
    return pages * os.sysconf("SC_PAGE_SIZE")


def edit_meta(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps(meta | changes))

    return damage


def truncate(path: Path) -> None:
    os.truncate(path / "shard-00001.bin", 9)


def odd_size(path: Path) -> None:
    with (path / "shard-00002.bin").open("ab") as file:
        file.write(b"x")


def too_long(path: Path) -> None:
    with (path / "shard-00002.bin").open("ab") as file:
        file.write(b"xxxxxx")


def remove_shard(path: Path) -> None:
    (path / "shard-00001.bin").unlink()


def cut_index(path: Path) -> None:
    os.truncate(path / "shard-00000.idx", 16)


def other_index(path: Path) -> None:
    np.array([0, 3], "<u8").tofile(path / "shard-00001.idx")


def edit_shard(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        meta = json.loads((path / "meta.json").read_text())
        meta["shards"][1] |= changes
        (path / "meta.json").write_text(json.dumps(meta))

    return damage


def binary_meta(path: Path) -> None:
    (path / "meta.json").write_bytes(b"\xff\xfe\0")


def folder_for(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (path / name).unlink()
        (path / name).mkdir()

    return damage


def nested_meta(path: Path) -> None:
    (path / "meta.json").write_text("[" * 100_000)


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
        (
            odd_size,
            r"shard-00002.bin has 5 bytes, .* 4: that is not a whole number of ids, .* long",
        ),
        (too_long, r"shard-00002.bin has 10 bytes, .* 4: the file is too long; copy the store ag"),
        (remove_shard, r"shard-00001.bin is missing; copy the store again, or remove it and"),
        (edit_meta(dtype="uint32"), r"shard-00000.bin has .* wrong dtype, it could be uint16"),
        (remove_index, r"shard-00000.idx is missing"),
        (cut_index, r"shard-00000.idx has 16 bytes, but offsets of 2 documents take 24"),
        (other_index, r"00001.idx is damaged: its documents cover tokens 0 to 3, but .* 0 to 5"),
        (edit_shard(file="../x.bin"), r"'../x.bin' must be a file in the same folder"),
        (edit_shard(num_tokens=-5), r"num_tokens=-5 must not be negative"),
        (edit_shard(num_tokens=True), r"shard 1 lacks num_tokens, of type int"),
        (edit_meta(vocab_size=11), r"max_id=11 must be below vocab_size=11"),
        (binary_meta, r"meta.json is damaged"),
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
        (edit_meta(dtype=[]), r"dtype \[\] is not one of"),
        (edit_meta(dtype={}), r"dtype \{\} is not one of"),
        (edit_meta(version=True), r"version True is not 1"),
        (edit_meta(version=1.0), r"version 1.0 is not 1"),
        (edit_meta(vocab_size=10**30), r"vocab_size=1000+ must lie between 1 and 2\*\*32"),
        (edit_shard(file="a\0b"), r"a\\x00b' cannot be read: embedded null byte"),
        (edit_shard(index="a\0b"), r"a\\x00b' cannot be read: embedded null byte"),
        (edit_shard(file="a" * 3000), r"aaa' cannot be read: .*too long"),
        (edit_shard(index="\ud800"), r"\\ud800' cannot be read"),
        (nested_meta, r"meta.json is damaged: .*recursion"),
        (folder_for("meta.json"), r"meta.json cannot be read: Is a directory"),
        (folder_for("shard-00001.bin"), r"shard-00001.bin' cannot be read: "),
        (folder_for("shard-00000.idx"), r"shard-00000.idx' cannot be read: "),
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


@pytest.mark.parametrize(
    "offsets", [[0, 3, 2, 4], [0, 0, 3, 4], [0, 1 << 63, 3, 4], [0, 3, 1 << 40, 4]]
)
def test_an_index_that_does_not_rise_is_found_when_it_is_used(
    tmp_path: Path, offsets: list[int]
) -> None:
    write(tmp_path / "store", [[1, 2], [3], [4]])
    np.array(offsets, "<u8").tofile(tmp_path / "store" / "shard-00000.idx")
    store = TokenStore.open(tmp_path / "store")
    assert store[:].tolist() == [1, 2, 3, 4]
    for use in (lambda: store.document_spans(0, 1), lambda: next(store.documents())):
        with pytest.raises(TokenStoreError, match=r"00000.idx is damaged: document \d covers tok"):
            use()


@pytest.mark.parametrize("name", ["max_id", "longest_document_tokens"])
def test_verify_finds_wrong_figures(store: TokenStore, name: str) -> None:
    path = store.path / "meta.json"
    meta = json.loads(path.read_text())
    meta[name] += 1
    for shard in meta["shards"]:
        if shard[name] == meta[name] - 1:
            shard[name] += 1
    path.write_text(json.dumps(meta))
    damaged = TokenStore.open(store.path)
    with pytest.raises(TokenStoreError, match=f"meta.json is damaged: it says {name}=.* which has"):
        damaged.verify()


@pytest.mark.parametrize("name", ["shard-00001.bin", "shard-00002.idx"])
def test_verify_names_a_file_that_is_gone(store: TokenStore, name: str) -> None:
    (store.path / name).unlink()
    with pytest.raises(TokenStoreError, match=f"{name} cannot be read: No such file"):
        store.verify()


def test_a_store_stays_what_it_was_when_it_is_replaced(tmp_path: Path, store: TokenStore) -> None:
    store.path.rename(tmp_path / "old")
    write(store.path, [[20, 21, 22, 23], [24] * 5, [25], [26]])  # files of other sizes, too
    assert store[:].tolist() == FLAT
    assert [document.tolist() for document in store.documents()] == DOCUMENTS
    starts, ends = store.document_spans(0, 11)
    assert (starts.tolist(), ends.tolist()) == ([0, 3, 4, 9], [3, 4, 9, 11])


def test_a_process_may_move_while_a_store_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "store", DOCUMENTS)
    monkeypatch.chdir(tmp_path)
    store = TokenStore.open("store")
    monkeypatch.chdir("/")
    assert store.path == tmp_path / "store"
    assert [document.tolist() for document in store.documents()] == DOCUMENTS
    assert pickle.loads(pickle.dumps(store)).fingerprint == store.fingerprint
    store.verify()


def test_a_writer_says_at_once_what_it_cannot_write(tmp_path: Path) -> None:
    def refuses(error: type[Exception], message: str, **changes: Any) -> None:
        arguments = {"vocab_size": 100, "tokenizer_fingerprint": ""} | changes
        with pytest.raises(error, match=message):
            TokenStoreWriter(tmp_path / "store", **arguments)

    for wrong in (None, 3, b"x"):
        refuses(TypeError, "tokenizer_fingerprint=.* must be a str", tokenizer_fingerprint=wrong)
    for wrong in (100.0, True):
        refuses(TypeError, f"vocab_size={wrong} must be an integer", vocab_size=wrong)
    for wrong in (0, -1):
        refuses(ValueError, f"shard_tokens={wrong} must be at least 1", shard_tokens=wrong)
    refuses(TypeError, "shard_tokens=nan must be an integer", shard_tokens=float("nan"))
    writer = TokenStoreWriter(tmp_path / "store", vocab_size=100, tokenizer_fingerprint="")
    with pytest.raises(ValueError, match="add documents inside of `with TokenStoreWriter"):
        writer.add([1], 1)
    with writer:
        writer.add([1], np.int64(1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="store is not being written: add documents inside of"):
        writer.add([1], 1)
    assert TokenStore.open(tmp_path / "store").num_bytes == 1


def test_bad_arguments(tmp_path: Path, store: TokenStore) -> None:
    with pytest.raises(ValueError, match="step=2"):
        store[::2]
    with pytest.raises(TypeError, match=r"store\[3\]: take a slice, as in store\[3 : 3 \+ 1\]"):
        store[3]  # type: ignore[index]
    assert repr(store).endswith("store': 11 tokens in 4 documents)")
    with pytest.raises(ValueError, match="vocab_size=0"):
        TokenStoreWriter(tmp_path / "x", vocab_size=0, tokenizer_fingerprint="")


def test_where_there_is_no_store_it_says_what_to_open(tmp_path: Path, store: TokenStore) -> None:
    with pytest.raises(TokenStoreError, match="nowhere is not a token store: there is no such"):
        TokenStore.open(tmp_path / "nowhere")
    write(tmp_path / "corpus" / "train", DOCUMENTS)
    write(tmp_path / "corpus" / "val", DOCUMENTS)
    with pytest.raises(TokenStoreError, match=r"2 of them: open .*corpus/train or .*corpus/val$"):
        TokenStore.open(tmp_path / "corpus")
    with pytest.raises(TokenStoreError, match=r"meta.json is not a token store, which is a fold"):
        TokenStore.open(store.path / "meta.json")
    with pytest.raises(TokenStoreError, match=r"part of a token store: open .*store$"):
        TokenStore.open(store.path / "shard-00000.bin")
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "train.bin").write_bytes(b"12")
    with pytest.raises(TokenStoreError, match=r"name the files: .*bins/\*.bin$"):
        TokenStore.open(tmp_path / "bins")
    assert len(TokenStore.open(tmp_path / "bins" / "*.bin")) == 1


def test_verify_tells_how_far_it_is(store: TokenStore) -> None:
    progress: list[tuple[int, int]] = []
    store.verify(lambda done, total: progress.append((done, total)))
    assert progress[-1] == (78, 78)  # 11 ids of 2 bytes, and 7 offsets of 8


def test_a_reader_never_sees_half_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    document = list(range(100)) * 10

    def publish() -> None:
        with TokenStoreWriter(
            path, vocab_size=100, tokenizer_fingerprint="", shard_tokens=2000
        ) as writer:
            for _ in range(200):
                writer.add(document, 1)

    thread = threading.Thread(target=publish)
    thread.start()
    tries = 0
    store = None
    while store is None:
        last = not thread.is_alive()
        try:
            store = TokenStore.open(path)
        except TokenStoreError as error:
            assert "there is no such file or folder" in str(error) and not last
            tries += 1
    assert tries
    assert len(store) == 200_000
    store.verify()
    thread.join()


def test_a_writer_that_is_killed_publishes_nothing(tmp_path: Path) -> None:
    script = """
import sys, time
from tlm_data import TokenStoreWriter
with TokenStoreWriter(
    sys.argv[1], vocab_size=100, tokenizer_fingerprint="", shard_tokens=5000
) as writer:
    for number in range(1_000_000):
        writer.add([number % 100] * 1000, 1)
        if number == 20:
            print("ready", flush=True)
"""
    path = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    with pytest.raises(TokenStoreError, match="there is no such file or folder"):
        TokenStore.open(path)
    assert len(os.listdir(tmp_path)) == 1
    write(path, DOCUMENTS)
    assert os.listdir(tmp_path) == ["store"]
    assert TokenStore.open(path)[:].tolist() == FLAT


def test_a_full_disk_publishes_nothing(small_disk: Path) -> None:
    with pytest.raises(OSError, match="no space left on"):
        write(small_disk / "store", [[1] * 1000] * 1100, shard=200_000)
    assert os.listdir(small_disk) == []


def test_documents_in_batches_are_the_same_store(tmp_path: Path, store: TokenStore) -> None:
    with TokenStoreWriter(
        tmp_path / "batches", vocab_size=100, tokenizer_fingerprint="abc", shard_tokens=4
    ) as writer:
        writer.add_documents(FLAT[:4], [3, 1], 8)
        writer.add_documents(FLAT[4:9], [5], 10)
        writer.add_documents(FLAT[9:], [0, 2], 4)
    assert TokenStore.open(tmp_path / "batches").fingerprint == store.fingerprint
    assert TokenStore.open(tmp_path / "batches").meta == store.meta
