"""The part `prepare` of data.py: text to token files, beside datasets and datatrove.

The text is the standard library's own sources, again and again in another order, each file a
document that ends with `<|endoftext|>`. The tokenizer is trained on it, and its `tokenizer.json`
is what all sides use. datasets and datatrove, much slower, get the first part of the same
documents, as JSONL.
"""

import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bpe_tok
from tlm_data import END_OF_TEXT
from tlm_data.corpora import stdlib_files

COPIES, PEER_BYTES, VOCAB_SIZE = 40, 6_000_000, 32_768


def documents() -> list[str]:
    """The sources, in `COPIES` different orders."""
    texts = [Path(file.url).read_text(encoding="utf-8") for file in stdlib_files()]
    texts = [text for text in texts if text.strip()]
    order = random.Random(0)
    return [text for _ in range(COPIES) for text in order.sample(texts, len(texts))]


def write_inputs(folder: Path) -> tuple[int, int]:
    """Write the text, the peers' part of it and the tokenizer; return the bytes of both."""
    texts = documents()
    (folder / "text.txt").write_text(END_OF_TEXT.join(texts), encoding="utf-8")
    size = 0
    with (folder / "part.jsonl").open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
            size += len(text.encode())
            if size > PEER_BYTES:
                break
    tokenizer = bpe_tok.train(texts[: len(texts) // COPIES], VOCAB_SIZE, [END_OF_TEXT])
    tokenizer.save(folder / "tokenizer")
    return (folder / "text.txt").stat().st_size, size


def encode_file(folder: Path, *, with_output: bool) -> None:
    """bpe-tok alone, in this process, without or with its ids written to a file."""
    tokenizer = bpe_tok.Tokenizer.load(folder / "tokenizer")
    with (folder / "ids.bin").open("wb") as out:
        for ids in tokenizer.encode_file(folder / "text.txt", threads=1):
            if with_output:
                ids.tofile(out)


def prepare(folder: Path, workers: int) -> None:
    """`tlm-data prepare`, the whole command."""
    command = [sys.executable, "-m", "tlm_data", "prepare", str(folder / "text.txt")]
    command += ["--tokenizer", str(folder / "tokenizer"), "--out", str(folder / "out")]
    command += ["--separator", END_OF_TEXT, "--workers", str(workers)]
    command += ["--engine", "inprocess" if workers == 1 else "processes"]
    os.execv(sys.executable, command)


def datasets_map(folder: Path) -> None:
    """Hugging Face datasets: a batched map of the tokenizer, in one process."""
    import datasets
    import tokenizers

    datasets.disable_progress_bars()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    end = tokenizer.token_to_id(END_OF_TEXT)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer.encode_batch(batch["text"], add_special_tokens=False)
        return {"ids": [[*one.ids, end] for one in encoded]}

    loaded = datasets.load_dataset(
        "json", data_files=str(folder / "part.jsonl"), cache_dir=str(folder / "out"), split="train"
    )
    loaded.map(encode, batched=True, remove_columns=["text"])


def datatrove(folder: Path) -> None:
    """datatrove: its reader and its DocumentTokenizer, in one process."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(str(folder), glob_pattern="part.jsonl"),
            DocumentTokenizer(
                str(folder / "out"),
                tokenizer_name_or_path=str(folder / "tokenizer" / "tokenizer.json"),
                eos_token=END_OF_TEXT,
                shuffle_documents=False,
            ),
        ],
        logging_dir=str(folder / "out" / "logs"),
    ).run()


SIDES: dict[str, Callable[[Path], None]] = {
    "start": lambda folder: None,
    "encode_file": lambda folder: encode_file(folder, with_output=False),
    "encode_file to a file": lambda folder: encode_file(folder, with_output=True),
    "prepare": lambda folder: prepare(folder, workers=1),
    "prepare, 2 processes": lambda folder: prepare(folder, workers=2),
    "datasets.map": datasets_map,
    "datatrove": datatrove,
}


def measure(side: str, folder: Path) -> tuple[float, float]:
    """Run a side in a process of its own; return its wall and its CPU seconds."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, __file__, side, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(rounds: int) -> None:
    """Measure all sides in turns and print medians; the time to start a process is taken off."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text_bytes, part_bytes = write_inputs(folder)
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side in SIDES:
                times[side].append(measure(side, folder))
        print(f"\nprepare: {text_bytes / 1e6:.0f} MB of text, {part_bytes / 1e6:.0f} for peers")
        print(f"{'':24}{'wall s':>10}{'CPU s':>10}{'MB/s':>10}{'MB/CPU s':>10}")
        medians = {
            side: [statistics.median(column) for column in zip(*rows, strict=True)]
            for side, rows in times.items()
        }
        start = medians.pop("start")
        for side, seconds in medians.items():
            num_bytes = part_bytes if side in ("datasets.map", "datatrove") else text_bytes
            wall, cpu = (total - offset for total, offset in zip(seconds, start, strict=True))
            rates = f"{num_bytes / wall / 1e6:10.1f}{num_bytes / cpu / 1e6:10.1f}"
            print(f"{side:24}{wall:10.2f}{cpu:10.2f}{rates}", flush=True)


if __name__ == "__main__":
    SIDES[sys.argv[1]](Path(sys.argv[2]))
