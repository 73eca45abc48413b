"""Raw text to token files, and token files to deterministic batches."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlm_data.batches import RandomBatches as RandomBatches
    from tlm_data.batches import get_batch as get_batch
    from tlm_data.batches import sequential_batches as sequential_batches
    from tlm_data.prepare import END_OF_TEXT as END_OF_TEXT
    from tlm_data.prepare import Corpus as Corpus
    from tlm_data.prepare import prepare_corpus as prepare_corpus
    from tlm_data.prepare import write_documents as write_documents
    from tlm_data.sources import TextSlice as TextSlice
    from tlm_data.sources import read_documents as read_documents
    from tlm_data.sources import split_files as split_files
    from tlm_data.sources import split_within_files as split_within_files
    from tlm_data.sources import stdlib_files as stdlib_files
    from tlm_data.token_store import TokenStore as TokenStore
    from tlm_data.token_store import TokenStoreError as TokenStoreError
    from tlm_data.writer import TokenStoreWriter as TokenStoreWriter

__version__ = "0.1.0"

# Modules are imported when a name is asked for, so that what needs no torch starts without it.
_MODULES = {
    "END_OF_TEXT": "prepare",
    "Corpus": "prepare",
    "RandomBatches": "batches",
    "TextSlice": "sources",
    "TokenStore": "token_store",
    "TokenStoreError": "token_store",
    "TokenStoreWriter": "writer",
    "get_batch": "batches",
    "prepare_corpus": "prepare",
    "read_documents": "sources",
    "sequential_batches": "batches",
    "split_files": "sources",
    "split_within_files": "sources",
    "stdlib_files": "sources",
    "write_documents": "prepare",
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
