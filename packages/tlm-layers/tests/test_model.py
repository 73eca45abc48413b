import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_layers import ModelConfig, TransformerLM, cross_entropy, soft_cap
from transformers import LlamaConfig, LlamaForCausalLM

SMALL = ModelConfig(vocab_size=50, context_length=16, d_model=32, num_layers=2, num_heads=4)


def llama_with_the_weights_of(model):
    """Hugging Face's Llama of the same shape and with the same weights."""
    config = model.config
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=model.layers[0].ffn.w1.out_features,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            tie_word_embeddings=config.tie_embeddings,
            max_position_embeddings=config.context_length,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=1e-5,
        )
    )
    llama.load_state_dict(
        {hf_name(name): hf_rows(name, w, config) for name, w in model.state_dict().items()},
        strict=not config.tie_embeddings,
    )
    return llama


def hf_name(name):
    for ours, theirs in (
        ("token_embeddings", "model.embed_tokens"),
        ("layers.", "model.layers."),
        ("attn.output_proj", "self_attn.o_proj"),
        ("attn.", "self_attn."),
        ("ffn.w1", "mlp.gate_proj"),
        ("ffn.w2", "mlp.down_proj"),
        ("ffn.w3", "mlp.up_proj"),
        ("ln1", "input_layernorm"),
        ("ln2", "post_attention_layernorm"),
        ("ln_final", "model.norm"),
    ):
        if "self_" not in name or "attn" not in ours:
            name = name.replace(ours, theirs)
    return name


def hf_rows(name, weight, config):
    """The rows of q and k, from neighbouring pairs to Hugging Face's halves; others as they are."""
    if "q_proj" not in name and "k_proj" not in name:
        return weight
    half = config.resolved().head_dim // 2
    return weight.unflatten(0, (-1, half, 2)).transpose(1, 2).flatten(0, 2)


@settings(max_examples=15)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 4),
    st.sampled_from([None, 1, 40]),
    st.sampled_from([100.0, 10000.0, 500000.0]),
    st.integers(1, 12),
    st.booleans(),
)
def test_logits_and_gradients_equal_hugging_face(
    layers, kv_heads, group, half, d_ff, theta, seq, tied
):
    heads = kv_heads * group
    config = ModelConfig(
        vocab_size=30,
        context_length=12,
        d_model=2 * half * heads,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        tie_embeddings=tied,
        d_ff=d_ff,
        rope_theta=theta,
    )
    torch.manual_seed(layers + heads + half + seq)
    model = TransformerLM(config)
    for layer in model.layers:
        torch.nn.init.normal_(layer.ln1.weight, mean=1.0, std=0.2)
        torch.nn.init.normal_(layer.ln2.weight, mean=1.0, std=0.2)
    llama = llama_with_the_weights_of(model)
    token_ids = torch.randint(30, (2, seq))
    targets = torch.randint(30, (2, seq))

    logits = model(token_ids)
    their_logits = llama(token_ids).logits
    torch.testing.assert_close(logits, their_logits, rtol=1e-5, atol=1e-5)

    model.loss(token_ids, targets).backward()
    cross_entropy(their_logits, targets).backward()
    their_grads = {name: weight.grad for name, weight in llama.named_parameters()}
    for name, weight in model.named_parameters():
        grad = hf_rows(name, weight.grad, config)
        torch.testing.assert_close(grad, their_grads[hf_name(name)], rtol=1e-4, atol=1e-5)


def test_later_tokens_do_not_change_earlier_logits():
    model = TransformerLM(SMALL)
    token_ids = torch.randint(50, (3, 16))
    for cut in range(1, 16):
        changed = token_ids.clone()
        changed[:, cut:] = (changed[:, cut:] + 1) % 50
        assert torch.equal(model(changed)[:, :cut], model(token_ids)[:, :cut])
        assert not torch.allclose(model(changed)[:, cut:], model(token_ids)[:, cut:])


@given(st.lists(st.integers(1, 3), max_size=3), st.integers(1, 16))
def test_any_leading_axes(leading, seq):
    model = TransformerLM(SMALL)
    token_ids = torch.randint(50, (*leading, seq))
    logits = model(token_ids)
    assert logits.shape == (*leading, seq, 50)
    flat = model(token_ids.reshape(-1, seq)).reshape(logits.shape)
    torch.testing.assert_close(logits, flat, rtol=1e-4, atol=1e-5)


def test_state_dict_keys():
    layer = (
        "ln1.weight",
        "attn.q_proj.weight",
        "attn.k_proj.weight",
        "attn.v_proj.weight",
        "attn.output_proj.weight",
        "ln2.weight",
        "ffn.w1.weight",
        "ffn.w2.weight",
        "ffn.w3.weight",
    )
    assert list(TransformerLM(SMALL).state_dict()) == [
        "token_embeddings.weight",
        *(f"layers.{index}.{name}" for index in range(2) for name in layer),
        "ln_final.weight",
        "lm_head.weight",
    ]


def test_num_parameters():
    # GPT-2 XL's shape in the course's model
    config = ModelConfig(
        vocab_size=50257, context_length=1024, d_model=1600, num_layers=48, num_heads=25, d_ff=6400
    )
    assert TransformerLM(config, device="meta").num_parameters() == 2_127_057_600


def test_the_seed_fixes_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return TransformerLM(SMALL).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_a_step_is_the_same_bit_for_bit():
    model = TransformerLM(SMALL)
    token_ids = torch.randint(50, (4, 16))
    grads = []
    for twin in (model, copy.deepcopy(model)):
        cross_entropy(twin(token_ids), token_ids).backward()
        grads.append([weight.grad for weight in twin.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_reset_parameters_starts_afresh():
    torch.manual_seed(0)
    model = TransformerLM(SMALL)
    fresh = copy.deepcopy(model.state_dict())
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    torch.manual_seed(0)
    model.reset_parameters()
    assert all(torch.equal(weight, fresh[name]) for name, weight in model.state_dict().items())


def test_from_the_meta_device():
    meta = TransformerLM(SMALL, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in meta.parameters()} == {("meta", torch.bfloat16)}
    meta = TransformerLM(SMALL, device="meta").to_empty(device="cpu")
    meta.reset_parameters()
    model = TransformerLM(SMALL)
    meta.load_state_dict(model.state_dict())
    token_ids = torch.randint(50, (2, 16))
    assert torch.equal(meta(token_ids), model(token_ids))


def test_bfloat16_in_and_out():
    model = TransformerLM(SMALL)
    half = TransformerLM(SMALL, dtype=torch.bfloat16)
    half.load_state_dict(model.state_dict())
    token_ids = torch.randint(50, (2, 16))
    assert half(token_ids).dtype == torch.bfloat16
    torch.testing.assert_close(half(token_ids).float(), model(token_ids), rtol=0.1, atol=0.1)
    cross_entropy(half(token_ids), token_ids).backward()
    assert {p.grad.dtype for p in half.parameters()} == {torch.bfloat16}


def test_autocast():
    model = TransformerLM(SMALL)
    token_ids = torch.randint(50, (2, 16))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(token_ids)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(token_ids), rtol=0.1, atol=0.1)


def test_a_sequence_longer_than_the_context():
    message = "a sequence of 17 tokens is longer than context_length=16"
    with pytest.raises(ValueError, match=message):
        TransformerLM(SMALL)(torch.zeros(1, 17, dtype=torch.int64))


def test_ids_outside_the_vocabulary():
    message = "token_ids go from 3 to 50; they must be from 0 to 49"
    with pytest.raises(ValueError, match=re.escape(message)):
        TransformerLM(SMALL)(torch.tensor([[3, 50]]))


@pytest.mark.parametrize("assign", [True, False])
def test_from_the_meta_device_with_loaded_weights(assign):
    model = TransformerLM(SMALL)
    meta = TransformerLM(SMALL, device="meta")
    if not assign:
        meta.to_empty(device="cpu")
    meta.load_state_dict(model.state_dict(), assign=assign)
    token_ids = torch.randint(50, (2, 16))
    with torch.inference_mode():
        assert torch.equal(meta(token_ids), model(token_ids))
    cross_entropy(meta(token_ids), token_ids).backward()  # trainable after inference


def test_cast_and_built_in_half_precision_are_the_same():
    model = TransformerLM(SMALL)
    half = TransformerLM(SMALL, dtype=torch.bfloat16)
    half.load_state_dict(model.state_dict())
    token_ids = torch.randint(50, (2, 16))
    assert torch.equal(model.to(torch.bfloat16)(token_ids), half(token_ids))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0,)])
def test_empty_batches_and_sequences(shape):
    logits = TransformerLM(SMALL)(torch.zeros(shape, dtype=torch.int64))
    assert logits.shape == (*shape, 50)
    logits.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_ids_of_another_type(dtype):
    with pytest.raises(TypeError, match=f"token_ids are {dtype}; they must be int32 or int64"):
        TransformerLM(SMALL)(torch.zeros((2, 5), dtype=dtype))


ATTENTIONS = ("full", "sliding_window", "strided", "linear")
NORMS = (("rmsnorm", "pre"), ("rmsnorm", "post"), ("layernorm", "pre"), ("none", "pre"))
FFNS = ("swiglu", "silu", "gelu", "relu2")
# Each choice meets each other one, though not all of them at once.
VARIANTS = [
    {"attention": attention, "norm": norm, "norm_place": place, "ffn": FFNS[(i + j) % 4]}
    for i, attention in enumerate(ATTENTIONS)
    for j, (norm, place) in enumerate(NORMS)
] + [
    {"num_kv_heads": 1, "norm": "layernorm", "norm_place": "post"},
    {"num_kv_heads": 2, "qk_norm": True, "tie_embeddings": True},
    {"position": "none", "logit_soft_cap": 5.0, "z_loss": 1e-3},
    {"rope_scaling": "llama3", "rope_original_context": 8, "head_dim": 6},
]


def small(**options):
    sizes = {"vocab_size": 50, "context_length": 16, "d_model": 16, "num_layers": 2, "d_ff": 24}
    return ModelConfig(**{**sizes, "num_heads": 4, **options})


def same(ours, theirs):
    return all(map(torch.equal, ours, theirs))


def test_every_variant_is_causal():
    token_ids = torch.randint(50, (2, 16))
    changed = torch.cat((token_ids[:, :9], (token_ids[:, 9:] + 1) % 50), dim=1)
    for variant in VARIANTS:
        model = TransformerLM(small(**variant))
        logits, after = model(token_ids), model(changed)
        assert torch.equal(logits[:, :9], after[:, :9]), variant
        assert not torch.allclose(logits[:, 9:], after[:, 9:]), variant


def test_every_variant_trains_every_weight():
    token_ids, targets = torch.randint(50, (2, 2, 16))
    for variant in VARIANTS:
        model = TransformerLM(small(**variant))
        model.loss(token_ids, targets).backward()
        for name, weight in model.named_parameters():
            assert weight.grad.isfinite().all() and weight.grad.any(), (variant, name)


def test_the_loss_is_that_of_the_logits():
    token_ids, targets = torch.randint(50, (2, 3, 16))
    targets[0, 3:7] = -100
    for variant in VARIANTS:
        model = TransformerLM(small(**variant), dtype=torch.float64)
        expected = cross_entropy(model(token_ids), targets, z_loss=model.config.z_loss)
        torch.testing.assert_close(model.loss(token_ids, targets), expected)
    targets[0, 3:7] = -1
    loss = model.loss(token_ids, targets, ignore_index=-1)
    torch.testing.assert_close(loss, cross_entropy(model(token_ids), targets, ignore_index=-1))


def test_a_soft_cap_bends_the_logits():
    token_ids = torch.randint(50, (2, 16))
    capped, plain = TransformerLM(small(logit_soft_cap=0.5)), TransformerLM(small())
    capped.load_state_dict(plain.state_dict())
    torch.testing.assert_close(capped(token_ids), soft_cap(plain(token_ids), 0.5))


def test_tied_embeddings_are_one_weight():
    model = TransformerLM(small(tie_embeddings=True))
    assert model.output_weight is model.token_embeddings.weight
    assert "lm_head.weight" not in model.state_dict()
    untied = TransformerLM(small())
    assert untied.num_parameters() - model.num_parameters() == 50 * 16
    untied.load_state_dict(model.state_dict() | {"lm_head.weight": model.output_weight})
    token_ids, targets = torch.randint(50, (2, 3, 16))
    assert torch.equal(untied(token_ids), model(token_ids))
    model.loss(token_ids, targets).backward()
    untied.loss(token_ids, targets).backward()
    both = untied.token_embeddings.weight.grad + untied.lm_head.weight.grad
    torch.testing.assert_close(model.output_weight.grad, both)


def test_initialisation_is_that_of_float32_whatever_the_type():
    for variant in VARIANTS:
        weights = []
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            torch.manual_seed(3)
            weights.append(TransformerLM(small(**variant), dtype=dtype).parameters())
        for single, half, double in zip(*weights, strict=True):
            assert torch.equal(single.to(torch.bfloat16), half)
            assert torch.equal(single.double(), double)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_by_way_of_the_meta_device_every_variant_is_the_same(dtype):
    token_ids = torch.randint(50, (2, 16))
    for variant in VARIANTS:
        torch.manual_seed(3)
        model = TransformerLM(small(**variant), dtype=dtype)
        meta = TransformerLM(small(**variant), device="meta", dtype=dtype)
        assert {x.device.type for x in (*meta.parameters(), *meta.buffers())} == {"meta"}
        meta.to_empty(device="cpu")
        torch.manual_seed(3)
        meta.reset_parameters()
        assert list(meta.state_dict()) == list(model.state_dict())
        assert same(meta.parameters(), model.parameters()), variant
        assert torch.equal(meta(token_ids), model(token_ids)), variant


def test_the_meta_device_draws_no_random_numbers():
    state = torch.get_rng_state()
    TransformerLM(small(tie_embeddings=True), device="meta")
    assert torch.equal(torch.get_rng_state(), state)


def test_logits_start_out_small():
    for variant in VARIANTS:
        if variant.get("norm") == "none":
            continue
        model = TransformerLM(small(**variant, vocab_size=1000, d_model=64))
        logits = model(torch.randint(1000, (4, 16)))
        assert logits.std() < 1, variant


def saved_bytes(run):
    """What the forward pass keeps for the backward pass, in bytes."""
    storages = {}

    def pack(x):
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = run()
    return out, sum(storages.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activation_checkpointing_changes_nothing_but_memory(dtype):
    token_ids, targets = torch.randint(50, (2, 3, 16))
    document_ids = torch.arange(16).expand(3, 16) // 5
    for variant in VARIANTS:
        model = TransformerLM(small(**variant), dtype=dtype)
        twin = TransformerLM(small(**variant), dtype=dtype, activation_checkpointing=True)
        twin.load_state_dict(model.state_dict())
        kept = []
        for one in (model, twin):
            loss, size = saved_bytes(
                lambda one=one: one.loss(token_ids, targets, document_ids=document_ids)
            )
            loss.backward()
            kept.append((loss, size))
        assert torch.equal(kept[0][0], kept[1][0]), variant
        assert kept[1][1] < kept[0][1] / 2, variant
        grads = ([w.grad for w in one.parameters()] for one in (model, twin))
        assert same(*grads), variant


def test_activation_checkpointing_may_be_switched():
    model = TransformerLM(SMALL)
    token_ids = torch.randint(50, (2, 16))
    _, plain = saved_bytes(lambda: model.loss(token_ids, token_ids))
    model.activation_checkpointing = True
    _, less = saved_bytes(lambda: model.loss(token_ids, token_ids))
    assert less < plain
    with torch.no_grad():
        assert not model(token_ids).requires_grad
    model(token_ids, cache=model.new_cache(2))


def test_activation_checkpointing_under_autocast():
    token_ids = torch.randint(50, (2, 16))
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = TransformerLM(SMALL, activation_checkpointing=checkpointing)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(token_ids, token_ids)
        loss.backward()
        grads.append([weight.grad for weight in model.parameters()])
    assert same(*grads)


def test_every_variant_in_bfloat16():
    token_ids, targets = torch.randint(50, (2, 3, 16))
    for variant in VARIANTS:
        half = TransformerLM(small(**variant), dtype=torch.bfloat16)
        logits = half(token_ids)
        assert logits.dtype == torch.bfloat16
        loss = half.loss(token_ids, targets)
        loss.backward()
        assert {p.grad.dtype for p in half.parameters()} == {torch.bfloat16}
        exact = half.float()
        size = exact(token_ids).abs().max().item()
        torch.testing.assert_close(logits.float(), exact(token_ids), rtol=0.1, atol=0.1 * size)
        assert loss.item() == pytest.approx(exact.loss(token_ids, targets).item(), rel=0.05)


def test_positions_without_rope():
    model = TransformerLM(small(position="none"))
    message = "token_positions have no use without rope: give rope, or leave them"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 3, dtype=torch.int64), torch.arange(3))
    assert "rope" not in str(model)


def test_a_head_in_place_of_ours_is_used_in_logits_and_loss():
    model = TransformerLM(SMALL)
    token_ids = torch.randint(50, (2, 8))
    head = torch.nn.Linear(32, 50)  # with a bias
    model.lm_head = head
    calls = []
    head.register_forward_hook(lambda *_: calls.append(1))
    logits = model(token_ids)
    torch.testing.assert_close(logits, head(model.hidden(token_ids)))
    torch.testing.assert_close(model.loss(token_ids, token_ids), cross_entropy(logits, token_ids))
    assert len(calls) == 3


def test_the_rotary_table_is_not_filled_anew_for_each_block(monkeypatch):
    model = TransformerLM(SMALL)
    rope = model.layers[0].attn.rope
    table = rope.table
    model.to(torch.bfloat16).reset_parameters()
    assert rope.table is table
    assert table.dtype == torch.float32
