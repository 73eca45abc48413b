import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tlm_data.corpora import NAMED_CORPORA, NamedCorpus, fetch_corpus, find_corpus, stdlib_files
from tlm_data.sources import _kind


def test_the_standard_library_is_there(tmp_path: Path) -> None:
    train, val = fetch_corpus("stdlib", tmp_path)
    assert train == stdlib_files() and val == []
    paths = [Path(file.url) for file in train]
    assert {"argparse.py", "tarfile.py", "typing.py"} <= {path.name for path in paths}
    assert paths == sorted(paths)
    assert not any("site-packages" in path.parts for path in paths)
    assert sum(file.size_bytes for file in train) > 5_000_000
    assert list(tmp_path.iterdir()) == []


def test_names_and_urls_are_in_order() -> None:
    names = [corpus.name for corpus in NAMED_CORPORA]
    assert names == ["stdlib", "tinystories", "openwebtext-sample", "fineweb-edu-sample"]
    for corpus in NAMED_CORPORA:
        assert corpus.description and corpus.licence and corpus.size
        for url in (*corpus.train_urls, *corpus.val_urls):
            assert url.startswith("https://huggingface.co/datasets/")
            format, _ = _kind(url, None)
            assert (format == "text") == (corpus.separator is not None)
    assert find_corpus("tinystories").val_urls
    with pytest.raises(ValueError, match="no corpus is named 'web': choose one of stdlib, tiny"):
        find_corpus("web")


def test_a_corpus_is_fetched_once(web_server: Any, tmp_path: Path) -> None:
    (web_server.folder / "train.txt.gz").write_bytes(gzip.compress(b"some text" * 1000))
    (web_server.folder / "val.txt").write_bytes(b"other text")
    corpus: NamedCorpus = replace(
        find_corpus("tinystories"),
        train_urls=(f"{web_server.url}/train.txt.gz?download=true",),
        val_urls=(f"{web_server.url}/val.txt",),
    )
    seen = set()
    train, val = fetch_corpus(
        corpus, tmp_path / "data", on_progress=lambda name, done, total: seen.add(name)
    )
    folder = tmp_path / "data" / "tinystories"
    assert [file.url for file in train] == [str(folder / "train.txt.gz")]
    assert (train[0].compression, val[0].size_bytes) == ("gzip", 10)
    assert seen == {"train.txt.gz", "val.txt"}
    web_server.bytes_sent = 0
    assert fetch_corpus(corpus, tmp_path / "data") == (train, val)
    assert web_server.bytes_sent == 0
