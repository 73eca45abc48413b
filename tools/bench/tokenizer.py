"""bpe-tok beside the fastest tokenizers that there are, on the same texts in one run.

    hatch run bench:python tools/bench/tokenizer.py [PART ...] [--rounds 5]

Parts are `arrays`, `lists`, `threads`, `training`, `start`, `pure` and `worst`; all of them if none
is named. Peers that are not installed are left out, with a line that says so.

Texts: `code` is the Python standard library and the packages of this environment; `prose` a
dictionary, `many` manual pages in five languages (Debian's dict-gcide and
manpages-{de,fr,ja,ru,zh}), or files named by --text. The vocabulary is GPT-2's: a folder with
gpt2_vocab.json and gpt2_merges.txt is named by --gpt2, by default the one in TLM_SHARED_DATA.

Figures are CPU seconds, one thread, the sides in turn and the median of the rounds. Ids are
compared before anything is timed. What the sides return is dropped at once: a kept list is paid for
by Python's garbage collector, alike for all sides.
"""

import argparse
import gzip
import importlib.metadata
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import bpe_tok

# The peers read these when they are imported, which is later.
os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

ROOT = Path(__file__).parents[2]
PARTS = ["arrays", "lists", "threads", "training", "start", "pure", "worst"]
Run = Callable[[], object]


def cpu_seconds(run: Run) -> float:
    """Return the CPU time that a call takes, all threads of the process together."""
    started = time.process_time()
    run()
    return time.process_time() - started


def measure(title: str, megabytes: float, rounds: int, sides: dict[str, Callable[[], Run]]) -> None:
    """Time the sides in turn; print the speed of each, and ours as a multiple of it.

    Each side is made anew for a round by a call that is not timed.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, make in sides.items():
            times[name].append(cpu_seconds(make()))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = next(iter(medians.values()))
    print(f"{title}, {megabytes:.1f} MB")
    for name, seconds in medians.items():
        speed = megabytes / seconds
        print(
            f"  {name:24} {seconds:7.3f} s {speed:7.1f} MB/s   x {seconds / ours:5.2f}", flush=True
        )


def installed(name: str) -> bool:
    """Tell whether a peer is installed, and say it if it is not."""
    found = importlib.util.find_spec(name) is not None
    if not found:
        print(f"  ({name} is not installed)")
    return found


def version(distribution: str) -> str:
    """Name a peer with its version."""
    return f"{distribution} {importlib.metadata.version(distribution)}"


# ------------------------------------------------------------------------------------------ texts


def read_texts(paths: Iterable[Path], limit: int) -> str:
    """Join files, compressed or not, up to a number of bytes."""
    texts = []
    size = 0
    for path in paths:
        data = path.read_bytes()
        if path.suffix in (".gz", ".dz"):
            data = gzip.decompress(data)
        text = data.decode(errors="replace")
        texts.append(text)
        size += len(text.encode())
        if size >= limit:
            break
    return "\n".join(texts).encode()[:limit].decode(errors="ignore")


def default_texts() -> dict[str, str]:
    """Collect what this machine has."""
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    sources = (path for folder in folders for path in sorted(Path(folder).rglob("*.py")))
    texts = {"code": read_texts(sources, 60_000_000)}
    dictionary = Path("/usr/share/dictd/gcide.dict.dz")
    if dictionary.exists():
        texts["prose"] = read_texts([dictionary], 40_000_000)
    pages = [
        read_texts(sorted(Path("/usr/share/man", language).rglob("*.gz")), 5_000_000)
        for language in ("de", "fr", "ja", "ru", "zh_CN")
        if Path("/usr/share/man", language).exists()
    ]
    if pages:
        texts["many"] = "\n".join(pages)
    return texts


def documents(text: str, seed: int = 0) -> list[str]:
    """Cut a text into documents of 1 to 4 KB."""
    rng = random.Random(seed)
    cuts = [0]
    while cuts[-1] < len(text):
        cuts.append(cuts[-1] + rng.randrange(1000, 4000))
    return [text[start:end] for start, end in pairwise(cuts)]


# ---------------------------------------------------------------------------------------- the sides


class Peers:
    """The tokenizers with GPT-2's vocabulary, each made anew by a call."""

    def __init__(self, gpt2: Path) -> None:
        """Read the vocabulary once, and write it in the form that most peers read."""
        self.files = gpt2 / "gpt2_vocab.json", gpt2 / "gpt2_merges.txt"
        ours = self.ours()
        self.folder = tempfile.TemporaryDirectory()
        ours.save(self.folder.name)
        self.json = Path(self.folder.name) / "tokenizer.json"

    def ours(self) -> bpe_tok.Tokenizer:
        """Make ours."""
        return bpe_tok.Tokenizer.from_files(*self.files, special_tokens=["<|endoftext|>"])

    def gigatoken(self):
        """Make gigatoken's."""
        import gigatoken

        return gigatoken.Tokenizer.from_json(self.json.read_text(encoding="utf-8"))

    def fastokens(self):
        """Make fastokens'."""
        import fastokens

        return fastokens.Tokenizer.from_file(str(self.json))

    def tiktoken(self):
        """Make tiktoken's."""
        return self.ours().to_tiktoken()

    def hugging_face(self):
        """Make Hugging Face's."""
        import tokenizers

        return tokenizers.Tokenizer.from_file(str(self.json))


def compare_ids(peers: Peers, texts: dict[str, str]) -> None:
    """Stop if any side gives other ids."""
    ours, tiktoken = peers.ours(), peers.tiktoken()
    for name, text in texts.items():
        ids = ours.encode(text)
        assert ids == tiktoken.encode_ordinary(text), f"{name}: tiktoken's ids differ"
        if importlib.util.find_spec("gigatoken"):
            assert ids == peers.gigatoken().encode(text).tolist(), f"{name}: gigatoken's differ"
        if importlib.util.find_spec("fastokens"):
            assert ids == peers.fastokens().encode(text).ids, f"{name}: fastokens' differ"
    print(f"ids equal on {', '.join(texts)}\n")


def bench_arrays(peers: Peers, texts: dict[str, str], rounds: int) -> None:
    """Encode a whole text to an array: a first pass, and one with a warm cache."""
    both = {"code and prose": texts["code"] + texts.get("prose", "")}
    for name, text in {**both, **texts}.items():
        megabytes = len(text.encode()) / 1e6

        def first(make: Callable[[], object], method: str, text: str = text) -> Callable[[], Run]:
            def fresh() -> Run:
                encode = getattr(make(), method)
                return lambda: encode(text)

            return fresh

        def warm(make: Callable[[], object], method: str, text: str = text) -> Callable[[], Run]:
            encode = getattr(make(), method)
            encode(text)
            encode(text)
            return lambda: lambda: encode(text)

        for kind, form in (("first pass", first), ("warm", warm)):
            sides = {"bpe-tok": form(peers.ours, "encode_array")}
            if installed("gigatoken"):
                sides[version("gigatoken")] = form(peers.gigatoken, "encode")
            measure(f"array, {name}, {kind}", megabytes, rounds, sides)


def bench_lists(peers: Peers, texts: dict[str, str], rounds: int) -> None:
    """Encode documents and short strings to lists, one call each, with a warm cache."""
    ours, tiktoken = peers.ours(), peers.tiktoken()
    encoders: dict[str, Callable[[str], object]] = {"bpe-tok": ours.encode}
    if installed("gigatoken"):
        gigatoken = peers.gigatoken()
        encoders[version("gigatoken")] = lambda text: gigatoken.encode(text).tolist()
    if installed("fastokens"):
        fastokens = peers.fastokens()
        encoders[version("fastokens")] = lambda text: fastokens.encode(text).ids
    encoders[version("tiktoken")] = tiktoken.encode_ordinary
    for name, text in texts.items():
        text = text[:10_000_000]
        short = [text[start : start + 50] for start in range(0, len(text) // 4, 50)]
        for kind, strings in (("documents of 1-4 KB", documents(text)), ("50 characters", short)):
            sides = {}
            for side, encode in encoders.items():

                def run(
                    encode: Callable[[str], object] = encode, strings: list[str] = strings
                ) -> None:
                    for string in strings:
                        encode(string)

                run()
                sides[side] = lambda run=run: run
            measure(
                f"lists, {name}, {kind}",
                sum(map(len, map(str.encode, strings))) / 1e6,
                rounds,
                sides,
            )


def bench_threads(peers: Peers, texts: dict[str, str], rounds: int) -> None:
    """Encode a file with one thread and with two: wall time, for once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_text("".join(texts.values()), encoding="utf-8")
        megabytes = path.stat().st_size / 1e6
        tokenizer = peers.ours()
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds + 1):
            for threads, values in times.items():
                started = time.perf_counter()
                for _ids in tokenizer.encode_file(path, threads=threads):
                    pass
                values.append(time.perf_counter() - started)
    one, two = (statistics.median(values[1:]) for values in times.values())
    print(f"encode_file, {megabytes:.1f} MB, wall time")
    print(f"  1 thread  {one:.3f} s\n  2 threads {two:.3f} s   x {one / two:.2f}")


TRAINERS = {
    "bpe-tok": """
import bpe_tok
bpe_tok.train(PATH, SIZE, threads=1)
""",
    "bpe-tok, pure Python": """
import os
os.environ["BPE_TOK_ENGINE"] = "pure"
import bpe_tok
bpe_tok.train(PATH, SIZE, threads=1)
""",
    "gigabpe": """
import gigabpe
gigabpe.train_bpe([PATH], vocab_size=SIZE, pretokenizer="bytelevel", threads=1)
""",
    "gigatoken": """
import gigatoken
gigatoken.train_bpe(__import__("pathlib").Path(PATH), SIZE, [])
""",
    "rustbpe": """
import rustbpe
text = open(PATH, encoding="utf-8").read()
pattern = r"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
rustbpe.Tokenizer().train_from_iterator(iter([text]), SIZE, pattern=pattern)
""",
    "tokenizers": """
import tokenizers
tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
tokenizer.train([PATH], tokenizers.trainers.BpeTrainer(
    vocab_size=SIZE, show_progress=False, initial_alphabet=alphabet))
""",
}
# Not resource's maximum, which a process begins with that of the one it was forked from.
REPORT = """
import re, time
status = open("/proc/self/status").read()
print(time.process_time(), int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024)
"""


def train_apart(code: str, path: Path, size: int) -> tuple[float, float]:
    """Train in a process of its own; return CPU seconds and the peak of memory in MiB."""
    code = f"PATH, SIZE = {str(path)!r}, {size}\n{code}{REPORT}"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    seconds, mebibytes = done.stdout.split()[-2:]
    return float(seconds), float(mebibytes)


def bench_training(texts: dict[str, str], rounds: int, pure: bool) -> None:
    """Train in processes of their own: CPU seconds, start and import included, and memory."""
    everything = texts.get("prose", "") + texts["code"]
    base = texts.get("prose", texts["code"])
    names = ["bpe-tok, pure Python"] if pure else ["bpe-tok"]
    if not pure:
        names += [
            name for name in ("gigabpe", "gigatoken", "rustbpe", "tokenizers") if installed(name)
        ]
    sizes = [10_000] if pure else [10_000, 32_000]
    corpora = {"20 MB of prose": base.encode()[:20_000_000]}
    if not pure:
        corpora["20 MB of code"] = texts["code"].encode()[:20_000_000]
        corpora["100 MB of both"] = everything.encode()[:100_000_000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.txt"
        for corpus, data in corpora.items():
            path.write_text(data.decode(errors="ignore"), encoding="utf-8", newline="")
            for size in sizes:
                results: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
                for turn in range(rounds):
                    for name in names:
                        # The slow ones are far enough behind to be timed once.
                        if turn == 0 or name in ("bpe-tok", "gigabpe", "gigatoken"):
                            results[name].append(train_apart(TRAINERS[name], path, size))
                print(f"training {size} tokens on {corpus}")
                ours = statistics.median(seconds for seconds, _ in results[names[0]])
                for name, values in results.items():
                    seconds = statistics.median(value for value, _ in values)
                    memory = statistics.median(value for _, value in values)
                    line = (
                        f"  {name:24} {seconds:7.2f} s {memory:7.0f} MiB   x {seconds / ours:5.2f}"
                    )
                    print(line, flush=True)


def bench_start(peers: Peers, rounds: int) -> None:
    """Import, and construct from GPT-2's two files."""
    construct = statistics.median(cpu_seconds(peers.ours) for _ in range(rounds))
    code = "import time; t = time.process_time(); import bpe_tok; print(time.process_time() - t)"
    command = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as folder:
        # As it is once installed: compiled before.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        imports = [
            float(subprocess.run(command, check=True, stdout=-1, env=environment).stdout)
            for _ in range(rounds + 1)
        ][1:]
    print(f"construct from GPT-2's files {construct * 1000:.1f} ms")
    print(f"import bpe_tok               {statistics.median(imports) * 1000:.1f} ms")


def bench_pure(gpt2: Path, texts: dict[str, str]) -> None:
    """Encode with the pure engine and with tiktoken, in a process of its own."""
    code = """
import json, sys, time
import bpe_tok
assert bpe_tok.engine == "pure"
gpt2, text = sys.argv[1], sys.stdin.read()
tokenizer = bpe_tok.Tokenizer.from_files(
    gpt2 + "/gpt2_vocab.json", gpt2 + "/gpt2_merges.txt", special_tokens=["<|endoftext|>"]
)
tiktoken = tokenizer.to_tiktoken()
times = []
for encode in (tokenizer.encode, tokenizer.encode, tiktoken.encode_ordinary):
    started = time.process_time()
    encode(text)
    times.append(time.process_time() - started)
print(json.dumps(times))
"""
    for name, text in texts.items():
        text = text[:5_000_000]
        megabytes = len(text.encode()) / 1e6
        done = subprocess.run(
            [sys.executable, "-c", code, str(gpt2)],
            input=text,
            check=True,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "BPE_TOK_ENGINE": "pure", "PYTHONIOENCODING": "utf-8"},
        )
        first, warm, tiktoken = (megabytes / seconds for seconds in json.loads(done.stdout))
        print(
            f"pure Python, {name}, {megabytes:.1f} MB: first pass {first:.1f} MB/s, "
            f"warm {warm:.1f}; tiktoken {tiktoken:.1f}"
        )


def bench_worst(peers: Peers) -> None:
    """Encode hostile texts, a quarter and the whole: linear is 4."""
    rng = random.Random(0)
    texts = {
        "letters, no space": "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=10_000_000)),
        "one letter": "a" * 10_000_000,
        "spaces": " " * 10_000_000,
        "line ends": "\n" * 10_000_000,
        "emoji": "".join(rng.choices("😀😁😂🤣", k=2_500_000)),
        "random bytes": rng.randbytes(10_000_000),
        "contractions": "'s" * 5_000_000,
    }
    for name, text in texts.items():
        tokenizer = peers.ours()
        quarter = cpu_seconds(lambda: tokenizer.encode_array(text[: len(text) // 4]))  # noqa: B023
        whole = cpu_seconds(lambda: tokenizer.encode_array(text))  # noqa: B023
        megabytes = len(text if isinstance(text, bytes) else text.encode()) / 1e6
        print(
            f"worst cases, {name:18} {whole:6.2f} s {megabytes / whole:7.1f} MB/s, "
            f"{whole / quarter:4.1f} times a quarter's"
        )


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--text", type=Path, action="append", help="a text of your own")
    shared = os.environ.get("TLM_SHARED_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--gpt2", type=Path, default=Path(shared), help="folder of GPT-2's files")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    parts = options.parts or PARTS

    print(f"bpe-tok {bpe_tok.__version__}, engine: {bpe_tok.engine}")
    if options.text:
        texts = {path.name: path.read_text(encoding="utf-8") for path in options.text}
        texts = {"code": next(iter(texts.values())), **texts}
    else:
        texts = default_texts()
    peers = Peers(options.gpt2)
    if "arrays" in parts or "lists" in parts:
        compare_ids(peers, {name: text[:10_000_000] for name, text in texts.items()})
    if "arrays" in parts:
        bench_arrays(peers, texts, options.rounds)
    if "lists" in parts:
        bench_lists(peers, texts, options.rounds)
    if "threads" in parts:
        bench_threads(peers, texts, options.rounds)
    if "training" in parts:
        bench_training(texts, options.rounds, pure=False)
    if "start" in parts:
        bench_start(peers, options.rounds)
    if "pure" in parts:
        bench_pure(options.gpt2, texts)
        bench_training(texts, 1, pure=True)
    if "worst" in parts:
        bench_worst(peers)


if __name__ == "__main__":
    main()
