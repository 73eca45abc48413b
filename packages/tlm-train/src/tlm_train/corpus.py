"""From the data section of a config to a prepared corpus."""

import sysconfig
from pathlib import Path

from tlm_data import END_OF_TEXT, BpeTokenizer, Corpus, SourceFile, prepare_corpus
from tlm_data.corpora import stdlib_files
from tlm_data.prepare import OnProgress
from tlm_data.sources import local_file
from tlm_data.splits import split_files, split_within_files

from tlm_train.config import DataConfig


def load_corpus(data: DataConfig, vocab_size: int, on_progress: OnProgress) -> Corpus:
    """Open the corpus that a config names, or prepare its text, or find it prepared.

    Args:
        data: The data section.
        vocab_size: Size of the tokenizer, where one is trained.
        on_progress: See `tlm_data.prepare_corpus`.

    Raises:
        ValueError: A file is missing, empty or not UTF-8, `data.tokenizer` is not a tokenizer or
            lacks `<|endoftext|>`, or `data.corpus` is no corpus with validation text.
    """
    if data.corpus is not None:
        return Corpus.open(data.corpus, verify=False)
    for path in (*data.text, *data.val_text):
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise ValueError(f"the text file {path} {what}")
    if data.dir.is_file():
        raise ValueError(f"data.dir={data.dir} is a file: name a folder")
    train, val = _files(data)
    return prepare_corpus(
        train,
        val,
        data.dir,
        name=data.text[0].stem if data.text else "stdlib",
        vocab_size=vocab_size,
        tokenizer=BpeTokenizer(data.tokenizer).tokenizer if data.tokenizer else None,
        on_progress=on_progress,
    )


def _files(data: DataConfig) -> tuple[list[SourceFile], list[SourceFile]]:
    if not data.text:
        root = Path(sysconfig.get_path("stdlib"))
        return split_files(stdlib_files(), data.val_fraction, root)
    text = [local_file(path, "text") for path in data.text]
    if data.val_text:
        return text, [local_file(path, "text") for path in data.val_text]
    return split_within_files(text, data.val_fraction, END_OF_TEXT)
