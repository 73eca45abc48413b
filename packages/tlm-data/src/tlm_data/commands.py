"""What the commands do: each wires the parts and talks to the user."""

import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from tlm_data import cli
from tlm_data.corpora import NAMED_CORPORA, NamedCorpus, fetch_corpus, find_corpus
from tlm_data.inspection import inspect_store
from tlm_data.prepare import prepare_files
from tlm_data.prepared import Prepared
from tlm_data.progress import ProgressDisplay
from tlm_data.read_options import ReadOptions
from tlm_data.shard_job import DocumentOptions
from tlm_data.sources import Format, OnSkipped, SourceFile, find_files
from tlm_data.token_store import TokenStore
from tlm_data.tokenizer import BpeTokenizer

_RATE_SECONDS = 0.1  # what took less says nothing about the speed


def prepare(options: cli.Prepare) -> None:
    """Make a corpus, with progress, and say what it holds."""
    skipped: Counter[str] = Counter()

    def on_skipped(name: str, why: str) -> None:
        skipped[why] += 1

    if not options.sources:
        raise ValueError("name at least one file, folder, glob or URL to prepare")
    _require_outside(options.out, (*options.sources, *options.val))
    separator = None if options.separator is None else _unescaped(options.separator)
    documents = DocumentOptions(
        read=ReadOptions(separator=separator, field=options.field, errors=options.errors),
        min_document_bytes=options.min_document_bytes,
        max_document_bytes=options.max_document_bytes,
        val_fraction=options.val_fraction,
    )
    tokenizer = BpeTokenizer(
        options.tokenizer, end_token=options.end_token, append_end=options.append_eot
    )
    train_files = _find(options.sources, options.format, on_skipped)
    val_files = _find(options.val, options.format, on_skipped)
    with ProgressDisplay(Console()) as progress:
        for why, count in skipped.items():
            progress.say(f"left out {_count(count, 'file')}: {why}")
        try:
            prepared = prepare_files(
                train_files,
                options.out,
                tokenizer=tokenizer,
                val_files=val_files,
                documents=documents,
                max_tokens=options.max_tokens,
                engine=options.engine,
                num_workers=options.workers,
                ray_address=options.ray_address,
                rank=options.rank,
                world_size=options.world_size,
                on_progress=_with_rate(progress),
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    print(_summary(prepared))
    if prepared.is_complete and options.max_tokens is not None:
        num_tokens = prepared.sides["train"].num_tokens
        if num_tokens < options.max_tokens:
            print(f"the text has fewer than the {options.max_tokens:,} tokens asked for")


def _unescaped(separator: str) -> str:
    """Return a separator with the characters that are hard to give on a command line."""
    characters = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
    return re.sub(r"\\([nrt\\])", lambda match: characters[match[1]], separator)


def _require_outside(out: Path, sources: Sequence[str]) -> None:
    """Raise ValueError if a corpus would be made where its own text is looked for."""
    for source in sources:
        folder = Path(source).expanduser()
        is_folder = "://" not in source and source not in _named() and folder.is_dir()
        if is_folder and out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"out={out} lies in the source {source}, where it would be read as text: choose a "
                "folder outside of it"
            )


def _named() -> dict[str, NamedCorpus]:
    return {corpus.name: corpus for corpus in NAMED_CORPORA}


def _find(sources: Sequence[str], format: Format | None, on_skipped: OnSkipped) -> list[SourceFile]:
    """List the files of sources, which may also be corpora that every machine has."""
    names: list[str] = []
    for source in sources:
        corpus = _named().get(source)
        if corpus is None:
            names.append(source)
            continue
        # A corpus made of it may well have its name, and is not to be taken for the text.
        if Path(source).exists():
            on_skipped(source, f"the corpus {source} was meant; the file or folder is ./{source}")
        if corpus.train_urls:
            raise ValueError(
                f"{source} is not on this machine yet: tlm-data download {source}, then name its "
                f"files (a file or folder of this name is ./{source})"
            )
        names += [file.url for file in fetch_corpus(corpus, "data")[0]]
    return find_files(names, format=format, on_skipped=on_skipped)


def _with_rate(progress: ProgressDisplay) -> Callable[[str, int, int], None]:
    start: tuple[float, int] | None = None
    name = ""

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal start, name
        now = time.monotonic()
        # What was done by an earlier call says nothing about the speed of this one.
        if start is None or stage != name:
            start, name = (now, done), stage
        seconds = now - start[0]
        facts = f"{_size(done)} of {_size(total)}"
        if seconds > _RATE_SECONDS:
            facts += f"  {_size((done - start[1]) / seconds)}/s"
        progress.update(stage, done, total, facts)

    return on_progress


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _summary(prepared: Prepared) -> str:
    if not prepared.is_complete:
        return (
            f"this part is done; {prepared.shards_done} of {prepared.num_shards} shards are, and "
            "the last process of the array to finish lets the corpus appear"
        )
    lines = [f"{prepared.path}{' was prepared already' if prepared.was_there else ''}"]
    for side, counts in prepared.sides.items():
        lines.append(
            f"{side:<8}{_count(counts.num_tokens, 'token')} of "
            f"{_count(counts.num_documents, 'document')}, "
            f"{_size(counts.num_bytes)}, {counts.bytes_per_token:.2f} bytes a token, "
            f"the longest {_count(counts.longest_document_tokens, 'token')}"
        )
    if prepared.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in prepared.dropped.items())
        lines.append(f"left out {_count(sum(prepared.dropped.values()), 'document')}: {reasons}")
    if prepared.num_replaced:
        lines.append(
            f"mended {_count(prepared.num_replaced, 'document')} with bytes that are not UTF-8"
        )
    return "\n".join(lines)


def inspect(options: cli.Inspect) -> None:
    """Show the statistics of a store, or of those of a corpus."""
    path = Path(options.path)
    tokenizer_folder = options.tokenizer
    if tokenizer_folder is None:
        near = [path / "tokenizer", path.parent / "tokenizer"]
        tokenizer_folder = next((folder for folder in near if folder.is_dir()), None)
    tokenizer = BpeTokenizer(tokenizer_folder, append_end=False) if tokenizer_folder else None
    for number, store in enumerate(_stores(options.path)):
        if number:
            print()
        if tokenizer and store.tokenizer_fingerprint not in (None, tokenizer.fingerprint):
            raise ValueError(
                f"{store.path} was made with another tokenizer than {tokenizer_folder}: name the "
                "right one with --tokenizer"
            )
        print(inspect_store(store, tokenizer, samples=options.samples, seed=options.seed))


def verify(options: cli.Verify) -> None:
    """Check the files of a store, or of those of a corpus."""
    for store in _stores(str(options.path)):
        with ProgressDisplay(Console()) as progress:
            store.verify(partial(_with_rate(progress), f"verify {store.path.name}"))
        print(
            f"{store.path} is whole: {len(store):,} tokens in {_count(len(store.shards), 'shard')}"
        )


def download(options: cli.Download) -> None:
    """Fetch a named corpus, and say how to go on."""
    corpus = find_corpus(options.name)
    with ProgressDisplay(Console()) as progress:
        try:
            train, val = fetch_corpus(corpus, options.out, on_progress=_with_rate(progress))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    if not corpus.train_urls:
        size = _size(sum(file.size_bytes for file in train))
        print(f"{corpus.name} is on this machine, {size} in {len(train)} files; go on with")
        sources, held_out = corpus.name, " --val-fraction 0.1"
    else:
        sources = shlex.join(file.url for file in train)
        held_out = f" --val {shlex.join(f.url for f in val)}" if val else " --val-fraction 0.001"
    print(f"tlm-data prepare {sources}{held_out} --tokenizer TOKENIZER --out {corpus.name}-corpus")


def corpora(options: cli.Corpora) -> None:
    """List the named corpora."""
    for corpus in NAMED_CORPORA:
        print(f"{corpus.name:<20}{corpus.description}")
        print(f"{'':<20}{corpus.size}; licence {corpus.licence}")


def _stores(path: str) -> list[TokenStore]:
    """Open a store, or the stores of a corpus."""
    sides = [Path(path) / side for side in ("train", "val")]
    if sides[0].is_dir():
        return [TokenStore.open(side) for side in sides if side.is_dir()]
    return [TokenStore.open(path)]
