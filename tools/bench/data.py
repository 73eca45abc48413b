"""tlm-data beside nanoGPT's loader, torch's DataLoader, litdata and grain, in one run.

    hatch run bench-data:python tools/bench/data.py [serve large wait prepare] [--nanogpt FOLDER]
        [--contexts 256 1024] [--tokens 50000000] [--rounds 7] [--seconds 0.5]

- serve: batches of 32 windows, int64, of tokens in memory. The sides take turns, and each gives as
  many batches a turn as fit in some time; figures are medians over turns, of wall time and of the
  CPU time of the process and its children. `packed` rows are of documents of lognormal lengths,
  with the mean in their name; packing is in the figure.
- wait: the share of a training step that waits for its batch, with tlm-train's default model.
- prepare: see data_prepare.py.
- large: a store of 100 billion tokens in sparse files: seconds to the first batch from opening the
  store on, and the growth of memory that is the process's own over 300 batches.

The DataLoader reads whole batches in its workers (`batch_size=None`) by the quickest gather that
we know, so that what it costs is the DataLoader itself. litdata and grain read windows of the same
tokens, as their own documentation has it. nanoGPT is on no registry: give the folder of a clone. A
peer that is not installed is left out.
"""

import argparse
import ast
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import data_prepare
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from tlm_data import (
    EpochWindows,
    Loader,
    Mixture,
    PackedDocuments,
    RandomWindows,
    TokenStore,
    TokenStoreWriter,
)

BATCH, VOCAB_SIZE = 32, 50_257
PARTS = ("serve", "large", "wait", "prepare")
NextBatch = Callable[[], object]


def write_store(path: Path, num_tokens: int, mean_length: int) -> TokenStore:
    """Random tokens in documents of lognormal lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(mean_length) - 0.5, 1.0, num_tokens // mean_length)
    with TokenStoreWriter(path, vocab_size=VOCAB_SIZE, tokenizer_fingerprint="bench") as writer:
        for length in lengths.astype(int).tolist():
            writer.add(rng.integers(0, VOCAB_SIZE, length + 2), num_bytes=4 * length)
    return TokenStore.open(path)


def nanogpt(folder: Path, data: Path, context: int) -> NextBatch:
    """The function get_batch of nanoGPT's train.py, as it stands there."""
    tree = ast.parse((folder / "train.py").read_text())
    function = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_batch"
    )
    names = {
        **{"np": np, "torch": torch, "os": os, "data_dir": str(data)},
        **{"block_size": context, "batch_size": BATCH, "device_type": "cpu", "device": "cpu"},
    }
    exec(compile(ast.Module([function], []), "train.py", "exec"), names)
    return lambda: names["get_batch"]("train")


class PrebatchedWindows(torch.utils.data.Dataset):
    """Whole batches of random windows, for a DataLoader that only passes them on."""

    def __init__(self, file: Path, context: int) -> None:
        tokens = np.asarray(np.memmap(file, dtype="<u2", mode="r"))
        self.windows = sliding_window_view(tokens, context + 1)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([0, number])
        windows = self.windows[rng.integers(0, len(self.windows), BATCH)].astype(np.int64)
        rows = torch.from_numpy(windows)
        return rows[:, :-1], rows[:, 1:]


def endless(make: Callable[[], Iterator[object]]) -> NextBatch:
    """Start an iterator again when it ends."""
    state = SimpleNamespace(iterator=iter(()))

    def following() -> object:
        try:
            return next(state.iterator)
        except StopIteration:
            state.iterator = iter(make())
            return next(state.iterator)

    return following


def dataloader(file: Path, context: int, workers: int) -> NextBatch:
    """Torch's DataLoader, with batches made in its workers."""
    loader = torch.utils.data.DataLoader(
        PrebatchedWindows(file, context),
        batch_size=None,
        sampler=range(1 << 40),
        num_workers=workers,
        prefetch_factor=8 if workers else None,
    )
    return endless(lambda: iter(loader))


def litdata(store: TokenStore, folder: Path, context: int, workers: int) -> NextBatch:
    """Litdata's streaming of tokens, from chunks of 64 MB on the local disk."""
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader
    from litdata.streaming.writer import BinaryWriter

    out = folder / f"litdata-{context}"
    out.mkdir()
    block = context + 1
    # Its writer cuts chunks at whole items; a store of tokens is written in one long item a chunk.
    writer = BinaryWriter(str(out), chunk_bytes="64MB", item_loader=TokensLoader(block))
    step = block * 8192
    for number, first in enumerate(range(0, len(store) - step, step)):
        writer[number] = torch.from_numpy(store[first : first + step].astype(np.int32))
    writer.done()
    writer.merge()
    dataset = StreamingDataset(str(out), item_loader=TokensLoader(block), shuffle=True)
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers)

    def batches() -> Iterator[object]:
        for batch in loader:
            rows = batch.long()
            yield rows[:, :-1], rows[:, 1:]

    return endless(batches)


def grain(store: TokenStore, context: int) -> NextBatch:
    """Grain's MapDataset: shuffled windows, mapped and batched in threads."""
    import grain.python as pygrain

    tokens = store.shards[0]
    starts = range(0, len(tokens) - context - 1, context)

    def window(start: int) -> dict[str, np.ndarray]:
        row = tokens[start : start + context + 1].astype(np.int64)
        return {"x": row[:-1], "y": row[1:]}

    dataset = pygrain.MapDataset.source(starts).shuffle(seed=0).map(window).batch(BATCH)
    return endless(lambda: iter(dataset.to_iter_dataset()))


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended or still run."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    ticks = os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for child in children.read_text().split() if children.exists() else []:
        fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def serve(context: int, options: argparse.Namespace, folder: Path, stores: dict) -> None:
    """Measure all sides, in turns."""
    main = stores[700]
    sides: dict[str, NextBatch] = {}

    def ours(name: str, samples: object, world_size: int = 1) -> None:
        loader = Loader(samples, BATCH * world_size, world_size=world_size)
        sides[f"tlm {name}"] = lambda: next(loader)

    ours("random", RandomWindows(main, context, seed=0))
    ours("epochs", EpochWindows(main, context, seed=0))
    ours("epochs, one of 8 ranks", EpochWindows(main, context, seed=0), world_size=8)
    for mean, store in stores.items():
        ours(f"packed, mean {mean}", PackedDocuments(store, context, seed=0))
    halves = [(RandomWindows(store, context, seed=0), 1) for store in stores.values()]
    ours("mixture of two random", Mixture(halves))
    file = next((main.path).glob("*.bin"))
    if options.nanogpt:
        data = folder / "nanogpt"
        data.mkdir(exist_ok=True)
        if not (data / "train.bin").exists():
            (data / "train.bin").symlink_to(file)
        sides["nanoGPT"] = nanogpt(options.nanogpt, data, context)
    for workers in (0, 1, 2):
        sides[f"torch DataLoader, {workers} workers"] = dataloader(file, context, workers)
    if importlib.util.find_spec("litdata"):
        for workers in (0, 2):
            place = folder / f"workers-{workers}"
            place.mkdir(exist_ok=True)
            sides[f"litdata, {workers} workers"] = litdata(main, place, context, workers)
    if importlib.util.find_spec("grain"):
        sides["grain"] = grain(main, context)

    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds + 1):  # the first is for warming up
        for name, following in sides.items():
            # What its threads and workers made ahead meanwhile is used up before time is taken.
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < options.seconds / 2:
                following()
            # A group of packed documents is packed at once: only whole groups are fair.
            least = 2 * (1 << 23) // (BATCH * context) if "packed" in name else 1
            used, started = cpu_seconds(), time.perf_counter()
            while time.perf_counter() - started < options.seconds or count < least:
                following()
                count += 1
            if turn:
                wall[name].append((time.perf_counter() - started) / count)
                cpu[name].append((cpu_seconds() - used) / count)
            if not name.startswith("tlm"):
                time.sleep(1)  # until they have made enough ahead, and are idle
    print(f"\ncontext {context}, batch {BATCH}: medians of {options.rounds} turns")
    print(f"{'':32}{'us a batch':>12}{'CPU us':>10}{'Mtokens/s':>12}{'random is':>12}")
    base = statistics.median(wall["tlm random"])
    for name in sides:
        seconds, used = statistics.median(wall[name]), statistics.median(cpu[name])
        rate = BATCH * context / seconds / 1e6
        print(
            f"{name:32}{seconds * 1e6:12.1f}{used * 1e6:10.1f}{rate:12.1f}{seconds / base:11.2f}x",
            flush=True,
        )


def write_large(path: Path, like: TokenStore, num_tokens: int = 100_000_000_000) -> None:
    """Sparse shards, and one index under as many names as there are shards."""
    path.mkdir()
    lengths = np.random.default_rng(0).lognormal(6.05, 1, size=2**20).astype(np.int64) + 2
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
    (path / "shard-00000.idx").write_bytes(offsets.tobytes())
    shards = []
    for number in range(-(-num_tokens // int(offsets[-1]))):
        file, index = f"shard-{number:05d}.bin", f"shard-{number:05d}.idx"
        with (path / file).open("wb") as tokens:
            tokens.truncate(2 * int(offsets[-1]))
        if number:
            (path / index).hardlink_to(path / "shard-00000.idx")
        entry = {"file": file, "index": index, "num_tokens": int(offsets[-1])}
        shards.append(like.meta["shards"][0] | entry | {"num_documents": len(lengths)})
    totals = ("num_tokens", "num_documents", "num_bytes")
    meta = like.meta | {"shards": shards}
    meta |= {name: sum(shard[name] for shard in shards) for name in totals}
    (path / "meta.json").write_text(json.dumps(meta))


LARGE = """
import sys, time
import tlm_data
def own_memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
kind = getattr(tlm_data, sys.argv[1])
def first(path, seed):
    started = time.perf_counter()
    loader = tlm_data.Loader(kind(tlm_data.TokenStore.open(path), 1024, seed=seed), 32)
    next(loader)
    return time.perf_counter() - started, loader
small, _ = first(sys.argv[2], 0)
before = own_memory()
times, loader = zip(*(first(sys.argv[3], seed) for seed in range(5)))
loader = loader[-1]
for _ in range(300):
    next(loader)
print(sorted(times)[2], max(times), own_memory() - before)
"""


def large(folder: Path, like: TokenStore) -> None:
    """Time to the first batch of 100 billion tokens, and memory."""
    write_large(folder / "large", like)
    tokens = len(TokenStore.open(folder / "large"))
    print(f"\nsparse store of {tokens:,} tokens, context 1024: first batch from `open` on")
    for kind in ("RandomWindows", "EpochWindows", "PackedDocuments"):
        command = [sys.executable, "-c", LARGE, kind, str(like.path), str(folder / "large")]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        median, worst, memory = map(float, out.split())
        print(
            f"{kind:20} median {median:.4f} s, worst of 5 {worst:.4f} s, memory {memory:+.0f} MiB"
        )


def wait(store: TokenStore, rounds: int) -> None:
    """Measure steps of the default model, and what they wait for data."""
    from tlm_layers import ModelConfig, TransformerLM
    from tlm_optim import AdamW, clip_grad_norm

    model = TransformerLM(ModelConfig())
    optimizer = AdamW(model.parameters(), lr=1e-3)
    context, vocab_size = model.config.context_length, model.config.vocab_size
    loader = Loader(RandomWindows(store, context, seed=0), 4)
    waits, steps = [], []
    for _ in range(20 * rounds):
        started = time.perf_counter()
        batch = next(loader)
        waits.append(time.perf_counter() - started)
        model.loss(batch.inputs % vocab_size, batch.targets % vocab_size).backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        steps.append(time.perf_counter() - started)
    waited, took = statistics.median(waits[5:]), statistics.median(steps[5:])
    print(
        f"\ndefault model, batch 4 x {context}: a step {took * 1e3:.1f} ms, "
        f"of which it waits {waited * 1e3:.3f} ms ({waited / took:.2%})"
    )


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--contexts", nargs="+", type=int, default=[256, 1024])
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    print(f"torch {version('torch')}, numpy {version('numpy')}, {os.cpu_count()} CPUs")
    if not options.parts or "prepare" in options.parts:
        data_prepare.run(options.rounds)
    if options.parts == ["prepare"]:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {
            mean: write_store(folder / f"mean-{mean}", options.tokens, mean) for mean in (700, 150)
        }
        # First, since peers' threads go on after their turn.
        if not options.parts or "large" in options.parts:
            large(folder, stores[700])
        if not options.parts or "wait" in options.parts:
            wait(stores[700], options.rounds)
        if not options.parts or "serve" in options.parts:
            for context in options.contexts:
                serve(context, options, folder, stores)


if __name__ == "__main__":
    main()
