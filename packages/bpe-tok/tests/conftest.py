"""The two engines, and a corpus and a tokenizer that several test modules use."""

import argparse
import json
import pathlib
from collections.abc import Iterator

import bpe_tok
import pytest
from bpe_tok import _engine

SPECIALS = ["<|endoftext|>", "<|end|>", "<|end|><|end|>", "<|pad 0|>", "été"]


@pytest.fixture(scope="session", params=["pure", "core"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test with each engine."""
    try:
        name, implementation = _engine.choose(request.param)
    except ImportError:
        pytest.skip("the engine in C++ is not built (BPE_TOK_BUILD=require builds it or says why)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_engine, "name", name)
        patch.setattr(_engine, "implementation", implementation)
        yield name


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
def trained(corpus: list[str], engine: str) -> bpe_tok.Tokenizer:
    return bpe_tok.train(corpus, 1000, SPECIALS)
