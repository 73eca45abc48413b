"""Optimizers, learning-rate schedules and gradient clipping for PyTorch."""

from tlm_optim.adafactor import Adafactor
from tlm_optim.adamw import AdamW
from tlm_optim.clipping import clip_grad_norm, grad_norm
from tlm_optim.combined import Combined
from tlm_optim.ema import ExponentialMovingAverage
from tlm_optim.lion import Lion
from tlm_optim.lr_scheduler import ScheduleLR
from tlm_optim.muon import Muon
from tlm_optim.newton_schulz import orthogonalize
from tlm_optim.noise_scale import GradientNoiseScale
from tlm_optim.param_groups import muon_groups, param_groups
from tlm_optim.schedules import (
    constant_schedule,
    cosine_schedule,
    inverse_sqrt_schedule,
    join_schedules,
    linear_schedule,
    wsd_schedule,
)
from tlm_optim.sgd import SGD

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adafactor",
    "AdamW",
    "Combined",
    "ExponentialMovingAverage",
    "GradientNoiseScale",
    "Lion",
    "Muon",
    "ScheduleLR",
    "clip_grad_norm",
    "constant_schedule",
    "cosine_schedule",
    "grad_norm",
    "inverse_sqrt_schedule",
    "join_schedules",
    "linear_schedule",
    "muon_groups",
    "orthogonalize",
    "param_groups",
    "wsd_schedule",
]
