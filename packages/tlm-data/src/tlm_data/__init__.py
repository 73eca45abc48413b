"""Raw text to token files, and token files to deterministic batches."""

__version__ = "0.1.0"
