"""Train Transformer language models from raw text: one command, one run folder, one report."""

import tlm_train._openmp  # noqa: F401  # before anything that loads torch
from tlm_train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tlm_train.config import RunConfig
from tlm_train.evaluate import Evaluation, evaluate
from tlm_train.generate import generate, nucleus

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Evaluation",
    "RunConfig",
    "evaluate",
    "generate",
    "load_checkpoint",
    "nucleus",
    "save_checkpoint",
]
