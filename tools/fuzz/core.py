"""Fuzz the core of bpe-tok under sanitizers, and hold it to its pure twin on the way.

    python tools/fuzz/core.py --seconds 30                        AddressSanitizer and UBSan
    python tools/fuzz/core.py --seconds 30 --sanitizer thread     ThreadSanitizer, threads alone

Needs g++ and Python's headers. A failure names its case and prints what went in; `--seed` and
`--case` give it again.
"""

import argparse
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from random import Random
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "packages" / "bpe-tok"
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "libasan.so"),
    "thread": ("-fsanitize=thread", "libtsan.so"),
    "none": ("-fno-omit-frame-pointer", ""),
}
# What stands in place of the number of a case when all are through.
DONE = "done"
# The lines of a leak in LeakSanitizer's report.
LEAK = re.compile(r"^(?:Direct|Indirect) leak of .*?(?=\n\n)", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Compile, run the cases in a process of their own, and tell how it ended."""
    arguments = parse()
    if arguments.inside:
        return run_cases(arguments)
    with tempfile.TemporaryDirectory(prefix="bpe-tok-fuzz-") as name:
        folder = Path(name)
        started = time.perf_counter()
        compile_core(arguments.sanitizer, folder)
        seconds = time.perf_counter() - started
        print(f"compiled with {SANITIZERS[arguments.sanitizer][0]} in {seconds:.0f} s", flush=True)
        command = [sys.executable, __file__, "--inside", name, *sys.argv[1:]]
        environment = sanitizer_environment(arguments.sanitizer)
        report = folder / "report"
        with report.open("wb") as file:
            code = subprocess.run(command, env=environment, stderr=file).returncode
        text = report.read_text(errors="replace")
        progress = folder / "case"
        case = progress.read_text() if progress.exists() else ""
        if case == DONE:
            # Python itself leaves memory behind at the end: a leak counts if the core made it.
            ours = (str(PACKAGE / "core"), "_core.abi3.so")
            leaks = [leak for leak in LEAK.findall(text) if any(name in leak for name in ours)]
            for leak in leaks[:5]:
                print(f"{leak}\n")
            print(f"{len(leaks)} leaks" if leaks else "no leaks", f"with seed {arguments.seed}")
            return 1 if leaks else 0
        print(text)
        if case:
            again = [*command, "--case", case]
            shown = subprocess.run(
                again, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE
            ).stdout.decode(errors="replace")
            print(f"Failed in case {case}, exit code {code}. It was given:\n\n{shown}")
            print(
                f"Again: python tools/fuzz/core.py --sanitizer {arguments.sanitizer} "
                f"--seed {arguments.seed} --case {case} (--whole shows long inputs whole)"
            )
    return 1


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="how long to run (default: 30)")
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed, other cases (default: 0)"
    )
    parser.add_argument("--case", type=int, help="this case alone, with its inputs shown")
    parser.add_argument("--whole", action="store_true", help="show long inputs whole")
    parser.add_argument("--only", help="one kind of check, as encode or train")
    parser.add_argument("--sanitizer", choices=SANITIZERS, default="address")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


def compile_core(sanitizer: str, folder: Path) -> None:
    """Compile the extension for the sanitizer into a folder."""
    command = [
        os.environ.get("CXX", "g++"),
        *("-std=c++17", "-O1", "-g", "-fPIC", "-shared", "-fno-omit-frame-pointer"),
        *(SANITIZERS[sanitizer][0], "-fno-sanitize-recover=all"),
        *("-DPy_LIMITED_API=0x030A0000", f"-I{sysconfig.get_path('include')}"),
        *(str(PACKAGE / "core" / "module.cpp"), "-o", str(folder / "_core.abi3.so")),
    ]
    if subprocess.run(command).returncode:
        sys.exit("the core was not compiled, see above")


def sanitizer_environment(sanitizer: str) -> dict[str, str]:
    """Return the environment in which Python loads what was compiled for the sanitizer."""
    environment = dict(os.environ)
    library = SANITIZERS[sanitizer][1]
    if library:
        compiler = os.environ.get("CXX", "g++")
        asked = [compiler, f"-print-file-name={library}"]
        path = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        # The C++ library too: where the sanitizer comes first it looks for `__cxa_throw` at once.
        asked = [compiler, "-print-file-name=libstdc++.so.6"]
        cpp = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        environment["LD_PRELOAD"] = f"{path} {cpp}"
    # Each object of Python in memory of its own, so that a read past the end of one is seen.
    environment["PYTHONMALLOC"] = "malloc"
    # Whether all went well is told in another way, for leaks of Python's own are no failure.
    environment["ASAN_OPTIONS"] = "detect_leaks=1:malloc_context_size=6"
    environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
    environment["TSAN_OPTIONS"] = "halt_on_error=1"
    environment["BPE_TOK_ENGINE"] = "core"
    return environment


def load_core(folder: Path) -> ModuleType:
    """Import the extension from a folder, in place of the one that may be installed."""
    spec = importlib.util.spec_from_file_location("bpe_tok._core", folder / "_core.abi3.so")
    assert spec and spec.loader
    core = sys.modules["bpe_tok._core"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    return core


def run_cases(arguments: argparse.Namespace) -> int:
    """Run cases until the time is over."""
    sys.path.insert(0, str(PACKAGE / "src"))
    folder = Path(arguments.inside)
    core = load_core(folder)  # first of all, so that bpe_tok finds it

    import checks
    import hostile
    from bpe_tok import _engine, _pure
    from engines import Engines, brief

    assert _engine.implementation is core, "another engine came first"

    def say(what: str, value: object) -> None:
        if arguments.case is not None:
            print(f"{what}:", repr(value) if arguments.whole else brief(value), flush=True)

    engines = Engines(core, _pure, say)
    kinds = {
        checks.encode: 10,
        checks.train: 5,
        checks.decode: 2,
        checks.threads: 1,
        checks.large: 0.05,
        hostile.construct: 4,
        hostile.tokenizer: 4,
        hostile.files: 2,
        hostile.misuse: 1,
    }
    by_name = {check.__name__: check for check in kinds}
    only = arguments.only or ("threads" if arguments.sanitizer == "thread" else None)
    end = time.monotonic() + arguments.seconds
    counts = dict.fromkeys(by_name, 0)
    progress = os.open(folder / "case", os.O_WRONLY | os.O_CREAT)
    for case in itertools.count() if arguments.case is None else [arguments.case]:
        if time.monotonic() > end:
            break
        os.pwrite(progress, str(case).encode(), 0)
        random = Random(f"{arguments.seed} {case}")
        kind = only or random.choices(list(by_name), list(kinds.values()))[0]
        by_name[kind](random, engines)
        counts[kind] += 1
    os.pwrite(progress, DONE.encode(), 0)
    os.ftruncate(progress, len(DONE))
    done = ", ".join(f"{kind} {count}" for kind, count in counts.items() if count)
    print(f"no difference and no error in {sum(counts.values())} cases: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
