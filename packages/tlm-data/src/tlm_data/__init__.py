"""Raw text to token files, and token files to deterministic batches."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlm_data.bin_files import open_bin as open_bin
    from tlm_data.corpora import stdlib_files as stdlib_files
    from tlm_data.corpus import Corpus as Corpus
    from tlm_data.corpus import prepare_corpus as prepare_corpus
    from tlm_data.corpus import write_documents as write_documents
    from tlm_data.documents import read_documents as read_documents
    from tlm_data.inspection import Inspection as Inspection
    from tlm_data.inspection import inspect_store as inspect_store
    from tlm_data.loader import Loader as Loader
    from tlm_data.mixture import Mixture as Mixture
    from tlm_data.packed_documents import PackedDocuments as PackedDocuments
    from tlm_data.prepare import prepare_files as prepare_files
    from tlm_data.prepared import Prepared as Prepared
    from tlm_data.read_options import ReadOptions as ReadOptions
    from tlm_data.samples import IGNORE as IGNORE
    from tlm_data.samples import Batch as Batch
    from tlm_data.samples import Samples as Samples
    from tlm_data.shard_job import DocumentOptions as DocumentOptions
    from tlm_data.sources import SourceFile as SourceFile
    from tlm_data.sources import find_files as find_files
    from tlm_data.splits import split_files as split_files
    from tlm_data.splits import split_within_files as split_within_files
    from tlm_data.token_store import TokenStore as TokenStore
    from tlm_data.token_store import TokenStoreError as TokenStoreError
    from tlm_data.tokenizer import END_OF_TEXT as END_OF_TEXT
    from tlm_data.tokenizer import BpeTokenizer as BpeTokenizer
    from tlm_data.tokenizer import DocumentTokenizer as DocumentTokenizer
    from tlm_data.tokenizer import FunctionTokenizer as FunctionTokenizer
    from tlm_data.windows import EpochWindows as EpochWindows
    from tlm_data.windows import RandomWindows as RandomWindows
    from tlm_data.windows import SequentialWindows as SequentialWindows
    from tlm_data.windows import get_batch as get_batch
    from tlm_data.writer import TokenStoreWriter as TokenStoreWriter

__version__ = "0.1.0"

# Modules are imported when a name is asked for, so that what needs no torch starts without it.
_MODULES = {
    "END_OF_TEXT": "tokenizer",
    "IGNORE": "samples",
    "Batch": "samples",
    "BpeTokenizer": "tokenizer",
    "Corpus": "corpus",
    "DocumentOptions": "shard_job",
    "DocumentTokenizer": "tokenizer",
    "EpochWindows": "windows",
    "FunctionTokenizer": "tokenizer",
    "Inspection": "inspection",
    "Loader": "loader",
    "Mixture": "mixture",
    "PackedDocuments": "packed_documents",
    "Prepared": "prepared",
    "RandomWindows": "windows",
    "ReadOptions": "read_options",
    "Samples": "samples",
    "SequentialWindows": "windows",
    "SourceFile": "sources",
    "TokenStore": "token_store",
    "TokenStoreError": "token_store",
    "TokenStoreWriter": "writer",
    "find_files": "sources",
    "get_batch": "windows",
    "inspect_store": "inspection",
    "open_bin": "bin_files",
    "prepare_corpus": "corpus",
    "prepare_files": "prepare",
    "read_documents": "documents",
    "split_files": "splits",
    "split_within_files": "splits",
    "stdlib_files": "corpora",
    "write_documents": "corpus",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
