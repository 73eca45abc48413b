"""Transformer language model layers for PyTorch, from Linear to TransformerLM."""

from tlm_layers.activations import silu, softmax
from tlm_layers.attention import (
    AttentionPattern,
    MultiHeadSelfAttention,
    scaled_dot_product_attention,
)
from tlm_layers.block import PostNormBlock, TransformerBlock
from tlm_layers.config import ModelConfig, default_d_ff
from tlm_layers.embedding import Embedding
from tlm_layers.feedforward import FeedForward, SwiGLU, relu2
from tlm_layers.full_attention import FullAttention
from tlm_layers.kv_cache import KVCache
from tlm_layers.linear import Linear
from tlm_layers.linear_attention import LinearAttention, linear_attention_recurrent
from tlm_layers.loss import cross_entropy, linear_cross_entropy, soft_cap
from tlm_layers.masks import (
    causal_mask,
    document_mask,
    document_runs,
    sliding_window_mask,
    strided_mask,
)
from tlm_layers.model import TransformerLM
from tlm_layers.norm import LayerNorm, RMSNorm
from tlm_layers.rope import Llama3Scaling, RotaryPositionalEmbedding
from tlm_layers.sliding_window import SlidingWindowAttention
from tlm_layers.strided import StridedAttention

__version__ = "0.1.0"

__all__ = [
    "AttentionPattern",
    "Embedding",
    "FeedForward",
    "FullAttention",
    "KVCache",
    "LayerNorm",
    "Linear",
    "LinearAttention",
    "Llama3Scaling",
    "ModelConfig",
    "MultiHeadSelfAttention",
    "PostNormBlock",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SlidingWindowAttention",
    "StridedAttention",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "causal_mask",
    "cross_entropy",
    "default_d_ff",
    "document_mask",
    "document_runs",
    "linear_attention_recurrent",
    "linear_cross_entropy",
    "relu2",
    "scaled_dot_product_attention",
    "silu",
    "sliding_window_mask",
    "soft_cap",
    "softmax",
    "strided_mask",
]
