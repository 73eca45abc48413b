"""Raw text to token files, and token files to deterministic batches."""

from tlm_data.batches import RandomBatches, get_batch, sequential_batches
from tlm_data.prepare import END_OF_TEXT, Corpus, prepare_corpus, write_documents
from tlm_data.sources import (
    TextSlice,
    read_documents,
    split_files,
    split_within_files,
    stdlib_files,
)
from tlm_data.token_store import TokenStore, TokenStoreError
from tlm_data.writer import TokenStoreWriter

__version__ = "0.1.0"

__all__ = [
    "END_OF_TEXT",
    "Corpus",
    "RandomBatches",
    "TextSlice",
    "TokenStore",
    "TokenStoreError",
    "TokenStoreWriter",
    "get_batch",
    "prepare_corpus",
    "read_documents",
    "sequential_batches",
    "split_files",
    "split_within_files",
    "stdlib_files",
    "write_documents",
]
