"""Documents of Parquet files: a column of text."""

from collections.abc import Iterator

from tlm_data.read_options import ReadOptions, Report
from tlm_data.slices import FileRange


def read_parquet(
    part: FileRange, options: ReadOptions, report: Report
) -> Iterator[list[bytes] | Iterator[bytes]]:
    """Yield the documents of the row groups that start in a range of a Parquet file."""
    raise NotImplementedError
