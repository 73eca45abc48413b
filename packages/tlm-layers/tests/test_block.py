import torch
from tlm_layers import RotaryPositionalEmbedding, TransformerBlock


def test_is_its_formula():
    block = TransformerBlock(8, 2, 12, RotaryPositionalEmbedding(10000.0, 4, max_seq_len=6))
    x = torch.randn(3, 6, 8)
    middle = x + block.attn(block.ln1(x))
    torch.testing.assert_close(block(x), middle + block.ffn(block.ln2(middle)))


def test_positions_reach_the_attention():
    block = TransformerBlock(8, 2, 12, RotaryPositionalEmbedding(10000.0, 4, max_seq_len=20))
    x = torch.randn(3, 6, 8)
    torch.testing.assert_close(block(x, torch.arange(6)), block(x))
    assert not torch.allclose(block(x, 3 * torch.arange(6)), block(x))


def test_state_dict_keys():
    assert set(TransformerBlock(8, 2).state_dict()) == {
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


def test_device_and_type():
    block = TransformerBlock(8, 2, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in block.parameters()} == {("meta", torch.bfloat16)}
