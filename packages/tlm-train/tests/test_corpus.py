from pathlib import Path
from typing import Any

import pytest
from bpe_tok import Tokenizer
from tlm_data import END_OF_TEXT, BpeTokenizer, DocumentOptions, find_files, prepare_files
from tlm_train.config import DataConfig
from tlm_train.corpus import load_corpus


def load(tmp_path: Path, **options: Any):  # type: ignore[no-untyped-def]
    data = DataConfig(dir=tmp_path / "data", **options)
    return load_corpus(data, 300, lambda stage, done, total: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("a line of verse\n" * 100)
    return path


def decoded(corpus: Any, side: str) -> str:
    tokens = getattr(corpus, side)[:].tolist()
    return str(corpus.tokenizer.decode(tokens)).replace(END_OF_TEXT, "")


def test_the_end_of_a_file_is_held_out(tmp_path: Path, text: Path) -> None:
    corpus = load(tmp_path, text=(text,))
    assert decoded(corpus, "train") == "a line of verse\n" * 90
    assert decoded(corpus, "val") == "a line of verse\n" * 10
    assert corpus.path.name.startswith("verse-")


def test_validation_text_may_be_named(tmp_path: Path, text: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("prose")
    corpus = load(tmp_path, text=(text,), val_text=(other,))
    assert decoded(corpus, "train") == "a line of verse\n" * 100
    assert decoded(corpus, "val") == "prose"


def test_a_tokenizer_may_be_named(tmp_path: Path, text: Path) -> None:
    Tokenizer.byte_level([END_OF_TEXT]).save(tmp_path / "bytes")
    corpus = load(tmp_path, text=(text,), tokenizer=tmp_path / "bytes")
    assert corpus.tokenizer.vocab_size == 257
    Tokenizer.byte_level().save(tmp_path / "no-end")
    with pytest.raises(ValueError, match=r"no-end lacks the special token <\|endoftext\|>"):
        load(tmp_path, text=(text,), tokenizer=tmp_path / "no-end")
    with pytest.raises(ValueError, match=r"none is not a tokenizer: No such file"):
        load(tmp_path, text=(text,), tokenizer=tmp_path / "none")


def test_files_that_are_not_there(tmp_path: Path, text: Path) -> None:
    with pytest.raises(ValueError, match=r"the text file .*none\.txt does not exist"):
        load(tmp_path, text=(text, tmp_path / "none.txt"))
    with pytest.raises(ValueError, match=r"the text file .* is a folder, not a file"):
        load(tmp_path, text=(text,), val_text=(tmp_path,))


def test_what_tlm_data_prepared_is_taken_as_it_is(tmp_path: Path, text: Path) -> None:
    tokenizer = Tokenizer.byte_level([END_OF_TEXT])
    prepare_files(
        find_files([text]),
        tmp_path / "prepared",
        tokenizer=BpeTokenizer(tokenizer),
        documents=DocumentOptions(val_fraction=0.1),
    )
    corpus = load(tmp_path, corpus=tmp_path / "prepared")
    assert corpus.tokenizer.fingerprint == tokenizer.fingerprint
    assert decoded(corpus, "train") == "a line of verse\n" * 90
    assert decoded(corpus, "val") == "a line of verse\n" * 10
    assert not (tmp_path / "data").exists()


def test_a_prepared_corpus_needs_validation_text_and_nothing_beside_it(
    tmp_path: Path, text: Path
) -> None:
    tokenizer = BpeTokenizer(Tokenizer.byte_level([END_OF_TEXT]))
    prepare_files(find_files([text]), tmp_path / "prepared", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="prepared has no validation text: prepare it again"):
        load(tmp_path, corpus=tmp_path / "prepared")
    with pytest.raises(ValueError, match=r"data\.corpus=prepared has its own text and tokenizer"):
        DataConfig(corpus=Path("prepared"), text=(text,))
