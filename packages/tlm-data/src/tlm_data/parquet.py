"""Documents of Parquet files: a column of text."""

from collections.abc import Iterator
from typing import Any

from tlm_data.read_options import BATCH_BYTES, ReadOptions, Report
from tlm_data.slices import FileRange
from tlm_data.sources import SourceFile
from tlm_data.streams import open_seekable
from tlm_data.utf8 import batches_and_pieces, utf8_documents, without_blank

_MAX_BATCH_ROWS = 1 << 16
# Of the type null is a column in which no row has a value.
_TEXT_TYPES = ("string", "large_string", "string_view", "binary", "large_binary", "null")


def read_parquet(
    part: FileRange, options: ReadOptions, report: Report
) -> Iterator[list[bytes] | Iterator[bytes]]:
    """Yield the documents of the row groups that start in a range of a Parquet file.

    Args:
        part: What to read.
        options: `field` (the column) and `errors` count.
        report: Told of what is left out.

    Yields:
        Documents, or the pieces of one that is long.

    Raises:
        ValueError: The file is damaged or has no such column of text; or, if `options.errors` is
            `strict`, a row has no text in it or is not UTF-8.
        ConnectionError: A server cannot be reached, also after several attempts.
    """
    import pyarrow
    import pyarrow.parquet

    with open_seekable(part.file) as stored:
        try:
            # Read page by page: a row group may be larger than memory.
            parquet = pyarrow.parquet.ParquetFile(stored, buffer_size=BATCH_BYTES)
            column = _column(parquet, part.file, options.field)
            first_row = 0
            for group in range(parquet.num_row_groups):
                chunk = parquet.metadata.row_group(group)
                if part.start <= _start_bytes(chunk) < part.end:
                    for first, values in _values(parquet, group, column):
                        documents = _documents(
                            values, first_row + first, part.file, options, report
                        )
                        yield from batches_and_pieces(without_blank(documents, report))
                first_row += chunk.num_rows
        except ConnectionError:
            raise
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                f"{part.file.url} cannot be read as Parquet: {error}; it is damaged or cut off"
            ) from error


def _column(parquet: Any, file: SourceFile, field: str) -> int:
    """Return the number of the column, which holds text."""
    import pyarrow

    schema = parquet.schema_arrow
    count = schema.names.count(field)
    if count != 1:
        raise ValueError(
            f"{file.url} has {count or 'no'} column{'s' if count else ''} {field!r}; its columns "
            f"are {', '.join(map(repr, schema.names)) or 'none'}"
        )
    kind = schema.field(field).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if str(kind) not in _TEXT_TYPES:
        raise ValueError(f"{file.url}: column {field!r} holds {kind}, which is no text")
    names = [parquet.schema.column(index).path for index in range(len(parquet.schema))]
    return names.index(field)


def _start_bytes(row_group: Any) -> int:
    first = row_group.column(0)
    starts = (first.dictionary_page_offset, first.data_page_offset)
    return min(int(start) for start in starts if start is not None)


def _values(parquet: Any, group: int, column: int) -> Iterator[tuple[int, list[bytes | None]]]:
    """Yield the values of a row group, about 1 MiB together, after the row of the first."""
    import pyarrow

    metadata = parquet.metadata.row_group(group)
    stored_bytes = max(1, metadata.column(column).total_uncompressed_size)
    batch_rows = max(1, min(_MAX_BATCH_ROWS, metadata.num_rows * BATCH_BYTES // stored_bytes))
    first = 0
    for batch in parquet.iter_batches(
        batch_rows,
        row_groups=[group],
        columns=[metadata.column(column).path_in_schema],
        use_threads=False,
    ):
        values = batch.column(0)
        if pyarrow.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        yield first, values.cast(pyarrow.large_binary()).to_pylist()
        first += len(values)


def _documents(
    values: list[bytes | None],
    first_row: int,
    file: SourceFile,
    options: ReadOptions,
    report: Report,
) -> list[bytes]:
    rows = [row for row, value in enumerate(values, first_row) if value is not None]
    for row, value in enumerate(values, first_row):
        if value is None:
            if options.errors == "strict":
                raise ValueError(
                    f"{file.url}: row {row} has no value in column {options.field!r}; "
                    "mend it, or let errors be 'skip'"
                )
            report.on_drop("no field")

    def complain(index: int, error: UnicodeDecodeError) -> ValueError:
        return ValueError(
            f"{file.url} is not UTF-8: row {rows[index]}, byte {error.start} of its "
            f"{options.field!r}: {error.reason}; let errors be 'replace' or 'skip'"
        )

    present = [value for value in values if value is not None]
    return utf8_documents(present, options.errors, report, complain)
