"""Fixtures and limits that every test of the workspace shares."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# hatchling runs it, in an environment of its own.
collect_ignore = ["packages/bpe-tok/hatch_build.py"]
# Small shapes on small machines: more threads only fight each other.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# No test talks to a network or asks for a login.
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Shared machines stall now and then, which says nothing about the code.
settings.register_profile("tlm", deadline=None, max_examples=40)
settings.load_profile("tlm")

ROOT = Path(__file__).parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of golden files, which is beside the project in development and in CI only."""
    folder = Path(os.environ.get("TLM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"golden files are not here: {folder} (set TLM_SHARED_DATA)")
    return folder
