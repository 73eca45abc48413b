"""From a job to its shard: documents are read, chosen, encoded and written; a pure function."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tlm_data import atomic
from tlm_data.documents import JoinedDocuments, held_out, read_joined_documents
from tlm_data.engines.engine import Report
from tlm_data.read_options import DroppedDocument
from tlm_data.shard_job import DocumentOptions, Recipe, Result, ShardJob, Side
from tlm_data.shard_writer import ShardWriter
from tlm_data.tokenizer import Ids, TooLongError


def make_shard(recipe: Recipe, job: ShardJob, report: Report) -> Result:
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
