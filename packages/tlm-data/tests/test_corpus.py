import dataclasses
from pathlib import Path

import pytest
from bpe_tok import Tokenizer
from tlm_data import (
    END_OF_TEXT,
    Corpus,
    SourceFile,
    TokenStore,
    TokenStoreError,
    prepare_corpus,
    write_documents,
)
from tlm_data.sources import local_file

DOCUMENTS = ["the cat sat on the mat\n", "a cat, a hat", "漢字 and 🙂"]


@pytest.fixture
def text(tmp_path: Path) -> SourceFile:
    path = tmp_path / "text.txt"
    path.write_text(END_OF_TEXT.join(DOCUMENTS), encoding="utf-8")
    return local_file(path)


def prepare(tmp_path: Path, text: SourceFile, **options: object) -> Corpus:
    arguments = {"name": "mine", "vocab_size": 270} | options
    return prepare_corpus([text], [text], tmp_path / "data", **arguments)  # type: ignore[arg-type]


def test_the_ids_are_hugging_faces(tmp_path: Path, text: SourceFile) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    corpus = prepare(tmp_path, text)
    theirs = tokenizers.Tokenizer.from_file(str(corpus.path / "tokenizer" / "tokenizer.json"))
    expected = [theirs.encode(document + END_OF_TEXT).ids for document in DOCUMENTS]
    assert [document.tolist() for document in corpus.train.documents()] == expected
    assert corpus.train.meta["num_bytes"] == sum(len(d.encode()) for d in DOCUMENTS)
    assert corpus.train.meta["tokenizer_fingerprint"] == corpus.tokenizer.fingerprint


def test_the_same_text_is_prepared_once(tmp_path: Path, text: SourceFile) -> None:
    stages: list[str] = []
    first = prepare(tmp_path, text, on_progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == [
        "tokenizer: count",
        "tokenizer: merge",
        "encode train",
        "encode val",
    ]
    stages.clear()
    again = prepare(tmp_path, text, on_progress=lambda stage, done, total: stages.append(stage))
    assert again.path == first.path and not stages
    Path(text.url).write_text("other words")
    assert prepare(tmp_path, local_file(text.url)).path != first.path
    assert prepare(tmp_path, local_file(text.url), vocab_size=260).path != first.path


def test_a_given_tokenizer_is_used(tmp_path: Path, text: SourceFile) -> None:
    tokenizer = Tokenizer.byte_level([END_OF_TEXT])
    corpus = prepare(tmp_path, text, tokenizer=tokenizer)
    assert corpus.tokenizer.fingerprint == tokenizer.fingerprint
    first = next(corpus.train.documents())
    assert bytes(first[:-1].astype("uint8")).decode() == DOCUMENTS[0]


def test_a_failure_leaves_nothing(tmp_path: Path, text: SourceFile) -> None:
    Path(text.url).write_bytes(Path(text.url).read_bytes() + b"\xff")
    with pytest.raises(ValueError, match=rf"text\.txt is not UTF-8: byte {text.size_bytes} "):
        prepare(tmp_path, local_file(text.url))
    assert list((tmp_path / "data").iterdir()) == []


def test_an_empty_side_is_named(tmp_path: Path, text: SourceFile) -> None:
    with pytest.raises(ValueError, match=r"the training text is empty \(no file\)"):
        prepare_corpus([], [text], tmp_path, name="x", vocab_size=300)
    with pytest.raises(ValueError, match=r"the validation text is empty \(.*text\.txt\)"):
        prepare_corpus(
            [text], [dataclasses.replace(text, size_bytes=0)], tmp_path, name="x", vocab_size=300
        )


def test_a_store_of_another_tokenizer_is_refused(tmp_path: Path, text: SourceFile) -> None:
    corpus = prepare(tmp_path, text)
    Tokenizer.byte_level([END_OF_TEXT]).save(corpus.path / "tokenizer")
    with pytest.raises(TokenStoreError, match="was made with tokenizer"):
        Corpus.open(corpus.path)


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lacks the special token <\|endoftext\|>"):
        write_documents(["a"], Tokenizer.byte_level(), tmp_path / "store")


def test_a_long_document_is_encoded_as_one(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("some words, and 漢字\n" * 300_000, encoding="utf-8")
    corpus = prepare(tmp_path, local_file(path))
    assert corpus.train.num_documents == 1
    assert corpus.tokenizer.decode_bytes(corpus.train[:-1]) == path.read_bytes()


def test_what_is_no_corpus_is_named(tmp_path: Path, text: SourceFile) -> None:
    corpus = prepare(tmp_path, text)
    with pytest.raises(ValueError, match="is not a corpus: it has no folder train/"):
        Corpus.open(tmp_path)
    tokenizer_file = corpus.path / "tokenizer" / "tokenizer.json"
    content = tokenizer_file.read_bytes()
    tokenizer_file.unlink()
    with pytest.raises(ValueError, match="has no tokenizer: No such file"):
        Corpus.open(corpus.path)
    Tokenizer.byte_level().save(corpus.path / "tokenizer")
    with pytest.raises(ValueError, match=r"the tokenizer of .* lacks <\|endoftext\|>"):
        Corpus.open(corpus.path)
    tokenizer_file.write_bytes(content)
    (corpus.path / "val").rename(corpus.path / "away")
    with pytest.raises(ValueError, match="has no validation text: prepare it again with --val-fr"):
        Corpus.open(corpus.path)


def test_a_flipped_bit_is_found_unless_it_is_not_looked_for(
    tmp_path: Path, text: SourceFile
) -> None:
    corpus = prepare(tmp_path, text)
    shard = corpus.path / "train" / "shard-00000.bin"
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    with pytest.raises(TokenStoreError, match=r"train/shard-00000\.bin is damaged"):
        Corpus.open(corpus.path)
    assert isinstance(Corpus.open(corpus.path, verify=False).train, TokenStore)
