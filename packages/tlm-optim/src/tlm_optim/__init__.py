"""AdamW, learning-rate schedules and gradient clipping for PyTorch."""

__version__ = "0.1.0"
