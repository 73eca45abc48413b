"""A corpus that is ready for training, and making one of any text, tokenizer included."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpe_tok import Tokenizer, train

from tlm_data import atomic
from tlm_data.documents import read_documents
from tlm_data.make_shard import make_shard
from tlm_data.plan import make_plan
from tlm_data.prepare import OnProgress
from tlm_data.read_options import ReadOptions
from tlm_data.shard_job import DocumentOptions, Recipe, Side
from tlm_data.shard_writer import write_meta
from tlm_data.slices import FileRange, content_hash
from tlm_data.sources import SourceFile
from tlm_data.token_store import TokenStore, TokenStoreError
from tlm_data.tokenizer import END_OF_TEXT, BpeTokenizer
from tlm_data.writer import TokenStoreWriter

_READ = ReadOptions(separator=END_OF_TEXT)


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
    def open(cls, path: str | Path, *, verify: bool = True) -> "Corpus":
        """Open a prepared corpus.

        Args:
            path: Its folder, made by `prepare_corpus` or by `tlm-data prepare`.
            verify: Read all of it, to see that it is whole.

        Raises:
            ValueError: There is no tokenizer or no validation text.
            TokenStoreError: A store is damaged, or was made with another tokenizer.
        """
        path = Path(path)
        if not (path / "train").is_dir():
            raise ValueError(f"{path} is not a corpus: it has no folder train/")
        if not (path / "val").is_dir():
            raise ValueError(
                f"the corpus {path} has no validation text: prepare it again with --val-fraction "
                "or --val"
            )
        try:
            tokenizer = Tokenizer.load(path / "tokenizer")
        except OSError as error:
            raise ValueError(
                f"the corpus {path} has no tokenizer: {error.strerror}: {error.filename}"
            ) from None
        if END_OF_TEXT not in tokenizer.special_tokens:
            raise ValueError(f"the tokenizer of the corpus {path} lacks {END_OF_TEXT}")
        stores = [TokenStore.open(path / name) for name in ("train", "val")]
        for store in stores:
            if verify:
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
    train_files: Sequence[SourceFile],
    val_files: Sequence[SourceFile],
    out_dir: str | Path,
    *,
    name: str,
    vocab_size: int,
    tokenizer: Tokenizer | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Corpus:
    """Train a tokenizer on text and encode it, or reuse what an earlier call made of the same.

    The corpus is a folder `NAME-HASH` in `out_dir`, where the hash covers the text and the
    tokenizer's settings. Each document is followed by `<|endoftext|>`, which also divides a
    file into documents. For text that takes long use `prepare_files`, which can be stopped.

    Args:
        train_files: Text to learn from.
        val_files: Held-out text.
        out_dir: Folder of prepared corpora.
        name: First part of the corpus folder's name.
        vocab_size: Size of the tokenizer that is trained on `train_files`; it comes out
            smaller where the text has no more pairs to merge.
        tokenizer: Use this one instead of training one.
        on_progress: Called often; stages are `tokenizer: count`, `tokenizer: merge`,
            `encode train` and `encode val`.

    Raises:
        ValueError: A side has no text, the text is not UTF-8, or the tokenizer lacks
            `<|endoftext|>`.
    """
    for side, files in (("training", train_files), ("validation", val_files)):
        if not any(file.size_bytes for file in files):
            names = ", ".join(file.url for file in files[:3]) or "no file"
            raise ValueError(f"the {side} text is empty ({names}): give a file with text in it")
    recipe = {
        "train": content_hash(train_files),
        "val": content_hash(val_files),
        "end_of_text": END_OF_TEXT,
        "tokenizer": tokenizer.fingerprint if tokenizer else vocab_size,
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    path = Path(out_dir) / f"{name}-{digest[:12]}"
    if not path.exists():
        try:
            with atomic.new_folder(path) as folder:
                if tokenizer is None:
                    tokenizer = _train_tokenizer(train_files, vocab_size, on_progress)
                _fill(folder, train_files, val_files, BpeTokenizer(tokenizer), on_progress)
        except FileExistsError:
            pass  # another process prepared the same corpus meanwhile
    return Corpus.open(path)


def _train_tokenizer(
    files: Sequence[SourceFile], vocab_size: int, on_progress: OnProgress
) -> Tokenizer:
    def on_stage(stage: str, done: int, total: int | None) -> None:
        # What was read is told by the files, which know how much there is.
        if stage == "merge" and total is not None:
            on_progress("tokenizer: merge", done, total)

    def watched() -> Iterator[bytes]:
        total = sum(file.size_bytes for file in files)
        done = 0
        for found in read_documents(map(FileRange.whole, files), _READ):
            # To count pretokens a long document need not be whole.
            for text in found:
                yield text
                done += len(text)
                on_progress("tokenizer: count", done, total)

    return train(watched(), vocab_size, special_tokens=[END_OF_TEXT], on_progress=on_stage)


def _fill(
    folder: Path,
    train_files: Sequence[SourceFile],
    val_files: Sequence[SourceFile],
    tokenizer: BpeTokenizer,
    on_progress: OnProgress,
) -> None:
    tokenizer.save(folder / "tokenizer")
    for name in ("train", "val", "manifests"):
        (folder / name).mkdir()
    recipe = Recipe(folder, tokenizer, DocumentOptions(read=_READ))
    plan = make_plan(recipe, train_files, val_files)
    for side in plan.sides:
        jobs = [job for job in plan.jobs if job.side == side]
        total = sum(job.num_bytes for job in jobs)
        before = 0
        shards: list[dict[str, Any]] = []
        for job in jobs:

            def report(
                done: int, before: int = before, total: int = total, side: Side = side
            ) -> None:
                on_progress(f"encode {side}", min(before + done, total), total)

            shards += make_shard(recipe, job, report)["shards"].values()
            before += job.num_bytes
        write_meta(
            folder / side,
            vocab_size=tokenizer.vocab_size,
            tokenizer_fingerprint=tokenizer.fingerprint,
            shards=shards,
        )
    shutil.rmtree(folder / "manifests")


def write_documents(documents: Iterable[str], tokenizer: Tokenizer, path: str | Path) -> TokenStore:
    """Encode documents into a new token store, each followed by `<|endoftext|>`.

    Args:
        documents: Texts; read once, lazily.
        tokenizer: Must have the special token `<|endoftext|>`.
        path: The store's folder; must not exist.

    Raises:
        ValueError: The tokenizer lacks `<|endoftext|>`.
    """
    encoder = BpeTokenizer(tokenizer)
    with TokenStoreWriter(
        path, vocab_size=tokenizer.vocab_size, tokenizer_fingerprint=tokenizer.fingerprint
    ) as writer:
        for document in documents:
            text = document.encode()
            ids, _ = encoder.encode_documents([text])
            writer.add(ids, num_bytes=len(text))
    return TokenStore.open(path)
