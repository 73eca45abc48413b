import itertools

import pytest
import torch
from tlm_layers import (
    FeedForward,
    FullAttention,
    LayerNorm,
    LinearAttention,
    ModelConfig,
    PostNormBlock,
    RMSNorm,
    RotaryPositionalEmbedding,
    SlidingWindowAttention,
    StridedAttention,
    SwiGLU,
    TransformerBlock,
    document_runs,
)
from tlm_layers.block import make_block

SMALL = {"context_length": 20, "d_model": 8, "num_heads": 2, "d_ff": 12}


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_pre_norm_is_its_formula(norm):
    block = make_block(ModelConfig(**SMALL, norm=norm))
    x = torch.randn(3, 6, 8)
    middle = x + block.attn(block.ln1(x))
    torch.testing.assert_close(block(x), middle + block.ffn(block.ln2(middle)))
    assert type(block) is TransformerBlock


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_post_norm_is_its_formula(norm):
    block = make_block(ModelConfig(**SMALL, norm=norm, norm_place="post"))
    x = torch.randn(3, 6, 8)
    middle = block.ln1(x + block.attn(x))
    torch.testing.assert_close(block(x), block.ln2(middle + block.ffn(middle)))
    assert type(block) is PostNormBlock


def test_without_norms_it_is_its_formula():
    block = make_block(ModelConfig(**SMALL, norm="none"))
    x = torch.randn(3, 6, 8)
    middle = x + block.attn(x)
    torch.testing.assert_close(block(x), middle + block.ffn(middle))


def test_post_norm_equals_torchs_layer():
    config = ModelConfig(**SMALL, norm="layernorm", norm_place="post", position="none", ffn="gelu")
    block = make_block(config)
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=False
    )
    with torch.no_grad():
        for weight in theirs.parameters():
            torch.nn.init.normal_(weight, std=0.5)
        for name, biased in theirs.named_parameters():
            if name.endswith("bias") and "norm" not in name:
                torch.nn.init.zeros_(biased)
    rows = theirs.self_attn.in_proj_weight.chunk(3)
    block.load_state_dict(
        {
            "attn.q_proj.weight": rows[0],
            "attn.k_proj.weight": rows[1],
            "attn.v_proj.weight": rows[2],
            "attn.output_proj.weight": theirs.self_attn.out_proj.weight,
            "ffn.w1.weight": theirs.linear1.weight,
            "ffn.w2.weight": theirs.linear2.weight,
            "ln1.weight": theirs.norm1.weight,
            "ln1.bias": theirs.norm1.bias,
            "ln2.weight": theirs.norm2.weight,
            "ln2.bias": theirs.norm2.bias,
        }
    )
    x = torch.randn(3, 6, 8)
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    torch.testing.assert_close(block(x), theirs(x, src_mask=hidden))


def test_positions_reach_the_attention():
    block = TransformerBlock(ModelConfig(**SMALL))
    x = torch.randn(3, 6, 8)
    torch.testing.assert_close(block(x, torch.arange(6)), block(x))
    assert not torch.allclose(block(x, 3 * torch.arange(6)), block(x))


@pytest.mark.parametrize("place", ["pre", "post"])
def test_documents_reach_the_attention(place):
    block = make_block(ModelConfig(**SMALL, norm_place=place))
    x = torch.randn(2, 6, 8)
    documents = document_runs(torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]))
    out = block(x, documents=documents)
    torch.testing.assert_close(out[0, 2:], block(x[0, 2:]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[1], block(x[1]), rtol=1e-4, atol=1e-5)


def test_state_dict_keys():
    assert set(TransformerBlock(ModelConfig(**SMALL)).state_dict()) == {
        "attn.q_proj.weight",
        "attn.k_proj.weight",
        "attn.v_proj.weight",
        "attn.output_proj.weight",
        "ffn.w1.weight",
        "ffn.w2.weight",
        "ffn.w3.weight",
        "ln1.weight",
        "ln2.weight",
    }


def test_state_dict_keys_of_other_parts():
    config = ModelConfig(**SMALL, norm="layernorm", ffn="gelu", qk_norm=True)
    assert set(TransformerBlock(config).state_dict()) == {
        "attn.q_proj.weight",
        "attn.k_proj.weight",
        "attn.v_proj.weight",
        "attn.output_proj.weight",
        "attn.q_norm.weight",
        "attn.k_norm.weight",
        "ffn.w1.weight",
        "ffn.w2.weight",
        *(f"{norm}.{name}" for norm in ("ln1", "ln2") for name in ("weight", "bias")),
    }


def test_device_and_type():
    block = TransformerBlock(ModelConfig(**SMALL), device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in block.parameters()} == {("meta", torch.bfloat16)}
    assert block.attn.rope.table.device.type == "meta"


def test_the_config_chooses_the_parts():
    patterns = {
        "full": FullAttention(),
        "sliding_window": SlidingWindowAttention(5),
        "strided": StridedAttention(4),
        "linear": LinearAttention(),
    }
    norms = {"rmsnorm": RMSNorm, "layernorm": LayerNorm, "none": torch.nn.Identity}
    ffns = {"swiglu": SwiGLU, "silu": FeedForward, "gelu": FeedForward, "relu2": FeedForward}
    for attention, norm, ffn in itertools.product(patterns, norms, ffns):
        block = TransformerBlock(ModelConfig(**SMALL, attention=attention, norm=norm, ffn=ffn))
        assert block.attn.pattern == patterns[attention]
        assert type(block.ln1) is type(block.ln2) is norms[norm]
        assert type(block.ffn) is ffns[ffn]


def test_sizes_follow_the_config():
    config = ModelConfig(**SMALL, num_kv_heads=1, head_dim=6, norm_eps=1e-3, qk_norm=True)
    block = TransformerBlock(config)
    assert block.attn.q_proj.weight.shape == (12, 8)
    assert block.attn.k_proj.weight.shape == block.attn.v_proj.weight.shape == (6, 8)
    assert block.attn.output_proj.weight.shape == (8, 12)
    assert block.ffn.w1.weight.shape == (12, 8)
    assert block.attn.q_norm.weight.shape == block.attn.k_norm.weight.shape == (6,)
    assert block.ln1.eps == block.ln2.eps == block.attn.q_norm.eps == block.attn.k_norm.eps == 1e-3


def test_the_rope_of_the_config():
    config = ModelConfig(**SMALL, rope_theta=500.0, rope_scaling="llama3", rope_factor=2.0)
    rope = TransformerBlock(config).attn.rope
    assert (rope.theta, rope.d_k, rope.max_seq_len, rope.scaling.factor) == (500.0, 4, 20, 2.0)
    assert TransformerBlock(ModelConfig(**SMALL, position="none")).attn.rope is None
    shared = RotaryPositionalEmbedding(100.0, 4, 20)
    assert TransformerBlock(ModelConfig(**SMALL), shared).attn.rope is shared


def test_reset_parameters_starts_afresh():
    config = ModelConfig(**SMALL, norm="layernorm", qk_norm=True)
    torch.manual_seed(0)
    block = TransformerBlock(config)
    expected = {name: weight.clone() for name, weight in block.state_dict().items()}
    for weight in block.parameters():
        torch.nn.init.normal_(weight)
    torch.manual_seed(0)
    block.reset_parameters()
    assert all(torch.equal(block.state_dict()[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("block", "place", "other"),
    [(TransformerBlock, "pre", "post"), (PostNormBlock, "post", "pre")],
)
def test_norms_in_another_place_than_the_config_has_them(block, place, other):
    message = f"norm_place='{other}' of the config must be '{place}' for a {block.__name__}"
    with pytest.raises(ValueError, match=message):
        block(ModelConfig(**SMALL, norm_place=other))


def test_a_rope_without_positions():
    rope = RotaryPositionalEmbedding(10000.0, 4, 20)
    with pytest.raises(ValueError, match="rope has no use with position='none' of the config"):
        TransformerBlock(ModelConfig(**SMALL, position="none"), rope)
