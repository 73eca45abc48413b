import tlm_layers


def test_exported_names():
    assert tlm_layers.__all__ == [
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
    assert all(hasattr(tlm_layers, name) for name in tlm_layers.__all__)
