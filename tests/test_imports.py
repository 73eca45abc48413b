"""The arrows between the packages, and what each package shows to the outside."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["bpe_tok", "tlm_layers", "tlm_optim", "tlm_data", "tlm_train"]


def test_the_import_contract_holds() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PACKAGES)
def test_exported_names_are_there_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__, key=lambda n: (not n.isupper(), n))
    for exported in module.__all__:
        thing = getattr(module, exported)
        assert isinstance(thing, str) or thing.__doc__, exported


def test_idle_threads_sleep_unless_the_user_says_otherwise() -> None:
    code = "import os, sys, tlm_train; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    for given, expected in (({}, "10000\n"), ({"GOMP_SPINCOUNT": "7"}, "7\n")):
        found = subprocess.check_output(
            [sys.executable, "-c", code], env=environment | given, text=True
        )
        assert found == expected


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("bpe_tok", ["torch", "numpy"]),
        ("tlm_layers", ["bpe_tok", "tlm_optim", "tlm_data", "tlm_train"]),
        ("tlm_optim", ["bpe_tok", "tlm_layers", "tlm_data", "tlm_train"]),
        ("tlm_data", ["tlm_layers", "tlm_optim", "tlm_train"]),
    ],
)
def test_importing_one_package_brings_in_no_other(name: str, absent: list[str]) -> None:
    code = f"import sys, {name}; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
