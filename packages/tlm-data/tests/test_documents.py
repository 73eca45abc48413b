import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_data import ReadOptions, SourceFile, plain_text, read_documents, records, utf8
from tlm_data.documents import held_out
from tlm_data.read_options import DroppedDocument
from tlm_data.slices import FileRange, plan_slices
from tlm_data.sources import local_file

MARK = "<|endoftext|>"


def read(
    files: Sequence[SourceFile],
    options: ReadOptions,
    slice_bytes: int = 64 << 20,
    drops: Counter[str] | None = None,
) -> list[bytes]:
    """Read files as a consumer does: forget the pieces of a document that is dropped."""
    drops = Counter() if drops is None else drops

    def on_drop(reason: str) -> None:
        drops[reason] += 1

    def on_replaced() -> None:
        drops["replaced"] += 1

    found = []
    for ranges in plan_slices(files, slice_bytes=slice_bytes):
        for item in read_documents(ranges, options, on_drop, on_replaced):
            if isinstance(item, list):
                found += item
                continue
            try:
                pieces = list(item)
            except DroppedDocument:
                continue
            assert all(piece.decode().encode() == piece for piece in pieces)
            found.append(b"".join(pieces))
    return found


def small_limits(patch: pytest.MonkeyPatch, chunk_bytes: int, long_bytes: int) -> None:
    patch.setattr(records, "CHUNK_BYTES", chunk_bytes)
    patch.setattr(records, "_OVERREAD_BYTES", chunk_bytes)
    patch.setattr(plain_text, "LONG_DOCUMENT_BYTES", long_bytes)
    patch.setattr(utf8, "LONG_DOCUMENT_BYTES", long_bytes)
    patch.setattr(utf8, "_PIECE_BYTES", 3)


def test_text_is_split_at_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"one\r\n{MARK}two\rmore\n{MARK}{MARK} \n{MARK}three", newline="")
    drops: Counter[str] = Counter()
    assert read([local_file(path)], ReadOptions(separator=MARK), drops=drops) == [
        b"one\r\n",
        b"two\rmore\n",
        b"three",
    ]
    assert drops == {"empty": 1}
    assert read([local_file(path)], ReadOptions()) == [path.read_bytes()]


@settings(max_examples=300)
@given(
    pieces=st.lists(
        st.one_of(
            st.text(alphabet="ab\r\n é漢🙂", max_size=9), st.sampled_from([MARK, "<|endof", "\n\n"])
        ),
        max_size=20,
    ),
    separator=st.sampled_from([MARK, "\n\n", "\r\n", "é", None]),
    slice_bytes=st.integers(1, 100),
    chunk_bytes=st.integers(1, 12),
    long_bytes=st.integers(13, 60),
)
def test_documents_do_not_depend_on_where_files_are_cut(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[str],
    separator: str | None,
    slice_bytes: int,
    chunk_bytes: int,
    long_bytes: int,
) -> None:
    text = "".join(pieces)
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        small_limits(patch, chunk_bytes, long_bytes)
        found = read([local_file(path)], ReadOptions(separator=separator), slice_bytes)
    # Line ends that touch are one boundary, and three hold the mark of two line ends twice.
    pattern = "\n\n+" if separator == "\n\n" else re.escape(separator or MARK * 99)
    assert found == [part.encode() for part in re.split(pattern, text) if part.strip()]


@settings(max_examples=200)
@given(
    records_=st.lists(
        st.one_of(
            st.builds(lambda text: {"text": text, "id": 1}, st.text(max_size=30)),
            st.just({"text": " \n"}),
        ),
        max_size=12,
    ),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    slice_bytes=st.integers(1, 200),
    chunk_bytes=st.integers(1, 40),
    long_bytes=st.integers(4, 60),
)
def test_jsonl_is_what_json_loads_gives_line_by_line(
    tmp_path_factory: pytest.TempPathFactory,
    records_: list[dict[str, object]],
    ascii_only: bool,
    end: str,
    slice_bytes: int,
    chunk_bytes: int,
    long_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    lines = [json.dumps(record, ensure_ascii=ascii_only) for record in records_]
    path.write_bytes(end.join(lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        small_limits(patch, chunk_bytes, long_bytes)
        found = read([local_file(path)], ReadOptions(), slice_bytes)
    texts = [json.loads(line)["text"].encode() for line in lines]
    assert found == [text for text in texts if text and not text.isspace()]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "abc"}\n')
    expected = b"abc" if name == "a.jsonl" else b'{"text": "abc"}\n'
    assert read([local_file(path)], ReadOptions()) == [expected]
    assert read([local_file(path)], ReadOptions(), slice_bytes=1) == [expected]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_an_empty_file_has_no_document(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    assert list(read_documents([FileRange.whole(local_file(path))], ReadOptions())) == []


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"abc\xffdef", 3),
        (b"\xc3", 0),
        (b"ab\xe6\xbc", 2),
        (b"\xed\xa0\x80", 0),
        (b"12345\xc3(", 5),
        (b"12345\xc3" + MARK.encode(), 5),
    ],
)
@pytest.mark.parametrize(("chunk_bytes", "long_bytes"), [(1, 99), (2, 13), (100, 99), (3, 13)])
def test_invalid_utf8_names_file_and_offset(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    offset: int,
    chunk_bytes: int,
    long_bytes: int,
) -> None:
    small_limits(monkeypatch, chunk_bytes, long_bytes)
    path = tmp_path / "a.txt"
    before = b"fine " * 5 + MARK.encode()
    path.write_bytes(before + data)
    offset += len(before)
    message = rf"a\.txt is not UTF-8: byte {offset} \(0x.*errors be 'replace' or 'skip'"
    with pytest.raises(ValueError, match=message):
        read([local_file(path)], ReadOptions(separator=MARK))
    # Offsets count from the start of the file, also in a range of it.
    with pytest.raises(ValueError, match=message):
        read([local_file(path)], ReadOptions(separator=MARK), slice_bytes=7)


@pytest.mark.parametrize("long_bytes", [99, 13])
def test_invalid_utf8_is_replaced_or_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_bytes: int
) -> None:
    small_limits(monkeypatch, 4, long_bytes)
    path = tmp_path / "a.txt"
    broken = b"0123456789 abc\xff\xc3 def \xe6\xbc"
    path.write_bytes(MARK.encode().join([b"first", broken, "é漢".encode()]))
    drops: Counter[str] = Counter()
    replaced = read([local_file(path)], ReadOptions(separator=MARK, errors="replace"), drops=drops)
    assert replaced == [b"first", broken.decode("utf-8", "replace").encode(), "é漢".encode()]
    assert drops == {"replaced": 1}
    drops.clear()
    kept = read([local_file(path)], ReadOptions(separator=MARK, errors="skip"), drops=drops)
    assert kept == [b"first", "é漢".encode()]
    assert drops == {"not UTF-8": 1}


def test_a_long_document_of_white_space_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_limits(monkeypatch, 4, 13)
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" + MARK.encode() + b" \n" * 30 + MARK.encode() + b"b")
    drops: Counter[str] = Counter()
    assert read([local_file(path)], ReadOptions(separator=MARK), drops=drops) == [b"a", b"b"]
    assert drops == {"empty": 1}


BAD_LINES = [
    (b"{", "not JSON", r"line 4 \(at byte 19\) is not JSON: Expecting"),
    (b"[" * 100_000, "not JSON", r"line 4 \(at byte 19\) is not JSON: "),
    (b'["text"]', "no field", r"line 4 .* is not an object with a field 'text'"),
    (b'{"body": 1}', "no field", r"line 4 .* has no field 'text'; its fields are 'body'"),
    (b'{"text": null}', "no field", r"line 4 .* has a field 'text' that is no string"),
    (b'{"text": "\\ud800"}', "not UTF-8", r"line 4 .* has an escape that is half a surrogate"),
    (b'{"text": "a\xff"}', "not UTF-8", r"is not UTF-8: line 4, byte 30 \(0xff\)"),
]


@pytest.mark.parametrize(("line", "reason", "message"), BAD_LINES)
def test_a_bad_line_is_named_or_dropped(
    tmp_path: Path, line: bytes, reason: str, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\r\n\n\n' + line + b'\n{"text": "two"}')
    for slice_bytes in (1 << 20, 5):
        with pytest.raises(ValueError, match=r"a\.jsonl.*" + message):
            read([local_file(path)], ReadOptions(), slice_bytes)
    drops: Counter[str] = Counter()
    assert read([local_file(path)], ReadOptions(errors="skip"), drops=drops) == [b"one", b"two"]
    assert drops == {reason: 1}
    drops.clear()
    mended = read([local_file(path)], ReadOptions(errors="replace"), drops=drops)
    if reason == "not UTF-8":
        assert drops == {"replaced": 1}
        assert mended[1].decode().endswith("\N{REPLACEMENT CHARACTER}")
    else:
        assert mended == [b"one", b"two"] and drops == {reason: 1}


def test_a_long_line_is_named_or_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHUNK_BYTES", 16)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "%s"}\n{"text": "b"}\n' % ("x" * 500))
    options = ReadOptions(max_line_bytes=100)
    with pytest.raises(ValueError, match=r"line 2 \(at byte 14\) is longer than max_line_bytes=1"):
        read([local_file(path)], options)
    drops: Counter[str] = Counter()
    options = ReadOptions(max_line_bytes=100, errors="skip")
    assert read([local_file(path)], options, drops=drops) == [b"a", b"b"]
    assert drops == {"line too long": 1}


def test_a_file_that_shrank_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcdef")
    file = local_file(path)
    os.truncate(path, 3)
    with pytest.raises(ValueError, match="shorter than 6 bytes: it changed while it was read"):
        read([file], ReadOptions())


def test_many_small_files_come_in_batches(tmp_path: Path) -> None:
    files = []
    for number in range(300):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(b"%d" % number * 4000)
        files.append(local_file(path))
    (ranges,) = plan_slices(files)
    batches = list(read_documents(ranges, ReadOptions()))
    sizes = [sum(map(len, batch)) for batch in batches if isinstance(batch, list)]
    assert len(sizes) == len(batches)
    assert all(1 << 20 <= size < (1 << 20) + 12_001 for size in sizes[:-1])
    assert sum(sizes) == sum(file.size_bytes for file in files)


@given(st.lists(st.binary(min_size=1), min_size=50, max_size=50), st.floats(0, 1))
def test_held_out_depends_on_the_beginning_alone(documents: list[bytes], fraction: float) -> None:
    for document in documents:
        assert not held_out(document, 0) and held_out(document, 1)
        long = document + bytes(4096)
        assert held_out(long, fraction) == held_out(long + b"more", fraction)


def test_the_fraction_held_out_is_the_one_asked_for() -> None:
    share = sum(held_out(b"document %d" % number, 0.1) for number in range(20_000)) / 20_000
    assert abs(share - 0.1) < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ""}, "separator='' must have a character"),
        ({"errors": "ignore"}, "errors='ignore' must be one of strict, replace, skip"),
        ({"max_line_bytes": 0}, "max_line_bytes=0 must be at least 1"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadOptions(**options)  # type: ignore[arg-type]
