import pickle
from pathlib import Path

import numpy as np
import pytest
from tlm_data import TokenStore, TokenStoreError
from tlm_data.bin_files import open_bin

EOT = 50256


def write_nanogpt(path: Path, ids: list[int]) -> None:
    """As nanoGPT's data/openwebtext/prepare.py writes it: a memmap without a header."""
    array = np.memmap(path, dtype=np.uint16, mode="w+", shape=(len(ids),))
    array[:] = ids
    array.flush()


def write_llmc(path: Path, ids: list[int], kind: str = "gpt-2") -> None:
    """As llm.c's dev/data/data_common.py writes it; modded-nanogpt writes the gpt-2 kind."""
    magic, version, dtype = {
        "gpt-2": (20240520, 1, np.uint16),
        "llama-3": (20240801, 7, np.uint32),
    }[kind]
    header = np.zeros(256, dtype=np.int32)
    header[:3] = magic, version, len(ids)
    path.write_bytes(header.tobytes() + np.array(ids, dtype=dtype).tobytes())


def spans(store: TokenStore) -> list[list[int]]:
    starts, ends = store.document_spans(0, len(store))
    return [store[start:end].tolist() for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("num_tokens", [7, 600, 5000])
def test_nanogpt(tmp_path: Path, num_tokens: int) -> None:
    ids = np.random.default_rng(0).integers(0, 50257, num_tokens).tolist()
    write_nanogpt(tmp_path / "train.bin", ids)
    store = TokenStore.open(tmp_path / "train.bin")
    assert store[:].tolist() == ids and store[:].dtype == np.uint16
    assert (store.num_documents, store.num_bytes, store.vocab_size) == (1, None, None)
    assert store.meta == {} and store.tokenizer_fingerprint is None
    assert [d.tolist() for d in store.documents()] == [ids] == spans(store)


@pytest.mark.parametrize(("kind", "dtype"), [("gpt-2", np.uint16), ("llama-3", np.uint32)])
def test_llmc(tmp_path: Path, kind: str, dtype: type) -> None:
    ids = np.random.default_rng(0).integers(0, 50257, 700).tolist()
    write_llmc(tmp_path / "val.bin", ids, kind)
    store = TokenStore.open(tmp_path / "val.bin")
    assert store[:].tolist() == ids and store[:].dtype == dtype
    assert str(tmp_path) in repr(store) and "700 tokens" in repr(store)


def test_several_files_are_one_store(tmp_path: Path) -> None:
    parts = [[1, 2, 3], [], [4], [5, 6]]
    for number, part in enumerate(parts):
        write_llmc(tmp_path / f"fineweb_train_{number:06d}.bin", part)
    write_llmc(tmp_path / "fineweb_val_000000.bin", [9])
    for store in (
        open_bin(tmp_path / "fineweb_train_*.bin"),
        TokenStore.open(f"{tmp_path}/fineweb_train_*.bin"),
        open_bin([tmp_path / f"fineweb_train_{number:06d}.bin" for number in range(4)]),
    ):
        assert store[:].tolist() == [1, 2, 3, 4, 5, 6]
        assert store[2:5].tolist() == [3, 4, 5]
        assert store.starts == [0, 3, 4, 6] and len(store.shards) == 3
        assert spans(store) == [[1, 2, 3], [4], [5, 6]]


def test_documents_by_the_id_that_divides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlm_data.bin_files._SCAN_TOKENS", 3)
    write_nanogpt(tmp_path / "ends.bin", [1, 2, EOT, 3, EOT, EOT, 4, 5])
    store = open_bin(tmp_path / "ends.bin", end_id=EOT)
    assert spans(store) == [[1, 2, EOT], [3, EOT], [EOT], [4, 5]]
    assert store.num_documents == 4
    write_nanogpt(tmp_path / "ends.bin", [1, EOT])
    assert spans(open_bin(tmp_path / "ends.bin", end_id=EOT)) == [[1, EOT]]
    write_llmc(tmp_path / "starts.bin", [7, 8, EOT, 1, 2, EOT, EOT, 3])
    store = open_bin(tmp_path / "starts.bin", start_id=EOT)
    assert spans(store) == [[7, 8], [EOT, 1, 2], [EOT], [EOT, 3]]
    write_llmc(tmp_path / "starts.bin", [EOT, 1])
    assert spans(open_bin(tmp_path / "starts.bin", start_id=EOT)) == [[EOT, 1]]


def test_the_fingerprint_follows_the_tokens_and_no_names(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 50257, 9000)
    write_nanogpt(tmp_path / "a.bin", ids.tolist())
    write_llmc(tmp_path / "b.bin", ids.tolist())
    first = open_bin(tmp_path / "a.bin").fingerprint
    assert open_bin(tmp_path / "b.bin").fingerprint == first
    assert open_bin(tmp_path / "b.bin", end_id=3).fingerprint != first
    assert (
        open_bin(tmp_path / "b.bin", end_id=np.int64(3)).fingerprint  # type: ignore[arg-type]
        == open_bin(tmp_path / "b.bin", end_id=3).fingerprint
    )
    for changed in (ids[:-1], np.append(ids[:-1], 1), np.append(1, ids[1:])):
        write_nanogpt(tmp_path / "c.bin", changed.tolist())
        assert open_bin(tmp_path / "c.bin").fingerprint != first


def test_it_pickles_by_its_paths(tmp_path: Path) -> None:
    write_nanogpt(tmp_path / "a.bin", list(range(3000)))
    write_nanogpt(tmp_path / "b.bin", [5, 6, 5])
    store = open_bin([tmp_path / "a.bin", tmp_path / "b.bin"], vocab_size=3000, end_id=5)
    data = pickle.dumps(store)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert again[:].tolist() == store[:].tolist() and spans(again) == spans(store)
    assert again.vocab_size == 3000
    write_nanogpt(tmp_path / "b.bin", [5, 6, 6])
    with pytest.raises(TokenStoreError, match="other tokens than when it was sent"):
        pickle.loads(data)


def test_it_pickles_after_the_process_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nanogpt(tmp_path / "a.bin", [1, 2])
    monkeypatch.chdir(tmp_path)
    store = open_bin("a.bin")
    monkeypatch.chdir("/")
    assert store.path == tmp_path / "a.bin"
    assert pickle.loads(pickle.dumps(store))[:].tolist() == [1, 2]


def test_what_is_refused(tmp_path: Path) -> None:
    good, path = tmp_path / "good.bin", tmp_path / "x.bin"
    write_llmc(good, [1, 2, 3])
    data = good.read_bytes()

    def refuses(message: str, content: bytes | None = None, **options: object) -> None:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            open_bin(path, **options)  # type: ignore[arg-type]

    refuses("x.bin: there is no such file, and none matches it")
    refuses("1,029 bytes, but its header of 3 tokens of uint16 makes 1,030", data[:-1])
    refuses("its header of 3 tokens", data + b"\0\0")
    refuses("version 2 of format 20240520 is not 1", data[:4] + b"\2" + data[5:])
    refuses("by its header, not dtype='uint32'", data, dtype="uint32")
    refuses("5 bytes, which is not a whole number of uint16 ids", b"\1\0\2\0\3")
    refuses("6 bytes, which is not a whole number of uint32 ids", b"\1\0\2\0\3\0", dtype="uint32")
    refuses(r"dtype='int64' must be one of \['uint16', 'uint32'\]", dtype="int64")
    refuses("start_id=1, end_id=2: give the one that divides", start_id=1, end_id=2)
    for size in (4, 12, 500, 1022):
        refuses(f"{size:,} bytes, but its header alone takes 1,024: the file was cut", data[:size])
    refuses("x.bin is empty", b"")
    refuses("evaluation examples", np.array([20240522, 1], np.int32).tobytes().ljust(1024, b"\0"))
    refuses("vocab_size=0 must be from 1 to", data, vocab_size=0)
    refuses("vocab_size=-3 must be from 1 to", vocab_size=-3)
    refuses("end_id=9 must be from 0 to 4", vocab_size=5, end_id=9)
    refuses("end_id=-3 must be from 0 to 65535", end_id=-3)
    refuses("start_id=70000 must be from 0 to 65535", start_id=70_000)
    for wrong in ("9", 9.0, True):
        with pytest.raises(TypeError, match=f"start_id={wrong!r} must be an integer"):
            open_bin(path, start_id=wrong)  # type: ignore[arg-type]
    with pytest.raises(TokenStoreError, match="is a folder: name the files in it"):
        open_bin(tmp_path)
    with pytest.raises(TokenStoreError, match="no token file was given"):
        open_bin([])
    (tmp_path / "meta.json").write_text("{}")
    refuses(f"is a part of a token store: open {tmp_path}", b"12")
    write_llmc(path, [1], "llama-3")
    with pytest.raises(TokenStoreError, match=r"differ in dtype: .*good.bin is uint16.*uint32"):
        open_bin([good, path])
    with pytest.raises(TokenStoreError, match="carries no checksum"):
        open_bin(good).verify()
