"""bpe-tok beside tiktoken and Hugging Face tokenizers, on the same text in one process.

    hatch run python tools/bench/tokenizer.py [--megabytes 8] [--rounds 5] [--vocab-size 4096]

The text is the Python standard library's sources. Each side trains (tiktoken cannot) and encodes;
the encoders share one vocabulary, and their ids are compared before anything is timed. Figures are
medians of CPU seconds, sides interleaved, one thread.
"""

import os

os.environ["RAYON_NUM_THREADS"] = os.environ["TOKENIZERS_PARALLELISM"] = "1"

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bpe_tok
import tiktoken
import tokenizers
from bpe_tok.pretokenize import GPT2_PATTERN
from tlm_data import stdlib_files


def cpu_seconds(run: Callable[[], object]) -> float:
    """Return the CPU time that a call takes, all threads of the process together."""
    started = time.process_time()
    run()
    return time.process_time() - started


def measure(sides: dict[str, Callable[[], object]], rounds: int, megabytes: float) -> None:
    """Time the sides in turn and print each one's speed and its ratio to the first."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            times[name].append(cpu_seconds(run))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = next(iter(medians.values()))
    for name, seconds in medians.items():
        speed, ratio = megabytes / seconds, seconds / ours
        print(f"  {name:32} {seconds:8.3f} s  {speed:7.2f} MB/s  ours is {ratio:5.2f} x as fast")


def train_hf(documents: list[str], vocab_size: int) -> tokenizers.Tokenizer:
    """Train Hugging Face's BPE with the same pretokens and size."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab-size", type=int, default=4096)
    options = parser.parse_args()

    documents: list[str] = []
    size = 0
    for path in stdlib_files():
        if size >= options.megabytes * 1e6:
            break
        documents.append(path.read_text(encoding="utf-8"))
        size += len(documents[-1].encode())
    megabytes = size / 1e6
    print(f"{len(documents)} documents, {megabytes:.1f} MB")

    print(f"training {options.vocab_size} tokens")
    sides: dict[str, Callable[[], object]] = {
        "bpe-tok": lambda: bpe_tok.train(documents, options.vocab_size),
        f"tokenizers {tokenizers.__version__}": lambda: train_hf(documents, options.vocab_size),
    }
    measure(sides, options.rounds, megabytes)

    ours = bpe_tok.train(documents, options.vocab_size)
    ranks = {token: token_id for token_id, token in ours.vocab.items()}
    theirs = tiktoken.Encoding(
        "ours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    with tempfile.TemporaryDirectory() as folder:
        ours.save(folder)
        hf = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    for document in documents:
        ids = ours.encode(document)
        assert ids == theirs.encode_ordinary(document) == hf.encode(document).ids

    def fresh() -> None:
        cold = bpe_tok.Tokenizer(ours.vocab, ours.merges)
        for document in documents:
            cold.encode(document)

    print("encoding, ids equal")
    sides = {
        "bpe-tok, warm cache": lambda: [ours.encode(d) for d in documents],
        "bpe-tok, cold cache": fresh,
        f"tiktoken {tiktoken.__version__}": lambda: [theirs.encode_ordinary(d) for d in documents],
        f"tokenizers {tokenizers.__version__}": lambda: [hf.encode(d).ids for d in documents],
    }
    measure(sides, options.rounds, megabytes)


if __name__ == "__main__":
    main()
