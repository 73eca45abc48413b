"""What the tests of Stanford's CS336 assignment 1 call, in terms of these packages."""

from bpe_tok import Tokenizer, train_bpe
from tlm_data import get_batch
from tlm_layers import (
    Embedding,
    Linear,
    ModelConfig,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SwiGLU,
    TransformerBlock,
    TransformerLM,
    cross_entropy,
    scaled_dot_product_attention,
    silu,
    softmax,
)
from tlm_optim import AdamW, clip_grad_norm, cosine_schedule
from tlm_train import load_checkpoint, save_checkpoint

run_silu = silu
run_softmax = softmax
run_cross_entropy = cross_entropy
run_gradient_clipping = clip_grad_norm
run_save_checkpoint = save_checkpoint
run_load_checkpoint = load_checkpoint
run_train_bpe = train_bpe
get_tokenizer = Tokenizer


def get_adamw_cls():
    return AdamW


def run_scaled_dot_product_attention(Q, K, V, mask=None):  # noqa: N803
    return scaled_dot_product_attention(Q, K, V, mask)


def run_get_lr_cosine_schedule(
    it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters
):
    return cosine_schedule(
        it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters
    )


def run_get_batch(dataset, batch_size, context_length, device):
    return get_batch(dataset, batch_size, context_length, device)


def _with(module, weights):
    module.load_state_dict(weights)
    return module


def _rope(d_model, num_heads, theta, max_seq_len):
    return RotaryPositionalEmbedding(theta, d_model // num_heads, max_seq_len)


def run_linear(d_in, d_out, weights, in_features):
    return _with(Linear(d_in, d_out), {"weight": weights})(in_features)


def run_embedding(vocab_size, d_model, weights, token_ids):
    return _with(Embedding(vocab_size, d_model), {"weight": weights})(token_ids)


def run_rmsnorm(d_model, eps, weights, in_features):
    return _with(RMSNorm(d_model, eps), {"weight": weights})(in_features)


def run_swiglu(d_model, d_ff, w1_weight, w2_weight, w3_weight, in_features):
    weights = {"w1.weight": w1_weight, "w2.weight": w2_weight, "w3.weight": w3_weight}
    return _with(SwiGLU(d_model, d_ff), weights)(in_features)


def run_rope(d_k, theta, max_seq_len, in_query_or_key, token_positions):
    return RotaryPositionalEmbedding(theta, d_k, max_seq_len)(in_query_or_key, token_positions)


def _attention(d_model, num_heads, rope, q, k, v, o):
    weights = {"q_proj": q, "k_proj": k, "v_proj": v, "output_proj": o}
    layer = MultiHeadSelfAttention(d_model, num_heads, rope)
    return _with(layer, {f"{name}.weight": weight for name, weight in weights.items()})


def run_multihead_self_attention(
    d_model,
    num_heads,
    q_proj_weight,
    k_proj_weight,
    v_proj_weight,
    o_proj_weight,
    in_features,
):
    weights = (q_proj_weight, k_proj_weight, v_proj_weight, o_proj_weight)
    return _attention(d_model, num_heads, None, *weights)(in_features)


def run_multihead_self_attention_with_rope(
    d_model,
    num_heads,
    max_seq_len,
    theta,
    q_proj_weight,
    k_proj_weight,
    v_proj_weight,
    o_proj_weight,
    in_features,
    token_positions=None,
):
    weights = (q_proj_weight, k_proj_weight, v_proj_weight, o_proj_weight)
    rope = _rope(d_model, num_heads, theta, max_seq_len)
    return _attention(d_model, num_heads, rope, *weights)(in_features, token_positions)


def run_transformer_block(d_model, num_heads, d_ff, max_seq_len, theta, weights, in_features):
    config = ModelConfig(
        context_length=max_seq_len,
        d_model=d_model,
        num_heads=num_heads,
        d_ff=d_ff,
        rope_theta=theta,
    )
    return _with(TransformerBlock(config), weights)(in_features)


def run_transformer_lm(
    vocab_size,
    context_length,
    d_model,
    num_layers,
    num_heads,
    d_ff,
    rope_theta,
    weights,
    in_indices,
):
    config = ModelConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=d_ff,
        rope_theta=rope_theta,
    )
    return _with(TransformerLM(config), weights)(in_indices)
