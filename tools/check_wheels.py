"""Try the packages that stand alone in clean virtual environments.

Shows that bpe-tok works with neither torch nor numpy there, with and without its compiled core, on
every Python found here, and that tlm-layers and tlm-optim work with none of their siblings:
`hatch build --all dist && hatch run wheels dist`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ABSENT = """
import importlib.util
for name in {absent!r}:
    assert importlib.util.find_spec(name) is None, f"{{name}} is installed"
"""

BPE_TOK = """
import subprocess, sys, tempfile
from pathlib import Path
import bpe_tok
from bpe_tok import Tokenizer, train, train_bpe

assert bpe_tok.engine == {engine!r}, bpe_tok.engine
folder = Path(tempfile.mkdtemp())
(folder / "text.txt").write_text("the cat sat on the mat<|endoftext|>the end")
vocab, merges = train_bpe(folder / "text.txt", 262, special_tokens=["<|endoftext|>"])
assert merges == [(b"t", b"h"), (b"th", b"e"), (b"a", b"t"), (b"s", b"at"), (b"o", b"n")], merges
tokenizer = Tokenizer(vocab, merges, ["<|endoftext|>"])
ids = tokenizer.encode("the hat<|endoftext|>")
assert ids == [258, 32, 104, 259, 256], ids
assert tokenizer.decode(ids) == "the hat<|endoftext|>"
tokenizer.save(folder / "tokenizer")
assert Tokenizer.load(folder / "tokenizer").encode("the hat<|endoftext|>") == ids
try:
    tokenizer.encode_array("the hat")
except ImportError as error:
    assert "bpe-tok[numpy]" in str(error), error
else:
    raise AssertionError("encode_array without numpy")
command = Path(sys.executable).with_name("bpe-tok")
arguments = ["count", "--tokenizer", folder / "tokenizer", folder / "text.txt"]
printed = subprocess.run([command, *arguments], check=True, capture_output=True, text=True).stdout
assert printed.split()[0].isdigit(), printed
"""

TLM_LAYERS = """
import torch
from tlm_layers import ModelConfig, TransformerLM, cross_entropy

model = TransformerLM(ModelConfig(vocab_size=50, context_length=8, d_model=32, num_heads=2))
ids = torch.randint(50, (2, 8))
cross_entropy(model(ids), ids).backward()
"""

TLM_OPTIM = """
import torch
from tlm_optim import AdamW, clip_grad_norm, cosine_schedule

weight = torch.nn.Parameter(torch.ones(3, 2))
optimizer = AdamW([weight], lr=cosine_schedule(3, 1e-2, 1e-3, 2, 10))
weight.square().sum().backward()
clip_grad_norm([weight], 1.0)
optimizer.step()
assert (weight < 1).all()
"""

SIBLINGS = {"bpe_tok", "tlm_layers", "tlm_optim", "tlm_data", "tlm_train"}
# The version of the workspace's own environment.
TORCH = "torch==2.13.*"
# Those that bpe-tok says it runs on.
MINORS = range(10, 14)
QUIET = ["--quiet", "--disable-pip-version-check"]
CORE_TAG, PURE_TAG = "cp310-abi3", "py3-none-any"


def main(dist: Path) -> None:
    """Install and try; any failure ends with its own output and a non-zero code."""
    pythons = find_pythons()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels = {"core": newest(dist, f"bpe_tok-*-{CORE_TAG}-*.whl")}
        wheels["pure"] = build_from_sdist(newest(dist, "bpe_tok-*.tar.gz"), folder)
        for python in pythons.values():
            for engine, wheel in wheels.items():
                code = BPE_TOK.format(engine=engine)
                try_wheel(python, wheel, [], code, {"torch", "numpy"}, folder / "environment")
        for dist_name, code in (("tlm_layers", TLM_LAYERS), ("tlm_optim", TLM_OPTIM)):
            wheel = newest(dist, f"{dist_name}-*.whl")
            try_wheel(Path(sys.executable), wheel, [TORCH], code, set(), folder / "environment")
    if missing := [f"3.{minor}" for minor in MINORS if minor not in pythons]:
        print(f"Not found here, so bpe-tok was not tried on it: Python {', '.join(missing)}")


def newest(folder: Path, pattern: str) -> Path:
    """Return the file of that name that was made last."""
    files = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not files:
        sys.exit(f"{folder} has no {pattern}: hatch build --all {folder}, with a C++ compiler")
    return files[-1]


def find_pythons() -> dict[int, Path]:
    """Return a Python of each minor version: this one, pyenv's and those on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [Path(sys.executable), *sorted(pyenv.glob("versions/3.*/bin/python"))]
    candidates += [Path(f"python3.{minor}") for minor in MINORS]
    found: dict[int, Path] = {}
    ask = "import sys, sysconfig; print(sys.version_info.minor, sys.implementation.name, \
sysconfig.get_config_var('Py_GIL_DISABLED'))"
    for python in candidates:
        try:
            answer = subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout
        except OSError:
            continue
        match = re.fullmatch(r"(\d+) cpython (None|0)\n", answer)
        if match and int(match[1]) >= MINORS.start:
            found.setdefault(int(match[1]), python)
    return dict(sorted(found.items()))


def build_from_sdist(sdist: Path, folder: Path) -> Path:
    """Build wheels from the sdist, each way that the hook has, and return a pure one."""
    no_compiler = {"CC": "/no/such/cc", "CXX": "/no/such/c++"}
    ways = [
        ({"BPE_TOK_BUILD": "require"}, CORE_TAG),
        ({"BPE_TOK_BUILD": "auto", **no_compiler}, PURE_TAG),
        ({"BPE_TOK_BUILD": "skip"}, PURE_TAG),
    ]
    for number, (variables, tag) in enumerate(ways):
        target = folder / f"wheels-{number}"
        command = [sys.executable, "-m", "pip", "wheel", *QUIET, "--no-deps", "-w", target, sdist]
        subprocess.run(command, check=True, env=os.environ | variables)
        (wheel,) = target.iterdir()
        says = " ".join(f"{name}={value}" for name, value in variables.items())
        assert f"-{tag}" in wheel.name, f"{says} made {wheel.name}"
        print(f"{sdist.name}: {wheel.name} with {says}", flush=True)
    return wheel


def try_wheel(
    python: Path, wheel: Path, extra: list[str], code: str, absent: set[str], environment: Path
) -> None:
    """Run the code where nothing but the wheel and what it needs is installed."""
    subprocess.run([python, "-m", "venv", "--clear", environment], check=True)
    inner = environment / "bin" / "python"
    subprocess.run([inner, "-m", "pip", "install", *QUIET, *extra, wheel], check=True)
    missing = sorted(absent | SIBLINGS - {wheel.name.partition("-")[0]})
    # In an empty folder, so that nothing is imported from the sources.
    with tempfile.TemporaryDirectory() as empty:
        script = Path(empty, "try_wheel.py")
        script.write_text(ABSENT.format(absent=missing) + code)
        if subprocess.run([inner, script], cwd=empty).returncode:
            sys.exit(f"{wheel.name} does not work on {python}, see above")
    version = subprocess.run([inner, "--version"], check=True, capture_output=True, text=True)
    print(
        f"{wheel.name}: works alone on {version.stdout.strip()}, without {', '.join(missing)}",
        flush=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
