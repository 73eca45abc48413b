"""Byte-level BPE tokenizer: train, encode, decode, in plain Python."""

from bpe_tok.tokenizer import Tokenizer
from bpe_tok.trainer import train, train_bpe

__all__ = ["Tokenizer", "train", "train_bpe"]
__version__ = "0.1.0"
