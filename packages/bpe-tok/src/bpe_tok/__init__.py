"""Byte-level BPE tokenizer: train, encode, decode, in plain Python."""

__version__ = "0.1.0"
