"""Train Transformer language models from raw text: one command, one run folder, one report."""

__version__ = "0.1.0"
