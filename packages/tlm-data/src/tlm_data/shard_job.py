"""The unit of preparing: a slice of the sources to a shard of tokens, a pure function."""

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tlm_data import atomic
from tlm_data.documents import JoinedDocuments, held_out, read_joined_documents
from tlm_data.engines.engine import Report
from tlm_data.read_options import DroppedDocument, ReadOptions
from tlm_data.shard_writer import ShardWriter
from tlm_data.slices import FileRange
from tlm_data.tokenizer import DocumentTokenizer, Ids, TooLongError

Side = Literal["train", "val"]
Result = dict[str, Any]
"""What a job leaves as its manifest: `job` (its fingerprint), `shards` (the `meta.json` entry of
the shard of each side, where there is one), `dropped` (how many documents, by reason) and
`num_replaced` (documents in which bytes were replaced)."""


@dataclass(frozen=True, kw_only=True)
class DocumentOptions:
    """Which documents are taken, and how they are read.

    Attributes:
        read: How documents are read.
        min_document_bytes: Shorter documents are dropped.
        max_document_bytes: Longer documents are dropped; None for no limit.
        val_fraction: Share of the documents held out for validation, by a hash of each; None for
            none.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    min_document_bytes: int = 0
    max_document_bytes: int | None = None
    val_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.min_document_bytes < 0:
            raise ValueError(f"min_document_bytes={self.min_document_bytes} must not be negative")
        if self.max_document_bytes is not None and self.max_document_bytes < max(
            self.min_document_bytes, 1
        ):
            raise ValueError(
                f"max_document_bytes={self.max_document_bytes} must be at least 1 and not less "
                f"than min_document_bytes={self.min_document_bytes}"
            )
        if self.val_fraction is not None and not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction={self.val_fraction} must lie between 0 and 1")

    @property
    def too_short(self) -> str:
        """The reason for which short documents are dropped."""
        return f"shorter than {self.min_document_bytes} bytes"

    @property
    def too_long(self) -> str:
        """The reason for which long documents are dropped."""
        return f"longer than {self.max_document_bytes} bytes"


@dataclass(frozen=True)
class Recipe:
    """What all jobs of a corpus have in common; sent to each worker once.

    Attributes:
        folder: Where `train/`, `val/` and `manifests/` are.
        tokenizer: Encodes the documents.
        documents: Which of them.
    """

    folder: Path
    tokenizer: DocumentTokenizer
    documents: DocumentOptions

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the ids, as values that JSON knows."""
        documents = dataclasses.asdict(self.documents)
        return {
            "tokenizer": self.tokenizer.fingerprint,
            **self.tokenizer.settings,
            **documents.pop("read"),
            **documents,
        }


@dataclass(frozen=True)
class ShardJob:
    """One piece of the work.

    Attributes:
        side: What its documents are for; those that are held out go to the other side.
        number: Its shard's number.
        ranges: What to read.
        max_tokens: Stop after so many tokens; None for no limit.
    """

    side: Side
    number: int
    ranges: tuple[FileRange, ...]
    max_tokens: int | None = None

    @property
    def name(self) -> str:
        """The name of its shards' files, without suffix."""
        return f"shard-{self.number:05d}"

    @property
    def num_bytes(self) -> int:
        """How much it reads, as stored."""
        return sum(piece.num_bytes for piece in self.ranges)

    def __str__(self) -> str:
        first = self.ranges[0]
        more = f" and {len(self.ranges) - 1} more files" if len(self.ranges) > 1 else ""
        part = "" if first.num_bytes == first.file.size_bytes else f" from byte {first.start}"
        return f"{first.file.url}{part}{more}"

    def fingerprint(self, recipe: Recipe) -> str:
        """Return a hash, in hex, of all that decides the shard's bytes."""
        content = [recipe.settings, dataclasses.asdict(self)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def manifest_path(self, recipe: Recipe) -> Path:
        """Return where the result is kept, written when the shard is complete."""
        return recipe.folder / "manifests" / f"{self.side}-{self.number:05d}.json"

    def finished(self, recipe: Recipe) -> Result | None:
        """Return the result if the job was done before and its shards are still there."""
        try:
            result = json.loads(self.manifest_path(recipe).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(result, dict) or result.get("job") != self.fingerprint(recipe):
            return None
        item_bytes = 2 if recipe.tokenizer.vocab_size <= 1 << 16 else 4
        for side, entry in result["shards"].items():
            for name, size in (
                (entry["file"], entry["num_tokens"] * item_bytes),
                (entry["index"], (entry["num_documents"] + 1) * 8),
            ):
                path = recipe.folder / side / name
                if not path.is_file() or path.stat().st_size != size:
                    return None
        return result


def run_job(recipe: Recipe, job: ShardJob, report: Report) -> Result:
    """Make the shard of a job, unless it is there.

    The same job leaves the same bytes, wherever and however often it is run. The manifest comes
    last: shards without one, which a job that is killed may leave, are made again.

    Args:
        recipe: What all jobs have in common.
        job: What to do.
        report: Called with the bytes of text done so far.

    Raises:
        ValueError: A document cannot be read or encoded, or a file is not what it was when the
            work was planned.
        OSError: A file cannot be read, or the disk is full.
    """
    if (result := job.finished(recipe)) is not None:
        return result
    _require_unchanged(job)
    fingerprint = job.fingerprint(recipe)
    sides: list[Side] = [job.side]
    if recipe.documents.val_fraction is not None and job.side == "train":
        sides.append("val")
    with ExitStack() as stack:
        writers = {
            side: stack.enter_context(
                ShardWriter(recipe.folder / side, job.name, vocab_size=recipe.tokenizer.vocab_size)
            )
            for side in sides
        }
        encoding = _Encoding(recipe, job, writers, report)
        encoding.run()
        _require_unchanged(job)
        shards = {side: writer.close() for side, writer in writers.items() if writer.num_documents}
    result = {
        "job": fingerprint,
        "shards": shards,
        "dropped": dict(sorted(encoding.dropped.items())),
        "num_replaced": encoding.num_replaced,
    }
    atomic.write_file(job.manifest_path(recipe), json.dumps(result, indent=1))
    return result


def _require_unchanged(job: ShardJob) -> None:
    """Raise ValueError if a file on this machine is not what it was when the work was planned."""
    for file in {piece.file for piece in job.ranges}:
        if file.is_local and file.identity != str(Path(file.url).stat().st_mtime_ns):
            raise ValueError(
                f"{file.url} has changed since the work began: start again when nothing writes "
                "to it"
            )


class _Encoding:
    """A job at work: documents go through the filters and the tokenizer to the writers."""

    def __init__(
        self, recipe: Recipe, job: ShardJob, writers: dict[Side, ShardWriter], report: Report
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.num_replaced = 0
        self._tokenizer = recipe.tokenizer
        self._options = recipe.documents
        self._job = job
        self._writers = writers
        self._report = report
        self._num_bytes = 0

    def run(self) -> None:
        for found in read_joined_documents(
            self._job.ranges, self._options.read, self._drop, self._count_replaced
        ):
            try:
                if isinstance(found, JoinedDocuments):
                    self._add_joined(found)
                elif isinstance(found, list):
                    self._add_batch(found)
                else:
                    self._add_long(found)
            except ValueError as error:
                raise ValueError(f"{error} (in {self._job})") from error
            self._report(self._num_bytes)
            if self._room_on(self._job.side) == 0:
                break

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1

    def _count_replaced(self) -> None:
        self.num_replaced += 1

    def _room_on(self, side: Side) -> int | None:
        """Return how many more tokens there may be on a side; None for no limit."""
        if self._job.max_tokens is None or side != self._job.side:
            return None
        return self._job.max_tokens - self._writers[side].num_tokens

    def _fits(self, document: bytes) -> bool:
        """Tell whether a document has a length that is wanted; count it as dropped if not."""
        longest = self._options.max_document_bytes
        if len(document) < self._options.min_document_bytes:
            self._drop(self._options.too_short)
        elif longest is not None and len(document) > longest:
            self._drop(self._options.too_long)
        else:
            return True
        return False

    def _side(self, document: bytes) -> Side:
        fraction = self._options.val_fraction
        if self._job.side == "train" and fraction is not None and held_out(document, fraction):
            return "val"
        return self._job.side

    @property
    def _takes_all(self) -> bool:
        """Whether every document goes to the same side, whatever its length."""
        options = self._options
        has_limits = options.min_document_bytes or options.max_document_bytes is not None
        return not has_limits and options.val_fraction is None

    def _add_joined(self, documents: JoinedDocuments) -> None:
        """Add documents as they stand in a file, undivided where that may be."""
        if self._takes_all:
            encoded = self._tokenizer.encode_joined(documents.text, documents.separator)
            room = self._room_on(self._job.side)
            if encoded is not None and (room is None or len(encoded[0]) <= room):
                self._writers[self._job.side].add_documents(*encoded)
                self._num_bytes += encoded[2]
                return
        self._add_batch(documents.divided())

    def _add_batch(self, documents: list[bytes]) -> None:
        self._num_bytes += sum(map(len, documents))
        if self._options.min_document_bytes or self._options.max_document_bytes is not None:
            documents = list(filter(self._fits, documents))
        if self._options.val_fraction is None:
            self._encode_batch(self._job.side, documents)
            return
        by_side: dict[Side, list[bytes]] = {side: [] for side in self._writers}
        for document in documents:
            by_side[self._side(document)].append(document)
        for side, some in by_side.items():
            self._encode_batch(side, some)

    def _encode_batch(self, side: Side, documents: list[bytes]) -> None:
        if not documents:
            return
        ids, lengths = self._tokenizer.encode_documents(documents)
        room = self._room_on(side)
        if room is not None and room < len(ids):
            ids, lengths, num_bytes = self._cut(documents, ids, lengths, room)
        else:
            num_bytes = sum(map(len, documents))
        self._writers[side].add_documents(ids, lengths, num_bytes)

    def _cut(
        self, documents: Sequence[bytes], ids: Ids, lengths: npt.NDArray[np.int64], room: int
    ) -> tuple[Ids, npt.NDArray[np.int64], int]:
        """Return the first `room` ids of documents; the last document is cut there."""
        ends = np.cumsum(lengths)
        whole = int(np.searchsorted(ends, room, side="right"))
        start = int(ends[whole - 1]) if whole else 0
        lengths = np.append(lengths[:whole], room - start)
        num_bytes = sum(map(len, documents[:whole]))
        return ids[:room], lengths, num_bytes + len(self._tokenizer.decode_bytes(ids[start:room]))

    def _add_long(self, pieces: Iterator[bytes]) -> None:
        """Add a document that comes in pieces, or take it back when it turns out to be unfit."""
        document = _LongDocument(pieces, self._options)
        side = self._job.side
        try:
            side = self._side(document.peek())
            self._encode_long(self._writers[side], document, self._room_on(side))
        except DroppedDocument as dropped:
            self._writers[side].discard_document()
            if isinstance(dropped, _UnfitError):  # the reader counts what it drops
                self._drop(dropped.reason)
        except TooLongError as error:
            if self._options.read.errors == "strict":
                done = self._num_bytes + document.num_bytes
                raise ValueError(f"{error} (before byte {done:,} of the text)") from error
            self._writers[side].discard_document()
            self._drop(TooLongError.reason)
        else:
            self._writers[side].end_document()
        self._num_bytes += document.num_bytes

    def _encode_long(
        self, writer: ShardWriter, document: "_LongDocument", room: int | None
    ) -> None:
        told_bytes = 0
        for ids in self._tokenizer.encode_pieces(document):
            if room is None:
                num_bytes = document.num_bytes - told_bytes
                told_bytes = document.num_bytes
            else:
                # Where it may be cut, what was read is not what was taken.
                ids = ids[:room]
                room -= len(ids)
                is_end = len(ids) and ids[-1] == self._tokenizer.end_id
                num_bytes = len(self._tokenizer.decode_bytes(ids[:-1] if is_end else ids))
            writer.add_tokens(ids, num_bytes)
            self._report(self._num_bytes + document.num_bytes)
            if room == 0:
                break


class _UnfitError(DroppedDocument):
    """The length of a document that comes in pieces is not wanted."""


class _LongDocument:
    """The pieces of a long document, counted, and held to the limits of its length.

    Args:
        pieces: Its text.
        options: Have the limits.

    Attributes:
        num_bytes: Length of the pieces that were taken.
    """

    def __init__(self, pieces: Iterator[bytes], options: DocumentOptions) -> None:
        self._pieces = pieces
        self._options = options
        self.num_bytes = 0

    def peek(self) -> bytes:
        """Return the first piece, which is yet to be taken."""
        first = next(self._pieces)
        self._pieces = itertools.chain([first], self._pieces)
        return first

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces.

        Raises:
            DroppedDocument: It turned out to be unreadable, too long or too short.
        """
        for piece in self._pieces:
            self.num_bytes += len(piece)
            longest = self._options.max_document_bytes
            if longest is not None and self.num_bytes > longest:
                raise _UnfitError(self._options.too_long)
            yield piece
        if self.num_bytes < self._options.min_document_bytes:
            raise _UnfitError(self._options.too_short)
