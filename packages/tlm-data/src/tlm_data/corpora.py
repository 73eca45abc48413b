"""Corpora known by name: one that every machine has, and a few to download."""

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tlm_data.download import download
from tlm_data.sources import SourceFile, local_file

_HUGGING_FACE = "https://huggingface.co/datasets"


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus that has a name.

    Attributes:
        name: How it is asked for.
        description: What it is, in a line.
        licence: Under which it may be used.
        size: About how much it is.
        separator: The mark between documents in its plain text files; None for none.
        train_urls: What to download for training; none if the machine has it.
        val_urls: What to download for validation; none if it has to be held out of the first.
    """

    name: str
    description: str
    licence: str
    size: str
    separator: str | None = None
    train_urls: tuple[str, ...] = ()
    val_urls: tuple[str, ...] = ()


NAMED_CORPORA = (
    NamedCorpus(
        name="stdlib",
        description="the Python standard library's sources, from this machine",
        licence="PSF-2.0",
        size="about 30 MB",
    ),
    NamedCorpus(
        name="tinystories",
        description="short stories in the words of small children, by GPT-4",
        licence="CDLA-Sharing-1.0",
        size="about 2.2 GB",
        separator="<|endoftext|>",
        train_urls=(
            f"{_HUGGING_FACE}/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-train.txt",
        ),
        val_urls=(
            f"{_HUGGING_FACE}/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt",
        ),
    ),
    NamedCorpus(
        name="openwebtext-sample",
        description="a sample of OpenWebText: pages that Reddit linked to; Stanford CS336's",
        licence="CC0-1.0 (the collection; the pages belong to their authors)",
        size="about 12 GB unpacked",
        separator="<|endoftext|>",
        train_urls=(f"{_HUGGING_FACE}/stanford-cs336/owt-sample/resolve/main/owt_train.txt.gz",),
        val_urls=(f"{_HUGGING_FACE}/stanford-cs336/owt-sample/resolve/main/owt_valid.txt.gz",),
    ),
    NamedCorpus(
        name="fineweb-edu-sample",
        description="educational web pages: the first of 14 files of FineWeb-Edu's 10BT sample",
        licence="ODC-By-1.0",
        size="about 2.2 GB of Parquet, 0.7 billion tokens",
        train_urls=(
            f"{_HUGGING_FACE}/HuggingFaceFW/fineweb-edu/resolve/main/sample/10BT/000_00000.parquet",
        ),
    ),
)


def find_corpus(name: str) -> NamedCorpus:
    """Return the corpus of that name.

    Raises:
        ValueError: There is none.
    """
    for corpus in NAMED_CORPORA:
        if corpus.name == name:
            return corpus
    names = ", ".join(corpus.name for corpus in NAMED_CORPORA)
    raise ValueError(f"no corpus is named {name!r}: choose one of {names}")


def fetch_corpus(
    corpus: str | NamedCorpus,
    directory: str | Path,
    *,
    on_progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> tuple[list[SourceFile], list[SourceFile]]:
    """Have the files of a corpus on this machine; download those that are not there.

    Args:
        corpus: The corpus, or its name.
        directory: Where downloads go, into a folder of the corpus's name.
        on_progress: Called with a file's name, and how many bytes of it are there and of how many.

    Returns:
        `(train, val)`; `val` is empty where validation has to be held out of `train`.

    Raises:
        ValueError: No corpus has that name, or a download is not what it should be.
        OSError: The server cannot be reached, or the disk is full.
    """
    corpus = find_corpus(corpus) if isinstance(corpus, str) else corpus
    if not corpus.train_urls:
        return stdlib_files(), []

    def fetch(url: str) -> SourceFile:
        name = Path(urlsplit(url).path).name
        path = Path(directory) / corpus.name / name
        return local_file(
            download(url, path, on_progress=lambda done, total: on_progress(name, done, total))
        )

    return [fetch(url) for url in corpus.train_urls], [fetch(url) for url in corpus.val_urls]


def stdlib_files() -> list[SourceFile]:
    """List the Python standard library's own sources on this machine, in a fixed order.

    Tens of megabytes of real text that need no download. Installed packages and the few files
    that are not UTF-8 (test data on purpose) are left out.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = []
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "dist-packages", "__pycache__"} & set(path.parts):
            continue
        try:
            path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        files.append(local_file(path, "text"))
    return files
