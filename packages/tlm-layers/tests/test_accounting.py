import gc
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tlm_layers import ModelConfig, TransformerLM, cross_entropy
from tlm_layers.accounting import (
    activation_bytes,
    kv_cache_bytes,
    model_state_bytes,
    num_parameters,
    training_flops,
)
from tlm_layers.fused_attention import CPU_KERNEL_TAKES_GROUPS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

GPT2_XL = ModelConfig(
    vocab_size=50257, context_length=1024, d_model=1600, num_layers=48, num_heads=25, d_ff=6400
)
SMALL = ModelConfig(
    vocab_size=101,
    context_length=130,
    d_model=36,
    num_layers=2,
    num_heads=6,
    num_kv_heads=3,
    head_dim=10,
    d_ff=52,
)
NEEDS_FUSED_GROUPS = pytest.mark.skipif(
    not CPU_KERNEL_TAKES_GROUPS, reason="this version of torch keeps keys for each query head"
)
ATTENTION = ["full", "sliding_window", "strided", "linear"]


@st.composite
def configs(draw, attention=ATTENTION):
    """Random small configs of every variant."""
    num_kv_heads = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(attention))
    norm = draw(st.sampled_from(["rmsnorm", "layernorm", "none"]))
    return ModelConfig(
        vocab_size=draw(st.integers(1, 40)),
        context_length=130,
        d_model=draw(st.integers(1, 30)),
        num_layers=draw(st.integers(1, 3)),
        num_heads=num_kv_heads * draw(st.integers(1, 3)),
        num_kv_heads=num_kv_heads,
        head_dim=2 * draw(st.integers(1, 6)),
        d_ff=draw(st.sampled_from([None, 1, 30])),
        norm=norm,
        norm_place="pre" if norm == "none" else draw(st.sampled_from(["pre", "post"])),
        position=draw(st.sampled_from(["rope", "none"])),
        attention=kind,
        window_size=draw(st.sampled_from([None, 1, 7, 200])) if kind == "sliding_window" else None,
        stride=draw(st.sampled_from([None, 1, 7, 200])) if kind == "strided" else None,
        qk_norm=draw(st.booleans()),
        ffn=draw(st.sampled_from(["swiglu", "silu", "gelu", "relu2"])),
        tie_embeddings=draw(st.booleans()),
        logit_soft_cap=draw(st.sampled_from([None, 30.0])),
        z_loss=draw(st.sampled_from([0.0, 1e-4])),
    )


# Parameters.


@given(configs())
def test_parameters_are_those_of_the_model(config):
    count = num_parameters(config)
    model = TransformerLM(config, device="meta")
    assert count.total == model.num_parameters()
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    for part, pattern in {
        "embeddings": r"token_embeddings\.",
        "attention": r".*attn\..*_proj\.",
        "ffn": r".*ffn\.",
        "norms": r".*(ln1|ln2|ln_final|_norm)\.",
        "head": r"lm_head\.",
    }.items():
        expected = sum(size for name, size in sizes.items() if re.match(pattern, name))
        assert getattr(count, part) == expected, part
    assert count.non_embedding == count.total - count.embeddings - count.head


def test_parameters_of_gpt2_xl():
    assert num_parameters(GPT2_XL).total == 2_127_057_600


@pytest.mark.parametrize(
    ("published", "sizes"),
    [
        (
            6_738_415_616,  # Llama 2 7B
            {"vocab_size": 32000, "d_model": 4096, "num_layers": 32, "num_heads": 32}
            | {"d_ff": 11008},
        ),
        (
            8_030_261_248,  # Llama 3.1 8B
            {"vocab_size": 128256, "d_model": 4096, "num_layers": 32, "num_heads": 32}
            | {"num_kv_heads": 8, "d_ff": 14336},
        ),
        (
            134_515_008,  # SmolLM2 135M
            {"vocab_size": 49152, "d_model": 576, "num_layers": 30, "num_heads": 9}
            | {"num_kv_heads": 3, "d_ff": 1536, "tie_embeddings": True},
        ),
        (
            596_049_920,  # Qwen3 0.6B
            {"vocab_size": 151936, "d_model": 1024, "num_layers": 28, "num_heads": 16}
            | {"num_kv_heads": 8, "head_dim": 128, "d_ff": 3072}
            | {"tie_embeddings": True, "qk_norm": True},
        ),
    ],
)
def test_parameters_of_published_models(published, sizes):
    assert num_parameters(ModelConfig(**sizes)).total == published


# Operations.


@contextmanager
def flop_counter():
    """Torch's counter, and what it lacks.

    It does not know the fused attention of the CPU, which is made of plain products here (it knows
    those of a GPU, and counts the same whole square for them), nor `addmm_`.
    """
    lacking = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    counter = FlopCounterMode(display=False, custom_mapping=lacking)
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield counter


def counted(run):
    with flop_counter() as counter:
        result = run()
    return counter.get_total_flops(), result


@settings(deadline=None, max_examples=60)
@given(configs(), st.integers(1, 3), st.sampled_from([1, 40, 64, 65, 130]), st.booleans())
def test_flops_are_those_that_torch_counts(config, batch_size, seq, checkpointing):
    model = TransformerLM(config, activation_checkpointing=checkpointing)
    token_ids = torch.randint(config.vocab_size, (batch_size, seq))
    flops = training_flops(config, batch_size, seq, checkpointing)
    forward, loss = counted(lambda: cross_entropy(model(token_ids), token_ids))
    assert forward == flops.forward.total
    backward, _ = counted(loss.backward)
    assert backward == flops.backward.total + flops.recomputation.total
    # The chunked loss makes gradients in its forward pass.
    forward, loss = counted(lambda: model.loss(token_ids, token_ids))
    backward, _ = counted(loss.backward)
    assert forward + backward == flops.total


@pytest.mark.parametrize("attention", ATTENTION)
def test_flops_by_part(attention):
    config = replace(SMALL, attention=attention)
    model = TransformerLM(config)
    with flop_counter() as counter:
        model(torch.zeros((2, 100), dtype=torch.int64))
    counts = {name: sum(count.values()) for name, count in counter.flop_counts.items()}

    def of(pattern):
        return sum(count for name, count in counts.items() if re.fullmatch(pattern, name))

    flops = training_flops(config, 2, 100).forward
    projections = of(r"TransformerLM\.layers\.\d\.attn\.\w+_proj")
    assert flops.attention_projections == projections
    assert flops.attention_mixing == of(r"TransformerLM\.layers\.\d\.attn") - projections
    assert flops.ffn == of(r"TransformerLM\.layers\.\d\.ffn")
    assert flops.head == counts["Global"] - of(r"TransformerLM\.layers\.\d")


def test_flops_of_gpt2_xl():
    flops = training_flops(GPT2_XL)
    assert f"{flops.forward.total / 1e12:.3f}" == "4.513"
    assert flops.total == 3 * flops.forward.total
    model = TransformerLM(GPT2_XL, device="meta")
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    with FakeTensorMode(), torch.no_grad():
        weights = {name: torch.empty(shape) for name, shape in shapes.items()}
        model.load_state_dict(weights, assign=True)
        token_ids = torch.zeros((1, 1024), dtype=torch.int64)
        assert counted(lambda: model(token_ids))[0] == flops.forward.total


# What training keeps.


def saved_bytes(model, run):
    """Bytes of the storages that autograd saves, those of weights and tables left out."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run()
    assert loss.requires_grad
    for size, tensor in saved.values():  # shown where a test fails
        print(f"{size:12,} {tuple(tensor.shape)} {tensor.dtype}")
    return sum(size for size, _ in saved.values())


def measured(config, batch_size, seq, chunked_loss, dtype=torch.float32, autocast=False):
    model = TransformerLM(config, dtype=dtype)
    token_ids = torch.randint(config.vocab_size, (batch_size, seq))

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if chunked_loss:
                return model.loss(token_ids, token_ids)
            return cross_entropy(model(token_ids), token_ids, z_loss=config.z_loss)

    return saved_bytes(model, run)


@NEEDS_FUSED_GROUPS
@settings(deadline=None, max_examples=150)
@given(
    configs(attention=["full", "sliding_window"]),
    st.integers(1, 3),
    st.integers(2, 130),
    st.booleans(),
)
def test_activations_are_those_that_autograd_saves(config, batch_size, seq, chunked_loss):
    assume(config.num_heads > 1)  # a single one spares a copy where a window is padded
    expected = activation_bytes(config, batch_size, seq, chunked_loss=chunked_loss)
    assert measured(config, batch_size, seq, chunked_loss) == expected.total


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("attention", ["strided", "linear"])
@pytest.mark.parametrize("seq", [64, 100, 128])
def test_activations_of_plain_operations_within_3_percent(attention, group, seq):
    config = replace(SMALL, attention=attention, num_kv_heads=SMALL.num_heads // group)
    expected = activation_bytes(config, 2, seq).total
    assert measured(config, 2, seq, True) == pytest.approx(expected, rel=0.03)


@pytest.fixture
def fast_half_types(monkeypatch):
    """As on a GPU: a CPU without units for half types attends in float32."""
    monkeypatch.setattr("tlm_layers.fused_attention._HAS_AMX", True)


@NEEDS_FUSED_GROUPS
@pytest.mark.usefixtures("fast_half_types")
@pytest.mark.parametrize("attention", ["full", "sliding_window"])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_activations_in_half_precision_within_1_percent(attention, qk_norm):
    config = replace(SMALL, attention=attention, qk_norm=qk_norm)
    expected = activation_bytes(config, 3, 128, dtype_bytes=2).total
    # Beside them lie float32 copies of the gains.
    assert measured(config, 3, 128, True, torch.bfloat16) == pytest.approx(expected, rel=0.01)


@NEEDS_FUSED_GROUPS
@pytest.mark.usefixtures("fast_half_types")
def test_activations_under_autocast_within_1_percent():
    expected = activation_bytes(SMALL, 3, 128, dtype_bytes=2, stream_bytes=4).total
    blocks = num_parameters(SMALL)
    copies = 2 * (blocks.attention + blocks.ffn)
    assert measured(SMALL, 3, 128, True, autocast=True) == pytest.approx(
        expected + copies, rel=0.01
    )


def test_activation_checkpointing_keeps_the_inputs_of_blocks():
    config = replace(SMALL, num_layers=5)
    model = TransformerLM(config, activation_checkpointing=True)
    token_ids = torch.randint(101, (2, 100))
    gc.collect()
    before = {id(thing) for thing in gc.get_objects()}
    loss = model.loss(token_ids, token_ids)
    inputs = {
        thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()
        for thing in gc.get_objects()
        if id(thing) not in before
        and isinstance(thing, torch.Tensor)
        and thing.shape == (2, 100, 36)
    }
    kept = activation_bytes(config, 2, 100, activation_checkpointing=True)
    one = activation_bytes(replace(config, num_layers=1), 2, 100)
    assert loss.requires_grad
    assert set(inputs.values()) == {4 * 2 * 100 * 36}
    assert len(inputs) == 5 + 1  # those of the blocks, and that of the last norm
    assert kept.checkpoints == 4 * (4 * 2 * 100 * 36)
    assert kept.total - kept.checkpoints == one.total


def test_the_chunked_loss_keeps_nothing_that_grows_with_vocabulary_times_tokens():
    def head(vocab_size, seq, chunked_loss):
        config = replace(SMALL, vocab_size=vocab_size)
        return activation_bytes(config, 8, seq, chunked_loss=chunked_loss).head

    def growth(chunked_loss):
        return (head(2000, 100, chunked_loss) - head(1000, 100, chunked_loss)) - (
            head(2000, 50, chunked_loss) - head(1000, 50, chunked_loss)
        )

    assert growth(chunked_loss=True) == 0
    assert growth(chunked_loss=False) == 4 * 1000 * 50 * 8


# What generation keeps, and what weights take.


@given(configs(), st.integers(1, 3), st.integers(1, 130), st.sampled_from([2, 4]))
def test_the_cache_is_that_of_the_model(config, batch_size, capacity, dtype_bytes):
    dtype = {2: torch.bfloat16, 4: torch.float32}[dtype_bytes]
    cache = TransformerLM(config, device="meta").new_cache(batch_size, capacity, dtype)
    assert cache.num_bytes() == kv_cache_bytes(
        config, batch_size, capacity, dtype_bytes=dtype_bytes
    )


def test_model_state_is_that_of_adamw():
    model = TransformerLM(SMALL)
    optimizer = torch.optim.AdamW(model.parameters())
    token_ids = torch.randint(101, (2, 100))
    model.loss(token_ids, token_ids).backward()
    optimizer.step()
    state = model_state_bytes(SMALL)
    assert state.weights == sum(weight.nbytes for weight in model.parameters())
    assert state.gradients == sum(weight.grad.nbytes for weight in model.parameters())
    assert state.moments == sum(
        value.nbytes
        for values in optimizer.state.values()
        for name, value in values.items()
        if name != "step"
    )
    assert state.rounded_off == 0
    half = model_state_bytes(SMALL, dtype_bytes=2)
    assert half.total == 14 * num_parameters(SMALL).total


@pytest.mark.parametrize(
    ("account", "name"),
    [(training_flops, "seq"), (activation_bytes, "seq"), (kv_cache_bytes, "capacity")],
)
@pytest.mark.parametrize(("batch_size", "seq"), [(0, 10), (1, 0), (1, 131)])
def test_batches_that_cannot_be(account, name, batch_size, seq):
    message = f"batch_size={batch_size} must be positive, and {name}={seq} from 1 to context_length"
    with pytest.raises(ValueError, match=message):
        account(SMALL, batch_size, seq)
