"""A corpus and a tokenizer that several test modules use."""

import argparse
import json
import pathlib

import bpe_tok
import pytest

SPECIALS = ["<|endoftext|>", "<|end|>", "<|end|><|end|>", "<|pad 0|>", "été"]


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """Real texts that are on every machine, and some that are not English."""
    sources = [pathlib.Path(module.__file__) for module in (argparse, json, json.decoder)]
    documents = [source.read_text(encoding="utf-8") for source in sources]
    return [
        *documents,
        "Die Käuferin zählt 1.234 Äpfel: »schön«!\r\n\r\n",
        "日本語の文。\n\n  그리고",
    ]


@pytest.fixture(scope="session")
def trained(corpus: list[str]) -> bpe_tok.Tokenizer:
    return bpe_tok.train(corpus, 1000, SPECIALS)
