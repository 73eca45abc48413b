"""AdamW, learning-rate schedules and gradient clipping for PyTorch."""

from .adamw import AdamW
from .clipping import clip_grad_norm
from .param_groups import param_groups
from .schedules import cosine_schedule

__version__ = "0.1.0"

__all__ = ["AdamW", "clip_grad_norm", "cosine_schedule", "param_groups"]
