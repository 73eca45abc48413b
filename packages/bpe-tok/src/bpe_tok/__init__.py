"""Byte-level BPE tokenizer: train, encode, decode, with an engine in C++ and one in Python."""

from bpe_tok._engine import name as engine
from bpe_tok.pretokenize import PATTERNS
from bpe_tok.stream_decoder import StreamDecoder
from bpe_tok.tokenizer import Tokenizer
from bpe_tok.trainer import train, train_bpe

__all__ = ["PATTERNS", "StreamDecoder", "Tokenizer", "engine", "train", "train_bpe"]
__version__ = "0.1.0"
