"""Transformer language model layers for PyTorch, from Linear to TransformerLM."""

from tlm_layers.activations import silu, softmax
from tlm_layers.attention import MultiHeadSelfAttention, scaled_dot_product_attention
from tlm_layers.block import TransformerBlock
from tlm_layers.config import ModelConfig, default_d_ff
from tlm_layers.embedding import Embedding
from tlm_layers.feedforward import SwiGLU
from tlm_layers.linear import Linear
from tlm_layers.loss import cross_entropy
from tlm_layers.model import TransformerLM
from tlm_layers.norm import RMSNorm
from tlm_layers.rope import RotaryPositionalEmbedding

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
