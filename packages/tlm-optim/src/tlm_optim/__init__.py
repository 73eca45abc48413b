"""Optimizers, learning-rate schedules and gradient clipping for PyTorch."""

from tlm_optim.adafactor import Adafactor
from tlm_optim.adamw import AdamW
from tlm_optim.clipping import clip_grad_norm
from tlm_optim.combined import Combined
from tlm_optim.lion import Lion
from tlm_optim.muon import Muon
from tlm_optim.newton_schulz import orthogonalize
from tlm_optim.param_groups import param_groups
from tlm_optim.schedules import cosine_schedule
from tlm_optim.sgd import SGD

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adafactor",
    "AdamW",
    "Combined",
    "Lion",
    "Muon",
    "clip_grad_norm",
    "cosine_schedule",
    "orthogonalize",
    "param_groups",
]
