"""From text to a prepared corpus: a tokenizer and two token stores, made once and reused."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpe_tok import Tokenizer, train

from tlm_data import atomic
from tlm_data.sources import TextSlice, content_hash, read_documents
from tlm_data.token_store import TokenStore, TokenStoreError
from tlm_data.writer import TokenStoreWriter

END_OF_TEXT = "<|endoftext|>"

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the stage, and how much of it is done and of how much."""


@dataclass(frozen=True)
class Corpus:
    """Text ready for training.

    Attributes:
        path: The folder that holds it: `tokenizer/`, `train/` and `val/`.
        tokenizer: Made the ids; has `<|endoftext|>`.
        train: Tokens to learn from.
        val: Held-out tokens.
    """

    path: Path
    tokenizer: Tokenizer
    train: TokenStore
    val: TokenStore

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hashes that two corpora have in common if and only if they are equal."""
        return {
            "tokenizer": self.tokenizer.fingerprint,
            "training text": self.train.fingerprint,
            "validation text": self.val.fingerprint,
        }

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        """Open a prepared corpus, and read all of it to see that it is whole.

        Raises:
            TokenStoreError: A store is damaged, or was made with another tokenizer.
        """
        path = Path(path)
        tokenizer = Tokenizer.load(path / "tokenizer")
        stores = [TokenStore.open(path / name) for name in ("train", "val")]
        for store in stores:
            store.verify()
            made_with = store.meta["tokenizer_fingerprint"]
            if made_with != tokenizer.fingerprint:
                raise TokenStoreError(
                    f"{store.path} was made with tokenizer {made_with[:12]}, but "
                    f"{path / 'tokenizer'} is {tokenizer.fingerprint[:12]}: remove {path} and "
                    "prepare the corpus again"
                )
        return cls(path, tokenizer, *stores)


def prepare_corpus(
    train_slices: Sequence[TextSlice],
    val_slices: Sequence[TextSlice],
    out_dir: str | Path,
    *,
    name: str,
    vocab_size: int,
    tokenizer: Tokenizer | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Corpus:
    """Tokenize text for training, or reuse what an earlier call made of the same text.

    The corpus is a folder `NAME-HASH` in `out_dir`, where the hash covers the text and the
    tokenizer's settings. Each document is followed by `<|endoftext|>`, which also divides a
    file into documents.

    Args:
        train_slices: Text to learn from.
        val_slices: Held-out text.
        out_dir: Folder of prepared corpora.
        name: First part of the corpus folder's name.
        vocab_size: Size of the tokenizer that is trained on `train_slices`; it comes out
            smaller where the text has no more pairs to merge.
        tokenizer: Use this one instead of training one.
        on_progress: Called often; stages are `tokenizer: count`, `tokenizer: merge`,
            `encode train` and `encode val`.

    Raises:
        ValueError: A side has no text, the text is not UTF-8, or the tokenizer lacks
            `<|endoftext|>`.
    """
    for side, slices in (("training", train_slices), ("validation", val_slices)):
        if not any(piece.num_bytes for piece in slices):
            files = ", ".join(str(piece.path) for piece in slices[:3]) or "no file"
            raise ValueError(f"the {side} text is empty ({files}): give a file with text in it")
    recipe = {
        "train": content_hash(train_slices),
        "val": content_hash(val_slices),
        "end_of_text": END_OF_TEXT,
        "tokenizer": tokenizer.fingerprint if tokenizer else vocab_size,
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    path = Path(out_dir) / f"{name}-{digest[:12]}"
    if not path.exists():
        try:
            with atomic.new_folder(path) as folder:
                _fill(folder, train_slices, val_slices, vocab_size, tokenizer, on_progress)
        except FileExistsError:
            pass  # another process prepared the same corpus meanwhile
    return Corpus.open(path)


def _fill(
    folder: Path,
    train_slices: Sequence[TextSlice],
    val_slices: Sequence[TextSlice],
    vocab_size: int,
    tokenizer: Tokenizer | None,
    on_progress: OnProgress,
) -> None:
    if tokenizer is None:
        tokenizer = _train_tokenizer(train_slices, vocab_size, on_progress)
    tokenizer.save(folder / "tokenizer")
    for name, slices in (("train", train_slices), ("val", val_slices)):
        write_documents(_watched(slices, f"encode {name}", on_progress), tokenizer, folder / name)


def _train_tokenizer(
    slices: Sequence[TextSlice], vocab_size: int, on_progress: OnProgress
) -> Tokenizer:
    def on_stage(stage: str, done: int, total: int | None) -> None:
        # What was read is told by the slices, which know how much there is.
        if stage == "merge" and total is not None:
            on_progress("tokenizer: merge", done, total)

    return train(
        _watched(slices, "tokenizer: count", on_progress),
        vocab_size,
        special_tokens=[END_OF_TEXT],
        on_progress=on_stage,
    )


def _watched(slices: Sequence[TextSlice], stage: str, on_progress: OnProgress) -> Iterator[str]:
    """Yield the documents of text files, and report how many bytes of them are done."""
    total = sum(piece.num_bytes for piece in slices)
    done = 0
    for document in read_documents(slices, END_OF_TEXT):
        yield document
        done += len(document.encode())
        on_progress(stage, done, total)


def write_documents(documents: Iterable[str], tokenizer: Tokenizer, path: str | Path) -> TokenStore:
    """Encode documents into a new token store, each followed by `<|endoftext|>`.

    Args:
        documents: Texts; read once, lazily.
        tokenizer: Must have the special token `<|endoftext|>`.
        path: The store's folder; must not exist.

    Raises:
        ValueError: The tokenizer lacks `<|endoftext|>`.
    """
    end_id = tokenizer.special_tokens.get(END_OF_TEXT)
    if end_id is None:
        raise ValueError(f"the tokenizer lacks the special token {END_OF_TEXT}")
    with TokenStoreWriter(
        path,
        vocab_size=tokenizer.vocab_size,
        tokenizer_fingerprint=tokenizer.fingerprint,
    ) as writer:
        for document in documents:
            ids = tokenizer.encode(document)
            ids.append(end_id)
            writer.add(ids, num_bytes=len(document.encode()))
    return TokenStore.open(path)
