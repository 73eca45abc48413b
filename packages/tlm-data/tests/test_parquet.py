from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import ReadOptions, find_files, parquet, read_documents, streams, utf8
from tlm_data.slices import FileRange, plan_slices
from tlm_data.sources import local_file


def read(
    path: Path,
    options: ReadOptions,
    slice_bytes: int = 64 << 20,
    drops: Counter[str] | None = None,
) -> list[bytes]:
    def on_drop(reason: str) -> None:
        if drops is not None:
            drops[reason] += 1

    found = []
    for ranges in plan_slices([local_file(path)], slice_bytes=slice_bytes):
        for item in read_documents(ranges, options, on_drop):
            found += item if isinstance(item, list) else [b"".join(item)]
    return found


@given(
    texts=st.lists(st.text(min_size=1, max_size=30), max_size=40),
    kind=st.sampled_from(
        [pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.string_view()]
    ),
    group_rows=st.integers(1, 15),
    is_dictionary=st.booleans(),
    slice_bytes=st.integers(1, 3000),
    long_bytes=st.integers(4, 40),
)
def test_documents_are_those_of_read_table(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    kind: Any,
    group_rows: int,
    is_dictionary: bool,
    slice_bytes: int,
    long_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("tables") / "a.parquet"
    values = [text.encode() for text in texts] if kind == pyarrow.binary() else texts
    column = pyarrow.array(values, kind)
    if is_dictionary and kind == pyarrow.string():
        column = column.dictionary_encode()
    table = pyarrow.table({"id": list(range(len(texts))), "body": column})
    pyarrow.parquet.write_table(table, path, row_group_size=group_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "LONG_DOCUMENT_BYTES", long_bytes)
        patch.setattr(parquet, "BATCH_BYTES", 100)
        found = read(path, ReadOptions(field="body"), slice_bytes)
    expected = pyarrow.parquet.read_table(path)["body"].to_pylist()
    encoded = [text if isinstance(text, bytes) else text.encode() for text in expected]
    assert found == [text for text in encoded if not text.isspace()]


def write(path: Path, values: list[Any], kind: Any = None, **options: Any) -> Path:
    table = pyarrow.table({"text": pyarrow.array(values, kind), "n": list(range(len(values)))})
    pyarrow.parquet.write_table(table, path, **options)
    return path


def test_a_column_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["x"])
    with pytest.raises(ValueError, match=r"a\.parquet has no column 'body'; .* 'text', 'n'"):
        read(path, ReadOptions(field="body"))
    with pytest.raises(ValueError, match="column 'n' holds int64, which is no text"):
        read(path, ReadOptions(field="n"))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    column = pyarrow.array(["x"])
    table = pyarrow.Table.from_arrays([column, column], ["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet has 2 columns 'text'"):
        read(tmp_path / "a.parquet", ReadOptions())


def test_a_column_without_any_value_is_no_error_by_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [None, None], pyarrow.null())
    with pytest.raises(ValueError, match="row 0 has no value in column 'text'"):
        read(path, ReadOptions())
    drops: Counter[str] = Counter()
    assert read(path, ReadOptions(errors="skip"), drops=drops) == []
    assert drops == {"no field": 2}


def test_rows_without_text_are_named_or_dropped(tmp_path: Path) -> None:
    values = ["one", None, "three", " ", "five"]
    path = write(tmp_path / "a.parquet", values, row_group_size=1)
    with pytest.raises(ValueError, match="row 1 has no value in column 'text'"):
        read(path, ReadOptions())
    drops: Counter[str] = Counter()
    assert read(path, ReadOptions(errors="skip"), drops=drops) == [b"one", b"three", b"five"]
    assert drops == {"no field": 1, "empty": 1}


def test_bytes_that_are_not_utf8_are_named_replaced_or_dropped(tmp_path: Path) -> None:
    values = [b"one", b"two", b"a\xffb", b"four"]
    path = write(tmp_path / "a.parquet", values, pyarrow.binary(), row_group_size=2)
    with pytest.raises(ValueError, match="is not UTF-8: row 2, byte 1 of its 'text'"):
        read(path, ReadOptions())
    assert len(read(path, ReadOptions(errors="skip"))) == 3
    assert read(path, ReadOptions(errors="replace"))[2] == "a\N{REPLACEMENT CHARACTER}b".encode()


@pytest.mark.parametrize("damage", ["cut", "middle", "empty", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "a.parquet", [f"text {n}" * 20 for n in range(2000)])
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-100]
    elif damage == "middle":
        data[20:2000] = bytes(b ^ 0x5A for b in data[20:2000])
    else:
        data = bytearray(b"some text, and nothing else" if damage == "other" else b"PAR1")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as Parquet"):
        read(path, ReadOptions())


def test_a_file_without_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.parquet", [], pyarrow.string()), ReadOptions()) == []


def test_a_web_server_is_read_through_broken_connections(
    web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_RETRY_DELAYS_SECONDS", (0.0, 0.0))
    texts = [f"text {number}" * 50 for number in range(3000)]
    write(web_server.folder / "a.parquet", texts, row_group_size=500, compression="none")
    (file,) = find_files([f"{web_server.url}/a.parquet"])

    def found() -> list[bytes]:
        batches = read_documents([FileRange.whole(file)], ReadOptions())
        return [document for batch in batches for document in batch]

    if not web_server.ranges:
        with pytest.raises(ValueError, match=r"a\.parquet cannot be read from any place, .* down"):
            found()
        return
    web_server.breaks = 2
    assert found() == [text.encode() for text in texts]
    assert web_server.breaks == 0
    web_server.breaks = 1000
    with pytest.raises(
        ConnectionError, match=r"a\.parquet cannot be read at byte \d+: .*Not enough"
    ):
        found()
