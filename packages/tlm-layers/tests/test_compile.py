"""Compiled models: one graph for each variant, which serves all lengths."""

import pytest
import torch
import torch.nn.functional as F
from tlm_layers import ModelConfig, TransformerLM, cross_entropy

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own

ATTENTIONS = ("full", "sliding_window", "strided", "linear")
NORMS = (("rmsnorm", "pre"), ("rmsnorm", "post"), ("layernorm", "pre"), ("none", "pre"))
FFNS = ("swiglu", "silu", "gelu", "relu2")
# Each choice meets each other one, though not all of them at once.
VARIANTS = [
    {"attention": attention, "norm": norm, "norm_place": place, "ffn": FFNS[(i + j) % 4]}
    for i, attention in enumerate(ATTENTIONS)
    for j, (norm, place) in enumerate(NORMS)
] + [
    {"num_kv_heads": 2, "qk_norm": True, "tie_embeddings": True, "logit_soft_cap": 5.0},
    {"position": "none", "num_kv_heads": 1, "norm": "layernorm", "norm_place": "post"},
]


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def small(**options):
    sizes = {"vocab_size": 30, "context_length": 64, "d_model": 16, "num_layers": 1, "d_ff": 24}
    return ModelConfig(**{**sizes, "num_heads": 4, **options})


def compiled(model):
    """The model in one graph, whose passes are traced and run by torch's own operations."""
    return torch.compile(model, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_variant_is_one_graph_forward_and_backward(variant):
    model = TransformerLM(small(**variant))
    token_ids, targets = torch.randint(30, (2, 2, 40))
    results = []
    for forward in (model, compiled(model)):
        logits = forward(token_ids)
        grads = torch.autograd.grad(cross_entropy(logits, targets), tuple(model.parameters()))
        results.append((logits, *grads))
    for eager, same in zip(*results, strict=True):
        torch.testing.assert_close(same, eager, rtol=1e-4, atol=1e-5)


def dynamic(x):
    """Told to torch as a tensor whose last axis may be of any length."""
    torch._dynamo.mark_dynamic(x, x.ndim - 1)
    return x


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_one_graph_serves_all_lengths(attention, packed):
    sizes = {"sliding_window": {"window_size": 8}, "strided": {"stride": 8}}
    options = {"attention": attention, "context_length": 150, **sizes.get(attention, {})}
    model = TransformerLM(small(**options))
    forward = compiled(model)

    def check(length):
        token_ids = dynamic(torch.randint(30, (3, length)))
        document_ids = None
        if packed:
            document_ids = dynamic(torch.arange(3 * length).view(3, length) // 11)
        results = []
        for one in (model, forward):
            logits = one(token_ids, document_ids=document_ids)
            grads = torch.autograd.grad(logits.square().mean(), tuple(model.parameters()))
            results.append((logits, *grads))
        for eager, same in zip(*results, strict=True):
            torch.testing.assert_close(same, eager, rtol=1e-4, atol=1e-5)

    check(100)
    if torch.__version__ < "2.13":  # which has another graph where the padding is of no tokens
        check(128)
    with torch.compiler.set_stance("fail_on_recompile"):
        for length in (80, 81, 96, 128, 129, 150):  # multiples of windows and chunks, and others
            check(length)


def test_without_being_told_it_is_compiled_again_once():
    model = TransformerLM(small())
    forward = compiled(model)
    forward(torch.randint(30, (3, 64)))
    forward(torch.randint(30, (3, 50)))
    with torch.compiler.set_stance("fail_on_recompile"):
        for length in (33, 9, 64, 2):
            token_ids = torch.randint(30, (3, length))
            torch.testing.assert_close(forward(token_ids), model(token_ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["sliding_window", "strided"])
def test_what_is_shorter_than_the_window_takes_another_graph(attention):
    model = TransformerLM(small(attention=attention))
    forward = compiled(model)
    with torch.no_grad():
        forward(dynamic(torch.randint(30, (3, 7))))
        with torch.compiler.set_stance("fail_on_recompile"):
            for length in (2, 5, 8):
                token_ids = torch.randint(30, (3, length))
                logits = forward(token_ids)
                torch.testing.assert_close(logits, model(token_ids), rtol=1e-4, atol=1e-5)


def test_hidden_states_compiled_and_the_loss_not():
    model = TransformerLM(small(z_loss=1e-4))
    twin = TransformerLM(small(z_loss=1e-4))
    twin.load_state_dict(model.state_dict())
    twin.hidden = torch.compile(twin.hidden, fullgraph=True, backend="aot_eager")
    token_ids, targets = torch.randint(30, (2, 2, 40))
    for one in (model, twin):
        one.loss(token_ids, targets).backward()
    for weight, same in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(same.grad, weight.grad, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing():
    model = TransformerLM(small(), activation_checkpointing=True)
    token_ids, targets = torch.randint(30, (2, 2, 40))
    results = []
    for forward in (model, compiled(model)):
        loss = cross_entropy(forward(token_ids), targets)
        results.append(torch.autograd.grad(loss, tuple(model.parameters())))
    for eager, same in zip(*results, strict=True):
        torch.testing.assert_close(same, eager, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_half_precision(norm):
    token_ids = torch.randint(30, (2, 40))
    model = TransformerLM(small(norm=norm, qk_norm=True), dtype=torch.bfloat16)
    logits = compiled(model)(token_ids)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, model(token_ids), rtol=0.05, atol=0.05)
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        logits, expected = compiled(model)(token_ids), model(token_ids)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.05)


def test_positions_and_long_sequences():
    model = TransformerLM(small())
    token_ids = torch.randint(30, (2, 20))
    forward = compiled(model)
    positions = torch.arange(20) + 7
    torch.testing.assert_close(forward(token_ids, positions), model(token_ids, positions))
    with pytest.raises(Exception):  # noqa: B017 - whose words are those of torch's version
        forward(torch.zeros(1, 65, dtype=torch.int64))


def test_the_plain_loss():
    logits, targets = torch.randn(9, 7), torch.randint(7, (9,))
    targets[3] = -100
    loss = torch.compile(cross_entropy, fullgraph=True, backend="aot_eager")(logits, targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets))
