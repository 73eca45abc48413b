import os
import subprocess
import sys

import pytest
from bpe_tok import _engine, _pure


def run(code: str, engine: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "BPE_TOK_ENGINE"}
    if engine is not None:
        environment["BPE_TOK_ENGINE"] = engine
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_core_is_taken_if_it_is_there() -> None:
    try:
        expected, implementation = _engine.choose("core")
    except ImportError:
        expected, implementation = "pure", _pure
    assert _engine.choose("auto") == (expected, implementation)
    assert _engine.choose("pure") == ("pure", _pure)
    for wanted, name in [(None, expected), ("auto", expected), ("", expected), ("pure", "pure")]:
        result = run("import bpe_tok; print(bpe_tok.engine)", wanted)
        assert result.stdout == f"{name}\n", result.stderr


# As if it had not been built.
WITHOUT_CORE = "import sys; sys.modules['bpe_tok._core'] = None; import bpe_tok; "


def test_without_the_core() -> None:
    result = run(WITHOUT_CORE + "print(bpe_tok.engine, bpe_tok.train(['aa'], 257).merges)", None)
    assert result.stdout == "pure [(b'a', b'a')]\n", result.stderr
    result = run(WITHOUT_CORE, "core")
    assert "ImportError: BPE_TOK_ENGINE=core, but the core cannot be imported" in result.stderr
    assert "with BPE_TOK_BUILD=require" in result.stderr


def test_a_wrong_name() -> None:
    with pytest.raises(ValueError, match="BPE_TOK_ENGINE='rust' must be auto, core or pure"):
        _engine.choose("rust")


def test_what_an_import_brings() -> None:
    code = "import bpe_tok, sys; print({'regex', 'numpy', 'concurrent.futures'} & {*sys.modules})"
    result = run(code, None)
    assert result.stdout == "set()\n", result.stderr


def test_both_engines_have_the_same_names() -> None:
    core = pytest.importorskip("bpe_tok._core", reason="the engine in C++ is not built")
    for name in _pure.__all__:
        if name == "Learner" and not hasattr(core, name):
            continue  # made by a counter alone
        ours, theirs = getattr(_pure, name), getattr(core, name)
        public = {member for member in dir(ours) if not member.startswith("_")}
        assert public == {member for member in dir(theirs) if not member.startswith("_")}, name
