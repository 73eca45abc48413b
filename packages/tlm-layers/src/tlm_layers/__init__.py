"""Transformer language model layers for PyTorch, from Linear to TransformerLM."""

__version__ = "0.1.0"
