"""Telling whether text is one document, of which only the tail can be held out."""

from collections.abc import Sequence

from tlm_data.documents import read_documents
from tlm_data.read_options import ReadOptions
from tlm_data.slices import FileRange
from tlm_data.sources import SourceFile


def is_one_document(files: Sequence[SourceFile], separator: str | None) -> bool:
    """Tell whether files are but one plain text file with one document in it.

    Args:
        files: The files; a lone one is read up to its second document.
        separator: The mark between documents; None for none.
    """
    if len(files) != 1 or files[0].format != "text" or files[0].compression != "none":
        return False
    # What is wrong with its text is told by those who read it for good.
    options = ReadOptions(separator=separator, errors="replace")
    num_documents = 0
    for found in read_documents([FileRange.whole(files[0])], options):
        num_documents += len(found) if isinstance(found, list) else 1
        if num_documents > 1:
            break
    return num_documents == 1
