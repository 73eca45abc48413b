import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from bpe_tok import Tokenizer
from tlm_data import (
    END_OF_TEXT,
    BpeTokenizer,
    DocumentOptions,
    FunctionTokenizer,
    Prepared,
    ReadOptions,
    TokenStore,
    find_files,
    prepare_files,
)

READ = ReadOptions(separator=END_OF_TEXT)
TOKENIZER = BpeTokenizer(Tokenizer.byte_level([END_OF_TEXT]))
END = 256


def documents(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"{n}: " + "word é " * rng.randrange(1, 100) for n in range(count)]


DOCUMENTS = documents(300)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(END_OF_TEXT.join(DOCUMENTS), encoding="utf-8")
    return path


def prepare(text: Path, out: Path, **options: Any) -> Prepared:
    chosen = {"tokenizer": TOKENIZER, "documents": DocumentOptions(read=READ), "slice_bytes": 9000}
    return prepare_files(find_files([text]), out, **(chosen | options))


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tokens(folder: Path) -> list[int]:
    store = TokenStore.open(folder)
    store.verify()
    return store[:].tolist()  # type: ignore[no-any-return]


def byte_ids(texts: list[str]) -> list[int]:
    return [id for text in texts for id in (*text.encode(), END)]


def test_every_document_is_there_in_order(tmp_path: Path, text: Path) -> None:
    prepared = prepare(text, tmp_path / "out")
    assert tokens(tmp_path / "out" / "train") == byte_ids(DOCUMENTS)
    summary = prepared.sides["train"]
    assert summary.num_documents == 300
    assert summary.num_bytes == sum(len(document.encode()) for document in DOCUMENTS)
    assert summary.num_tokens == len(byte_ids(DOCUMENTS)) == summary.num_bytes + 300
    assert summary.longest_document_tokens == max(len(d.encode()) for d in DOCUMENTS) + 1
    assert prepared.num_shards == prepared.shards_done > 10
    assert Tokenizer.load(tmp_path / "out" / "tokenizer").fingerprint == TOKENIZER.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text.txt"]


def test_more_text_than_is_read_at_once(tmp_path: Path) -> None:
    texts = [*documents(6000, seed=1), " \n\n ", "", *documents(6000, seed=2)]
    path = tmp_path / "text.txt"
    path.write_text(END_OF_TEXT.join(texts), encoding="utf-8")
    assert path.stat().st_size > 3 << 20
    prepared = prepare(path, tmp_path / "out", slice_bytes=None)
    assert tokens(tmp_path / "out" / "train") == byte_ids([t for t in texts if t.strip()])
    assert prepared.dropped == {"empty": 1}
    assert prepared.sides["train"].num_bytes == sum(len(t.encode()) for t in texts if t.strip())


def test_no_engine_worker_or_rank_changes_a_byte(tmp_path: Path, text: Path) -> None:
    documents = DocumentOptions(read=READ, val_fraction=0.2)
    prepare(text, tmp_path / "out", documents=documents)
    expected = digest(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "unbroken")
    for workers in (1, 3):
        prepare(
            text, tmp_path / "out", documents=documents, engine="processes", num_workers=workers
        )
        assert digest(tmp_path / "out") == expected
        (tmp_path / "out").rename(tmp_path / f"by-{workers}")
    for rank in (2, 0, 1):
        prepared = prepare(text, tmp_path / "out", documents=documents, rank=rank, world_size=3)
        assert prepared.is_complete == (rank == 1) == (tmp_path / "out").exists()
    assert digest(tmp_path / "out") == expected


def test_where_slices_are_cut_changes_no_token(tmp_path: Path, text: Path) -> None:
    for number, slice_bytes in enumerate((100, 5000, 1 << 20)):
        prepare(text, tmp_path / str(number), slice_bytes=slice_bytes)
        assert tokens(tmp_path / str(number) / "train") == byte_ids(DOCUMENTS)


@pytest.mark.parametrize("engine", ["inprocess", "processes"])
def test_max_tokens_is_exact(tmp_path: Path, text: Path, engine: str) -> None:
    whole = byte_ids(DOCUMENTS)
    at_end = len(byte_ids(DOCUMENTS[:40]))
    for limit in (1, at_end - 1, at_end, at_end + 1, len(whole) - 1, len(whole), len(whole) + 9):
        out = tmp_path / str(limit)
        prepared = prepare(text, out, max_tokens=limit, engine=engine)
        kept = whole[:limit]
        assert tokens(out / "train") == kept
        assert prepared.sides["train"].num_bytes == len(kept) - kept.count(END)
        names = {path.name for path in (out / "train").iterdir()}
        meta = json.loads((out / "train" / "meta.json").read_text())
        listed = {shard[kind] for shard in meta["shards"] for kind in ("file", "index")}
        assert names == {"meta.json", *listed}


def test_a_long_document_is_cut_and_filtered_like_others(tmp_path: Path) -> None:
    long = "words and words " * 400_000  # 6.4 MB
    path = tmp_path / "text.txt"
    path.write_text(END_OF_TEXT.join(["first", long, "last"]))
    prepared = prepare(path, tmp_path / "cut", max_tokens=5_000_000)
    assert tokens(tmp_path / "cut" / "train") == byte_ids(["first", long])[:5_000_000]
    assert prepared.sides["train"].num_bytes == 5_000_000 - 1
    options = DocumentOptions(read=READ, max_document_bytes=5_000_000)
    prepared = prepare(path, tmp_path / "short", documents=options)
    assert tokens(tmp_path / "short" / "train") == byte_ids(["first", "last"])
    assert prepared.dropped == {"longer than 5000000 bytes": 1}
    options = DocumentOptions(read=READ, min_document_bytes=5_000_000)
    prepared = prepare(path, tmp_path / "long", documents=options)
    assert tokens(tmp_path / "long" / "train") == byte_ids([long])
    assert prepared.dropped == {"shorter than 5000000 bytes": 2}
    options = DocumentOptions(read=READ, min_document_bytes=7_000_000)
    with pytest.raises(ValueError, match=r"\(left out: 3 shorter than 7000000 bytes\)"):
        prepare(path, tmp_path / "none", documents=options)


def test_what_is_dropped_or_mended_is_counted(tmp_path: Path) -> None:
    long = b"words and words " * 400_000
    path = tmp_path / "text.txt"
    path.write_bytes(END_OF_TEXT.encode().join([b"a", b" \n", b"\xff", long + b"\xff", b"bcd"]))
    with pytest.raises(ValueError, match=r"text\.txt is not UTF-8: byte 29 "):
        prepare(path, tmp_path / "out", slice_bytes=1 << 30)
    options = DocumentOptions(read=dataclasses.replace(READ, errors="skip"), min_document_bytes=2)
    prepared = prepare(path, tmp_path / "out", documents=options)
    assert tokens(tmp_path / "out" / "train") == byte_ids(["bcd"])
    assert prepared.dropped == {"empty": 1, "not UTF-8": 2, "shorter than 2 bytes": 1}
    options = DocumentOptions(read=dataclasses.replace(READ, errors="replace"))
    prepared = prepare(path, tmp_path / "mended", documents=options)
    assert prepared.num_replaced == 2
    assert tokens(tmp_path / "mended" / "train") == byte_ids(
        ["a", "\ufffd", long.decode() + "\ufffd", "bcd"]
    )


def test_validation_documents_are_held_out_by_their_content(tmp_path: Path, text: Path) -> None:
    options = DocumentOptions(read=READ, val_fraction=0.25)
    prepared = prepare(text, tmp_path / "out", documents=options)
    sides = {
        side: [bytes(ids[:-1].astype("u1")).decode() for ids in store.documents()]
        for side in ("train", "val")
        for store in [TokenStore.open(tmp_path / "out" / side)]
    }
    assert sorted(sides["train"] + sides["val"]) == sorted(DOCUMENTS)
    assert 40 < prepared.sides["val"].num_documents < 110
    other = tmp_path / "fewer.txt"
    other.write_text(END_OF_TEXT.join(DOCUMENTS[::2]), encoding="utf-8")
    prepare(other, tmp_path / "fewer", documents=options)
    held_out = TokenStore.open(tmp_path / "fewer" / "val")
    assert [bytes(ids[:-1].astype("u1")).decode() for ids in held_out.documents()] == [
        document for document in DOCUMENTS[::2] if document in sides["val"]
    ]


def test_of_a_lone_document_the_tail_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a line é\n" * 100, encoding="utf-8")
    for separator in (END_OF_TEXT, None):
        options = DocumentOptions(read=ReadOptions(separator=separator), val_fraction=0.1)
        prepare(path, tmp_path / f"{separator}", documents=options)
        assert tokens(tmp_path / f"{separator}" / "train") == byte_ids(["a line é\n" * 90])
        assert tokens(tmp_path / f"{separator}" / "val") == byte_ids(["a line é\n" * 10])


def test_a_mark_at_its_end_makes_a_lone_document_no_two(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for number, (before, after) in enumerate([("", END_OF_TEXT), ("\n" + END_OF_TEXT, "\n \n")]):
        path.write_text(before + "a line é\n" * 100 + END_OF_TEXT + after, encoding="utf-8")
        for fraction in (0.1, 0.5):
            out = tmp_path / f"{number}-{fraction}"
            prepare(path, out, documents=DocumentOptions(read=READ, val_fraction=fraction))
            train, val = tokens(out / "train"), tokens(out / "val")
            assert train[:-1] + val == byte_ids(["a line é\n" * 100])
            assert abs(len(val) / (len(train) + len(val)) - fraction) < 0.05


def test_text_of_both_sides_is_refused(tmp_path: Path, text: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to(text)
    with pytest.raises(ValueError, match=r"link\.txt is among the training text and the validat"):
        prepare(text, tmp_path / "out", val_files=find_files([link]))


def test_validation_text_of_its_own(tmp_path: Path, text: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "for validation"}\n')
    prepare(text, tmp_path / "out", val_files=find_files([other]))
    assert tokens(tmp_path / "out" / "train") == byte_ids(DOCUMENTS)
    assert tokens(tmp_path / "out" / "val") == byte_ids(["for validation"])
    options = DocumentOptions(val_fraction=0.1)
    with pytest.raises(ValueError, match=r"val_fraction=0\.1 does not go with validation sources"):
        prepare(text, tmp_path / "x", val_files=find_files([other]), documents=options)


def test_a_side_without_documents_is_named(tmp_path: Path, text: Path) -> None:
    blank = tmp_path / "blank.txt"
    blank.write_text(f" \n{END_OF_TEXT}\n")
    with pytest.raises(ValueError, match=r"no document to train on \(left out: 2 empty\)"):
        prepare(blank, tmp_path / "out")
    with pytest.raises(ValueError, match=r"no document in the validation text \(left out: 2 empty"):
        prepare(text, tmp_path / "out", val_files=find_files([blank]))
    options = DocumentOptions(read=READ, val_fraction=1e-9)
    with pytest.raises(ValueError, match=r"val_fraction=1e-09 holds out no document, there are to"):
        prepare(text, tmp_path / "out", documents=options)
    options = DocumentOptions(read=READ, val_fraction=1 - 1e-9)
    with pytest.raises(ValueError, match=r"val_fraction=0\.999999999 leaves no document to train"):
        prepare(text, tmp_path / "out", documents=options)
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(ValueError, match="no document to train on: give files with text"):
        prepare(empty, tmp_path / "out")
    assert not list(tmp_path.glob(".*"))


def test_options_out_of_their_range(tmp_path: Path, text: Path) -> None:
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: DocumentOptions(min_document_bytes=-1), "min_document_bytes=-1 must not"),
        (lambda: DocumentOptions(max_document_bytes=0), "max_document_bytes=0 must be at least 1"),
        (lambda: DocumentOptions(min_document_bytes=9, max_document_bytes=8), "not less than min"),
        (lambda: DocumentOptions(val_fraction=1.0), "val_fraction=1.0 must lie between 0 and 1"),
        (lambda: prepare(text, tmp_path / "x", max_tokens=0), "max_tokens=0 must be at least 1"),
        (lambda: prepare(text, tmp_path / "x", rank=2, world_size=2), "rank=2 must lie between 0"),
        (lambda: prepare(text, tmp_path / "x", num_workers=2), "workers=2 needs engine=processes"),
        (lambda: prepare(text, Path("/")), "out=/ must be a new folder: add a name to it"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


def test_arguments_of_a_wrong_type(tmp_path: Path, text: Path) -> None:
    files = find_files([text])
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (files, {"tokenizer": TOKENIZER.tokenizer}, "tokenizer must be a BpeTokenizer"),
        (files, {"tokenizer": "folder"}, "and not 'folder'"),
        ("a.txt", {}, r"train_files must be a list of SourceFile, .* and not 'a\.txt'"),
        (["a.txt"], {}, r"train_files must be a list of SourceFile"),
        (files, {"val_files": text}, r"val_files must be a list of SourceFile"),
        (files, {"documents": {}}, r"documents must be DocumentOptions, and not \{\}"),
        (files, {"max_tokens": 1.5}, r"max_tokens=1\.5 must be an integer"),
    ]
    for train_files, options, message in wrong:
        with pytest.raises(TypeError, match=message):
            prepare_files(train_files, tmp_path / "out", **({"tokenizer": TOKENIZER} | options))
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_a_source_that_changes_meanwhile_is_an_error(tmp_path: Path, text: Path) -> None:
    files = find_files([text])
    content = text.read_bytes()
    text.write_bytes(content[::-1].replace(b"\xa9\xc3", "é".encode()))
    with pytest.raises(ValueError, match=r"text\.txt has changed since the work began: start"):
        prepare_files(files, tmp_path / "planned", tokenizer=TOKENIZER)

    def change(stage: str, done: int, total: int) -> None:
        text.write_bytes(content)

    with pytest.raises(ValueError, match=r"text\.txt has changed since the work began: start"):
        prepare(text, tmp_path / "read", on_progress=change)
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["text.txt"]


def test_text_that_cannot_be_divided_is_named_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(END_OF_TEXT.join(["first", "words " + "x" * (20 << 20), "last"]))
    with pytest.raises(
        ValueError, match=r"16777216 bytes.*\(before byte 1\d,\d{3},\d{3} .*text\.t"
    ):
        prepare(path, tmp_path / "out", slice_bytes=1 << 30)
    options = DocumentOptions(read=dataclasses.replace(READ, errors="skip"))
    prepared = prepare(path, tmp_path / "out", slice_bytes=1 << 30, documents=options)
    assert prepared.dropped == {"too long to encode": 1}
    assert tokens(tmp_path / "out" / "train") == byte_ids(["first", "last"])


def test_text_beyond_the_last_token_is_not_encoded(tmp_path: Path) -> None:
    texts = documents(12_000)
    path = tmp_path / "text.txt"
    path.write_bytes(END_OF_TEXT.join(texts).encode() + b"\xff")  # to which nobody comes
    assert path.stat().st_size > 3 << 20
    for slice_bytes in (1 << 30, 1 << 20):
        out = tmp_path / f"{slice_bytes}"
        prepare(path, out, slice_bytes=slice_bytes, max_tokens=1000)
        assert tokens(out / "train") == byte_ids(texts)[:1000]


def test_what_was_left_in_the_tokenizers_folder_is_removed(
    tmp_path: Path, big_text: Path, unbroken: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with start(big_text, out) as process:
        wait_for_shards(process, out, 1)
        os.kill(process.pid, signal.SIGKILL)
    left = tmp_path / ".out.partial" / "corpus" / "tokenizer"
    left.mkdir()
    (left / ".tokenizer.json.0123").touch()
    prepare(big_text, out, slice_bytes=20_000)
    assert digest(out) == unbroken


def test_what_is_there_is_not_made_again_and_not_overwritten(tmp_path: Path, text: Path) -> None:
    first = prepare(text, tmp_path / "out")
    before = digest(tmp_path / "out")
    again = prepare(text, tmp_path / "out", engine="processes")
    assert again == dataclasses.replace(first, was_there=True)
    with pytest.raises(ValueError, match="out was prepared from other text or with other settings"):
        prepare(text, tmp_path / "out", max_tokens=10)
    text.write_text("other text")
    with pytest.raises(ValueError, match="out was prepared from other text or with other settings"):
        prepare(text, tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="link exists and is not a corpus: choose another name"):
        prepare(text, tmp_path / "link")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="mine exists and is not a corpus: choose another name"):
        prepare(text, tmp_path / "mine")
    assert digest(tmp_path / "out") == before


# What follows is done by another process, which is then killed.
SCRIPT = """
import sys
from pathlib import Path
from test_prepare import prepare
prepare(Path(sys.argv[1]), Path(sys.argv[2]), slice_bytes=20_000, engine=sys.argv[3])
"""


@pytest.fixture(scope="module")
def big_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "text.txt"
    path.write_text(END_OF_TEXT.join(documents(12_000)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def unbroken(big_text: Path) -> dict[str, str]:
    out = big_text.with_name("unbroken")
    prepare(big_text, out, slice_bytes=20_000)
    return digest(out)


def start(big_text: Path, out: Path, engine: str = "inprocess") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(big_text), str(out), engine],
        cwd=Path(__file__).parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_shards(process: "subprocess.Popen[str]", out: Path, count: int) -> None:
    manifests = out.with_name(f".{out.name}.partial") / "corpus" / "manifests"
    deadline = time.monotonic() + 60
    while len(list(manifests.glob("*.json"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def shard_times(out: Path) -> dict[str, int]:
    """Return when the shards that are complete were written."""
    corpus = out.with_name(f".{out.name}.partial") / "corpus"
    names = [path.stem.replace("train-", "shard-") for path in corpus.glob("manifests/*.json")]
    return {n: (corpus / "train" / f"{n}.bin").stat().st_mtime_ns for n in names}


@pytest.mark.parametrize("engine", ["inprocess", "processes"])
def test_a_killed_prepare_goes_on_to_the_same_bytes(
    tmp_path: Path, big_text: Path, unbroken: dict[str, str], engine: str
) -> None:
    out = tmp_path / "out"
    for count in (1, 30):
        with start(big_text, out, engine) as process:
            wait_for_shards(process, out, count)
            workers = psutil.Process(process.pid).children(recursive=True)
            os.kill(process.pid, signal.SIGKILL)
        assert psutil.wait_procs(workers, timeout=5)[1] == []
        assert not out.exists()
    done = shard_times(out)
    assert len(done) >= 30
    prepare(big_text, out, slice_bytes=20_000)
    assert digest(out) == unbroken
    for name, time_ns in done.items():
        assert (out / "train" / f"{name}.bin").stat().st_mtime_ns == time_ns
    assert not list(tmp_path.glob(".*"))


def test_a_killed_worker_costs_nothing_but_time(
    tmp_path: Path, big_text: Path, unbroken: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with start(big_text, out, "processes") as process:
        for count in (5, 20, 40):
            wait_for_shards(process, out, count)
            children = psutil.Process(process.pid).children()
            workers = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
            os.kill(workers[0].pid, signal.SIGKILL)
        assert process.wait(60) == 0
    assert digest(out) == unbroken


def test_the_second_of_two_is_refused(tmp_path: Path, big_text: Path, text: Path) -> None:
    out = tmp_path / "out"
    with start(big_text, out) as process:
        try:
            wait_for_shards(process, out, 1)
            os.kill(process.pid, signal.SIGSTOP)
            for options in ({}, {"world_size": 2, "rank": 1}):
                with pytest.raises(ValueError, match=r"another process prepares .*out right now"):
                    prepare(big_text, out, slice_bytes=20_000, **options)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    others: list[tuple[dict[str, Any], str]] = [
        ({"text": text}, r"of other text, or of files that have changed since: go on"),
        ({"max_tokens": 5}, r"with max_tokens=None \(and not 5\): go on"),
        ({"slice_bytes": 9999}, r"with another slice_bytes: go on"),
        (
            {"documents": DocumentOptions(read=dataclasses.replace(READ, errors="skip"))},
            r"with errors=strict \(and not skip\): go on",
        ),
        (
            {"tokenizer": BpeTokenizer(Tokenizer.byte_level(["<x>"]), append_end=False)},
            r"with another tokenizer, end_token=<\|endoftext\|> \(and not None\): go on",
        ),
    ]
    for changed, message in others:
        with pytest.raises(ValueError, match="holds an unfinished corpus " + message):
            prepare(**({"text": big_text, "out": out, "slice_bytes": 20_000} | changed))


def test_ranks_may_work_at_the_same_time(
    tmp_path: Path, big_text: Path, unbroken: dict[str, str]
) -> None:
    code = SCRIPT.replace("engine=sys.argv[3]", "rank=int(sys.argv[3]), world_size=3")
    command = [sys.executable, "-c", code, str(big_text), str(tmp_path / "out")]
    folder = Path(__file__).parent
    ranks = [subprocess.Popen([*command, str(rank)], cwd=folder) for rank in range(3)]
    assert [rank.wait(60) for rank in ranks] == [0, 0, 0]
    assert digest(tmp_path / "out") == unbroken
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("max_tokens", [None, 2000])
def test_ranks_may_end_at_the_same_time(tmp_path: Path, text: Path, max_tokens: int | None) -> None:
    prepare(text, tmp_path / "expected", max_tokens=max_tokens)
    expected = digest(tmp_path / "expected")
    for number in range(25):
        out = tmp_path / f"out{number}"
        barrier = threading.Barrier(3)

        def run(rank: int, out: Path = out, barrier: threading.Barrier = barrier) -> Prepared:
            barrier.wait()
            return prepare(text, out, max_tokens=max_tokens, rank=rank, world_size=3)

        with ThreadPoolExecutor(3) as pool:
            prepared = list(pool.map(run, range(3)))
        assert any(each.is_complete for each in prepared)
        assert digest(out) == expected
    assert not list(tmp_path.glob(".*"))


def test_ranks_of_an_array_must_be_at_the_same_work(tmp_path: Path, text: Path) -> None:
    def other_rank(stage: str, done: int, total: int) -> None:
        with pytest.raises(ValueError, match="holds an unfinished corpus"):
            prepare(text, tmp_path / "out", rank=1, world_size=2, max_tokens=9)
        refused.append(done)

    refused: list[int] = []
    prepare(text, tmp_path / "out", world_size=2, on_progress=other_rank)
    assert refused


def test_wrong_options_of_an_engine_leave_nothing(tmp_path: Path, text: Path) -> None:
    unsendable = FunctionTokenizer(lambda text: [], str, vocab_size=2, fingerprint="lambda")
    for options in (
        {"num_workers": 0},
        {"engine": "threads"},
        {"engine": "processes", "tokenizer": unsendable},
    ):
        with pytest.raises(ValueError, match=r"workers=0|engine='threads'|cannot be sent"):
            prepare(text, tmp_path / "out", **options)
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_named_and_leaves_nothing_half(
    small_disk: Path, tmp_path: Path, big_text: Path, unbroken: dict[str, str]
) -> None:
    out = small_disk / "out"
    for engine in ("inprocess", "processes"):
        with pytest.raises(OSError, match=r"shard-\d+\.(bin|idx).*full|full.*shard-\d+") as caught:
            prepare(big_text, out, slice_bytes=20_000, engine=engine)
        assert caught.value.errno == 28
        assert not out.exists()
    # With room, what was done is not done again.
    work = small_disk / ".out.partial"
    assert len(list(work.glob("corpus/manifests/*.json"))) > 10
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    prepare(big_text, out, slice_bytes=20_000)
    assert digest(out) == unbroken


def test_a_shard_that_is_damaged_meanwhile_is_made_again(
    tmp_path: Path, big_text: Path, unbroken: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with start(big_text, out) as process:
        wait_for_shards(process, out, 6)
        os.kill(process.pid, signal.SIGKILL)
    corpus = tmp_path / ".out.partial" / "corpus"
    os.truncate(corpus / "train" / "shard-00000.bin", 10)
    (corpus / "train" / "shard-00001.idx").unlink()
    (corpus / "manifests" / "train-00002.json").write_text("{")
    prepare(big_text, out, slice_bytes=20_000)
    assert digest(out) == unbroken


def test_progress_goes_up_to_the_end(tmp_path: Path, text: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    prepare(text, tmp_path / "out", on_progress=lambda *row: seen.append(row))
    total = text.stat().st_size
    assert seen[-1] == ("encode", total, total)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_memory_does_not_grow_with_a_document(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    line = "one document of many lines, and no end of it in sight\n"
    peaks = []
    for megabytes in (20, 100):
        with path.open("w") as file:
            for _ in range(megabytes):
                file.write(line * (1_000_000 // len(line)))
        code = SCRIPT.replace("20_000", "1 << 30") + (
            "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        output = subprocess.run(
            [sys.executable, "-c", code, str(path), str(tmp_path / f"{megabytes}"), "inprocess"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(output.stdout))
    assert np.diff(peaks)[0] < 20_000  # kB
