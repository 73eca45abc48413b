"""AdamW, learning-rate schedules and gradient clipping for PyTorch."""

from tlm_optim.adamw import AdamW
from tlm_optim.clipping import clip_grad_norm
from tlm_optim.param_groups import param_groups
from tlm_optim.schedules import cosine_schedule

__version__ = "0.1.0"

__all__ = ["AdamW", "clip_grad_norm", "cosine_schedule", "param_groups"]
