"""Transformer language model layers for PyTorch, from Linear to TransformerLM."""

from .activations import silu, softmax
from .attention import MultiHeadSelfAttention, scaled_dot_product_attention
from .block import TransformerBlock
from .config import ModelConfig
from .embedding import Embedding
from .feedforward import SwiGLU, default_d_ff
from .linear import Linear
from .loss import cross_entropy
from .model import TransformerLM
from .norm import RMSNorm
from .rope import RotaryPositionalEmbedding

__version__ = "0.1.0"

__all__ = [
    "Embedding",
    "Linear",
    "ModelConfig",
    "MultiHeadSelfAttention",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "cross_entropy",
    "default_d_ff",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
