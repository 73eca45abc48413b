import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import cross_entropy, linear_cross_entropy, soft_cap
from transformers import Gemma2Config, Gemma2ForCausalLM

leadings = st.lists(st.integers(1, 4), max_size=3)
z_losses = st.sampled_from([0.0, 1e-4, 0.3])


def exact(logits, targets, ignore_index=-100, z_loss=0.0, logit_soft_cap=None):
    """The loss as torch has it, with PaLM's z-loss and Gemma's cap by their formulas."""
    if logit_soft_cap is not None:
        logits = torch.tanh(logits / logit_soft_cap) * logit_soft_cap
    logits, targets = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    loss = F.cross_entropy(logits, targets, ignore_index=ignore_index)
    log_z = torch.logsumexp(logits, -1)[targets != ignore_index]
    return loss + z_loss * log_z.square().mean()


def some_targets(vocab_size, shape, ignore_index, share=0.3):
    """Random targets, of which a share is to be ignored, but never all."""
    targets = torch.randint(vocab_size, shape)
    ignored = torch.rand(shape) < share
    ignored.view(-1)[0] = False
    return targets.masked_fill(ignored, ignore_index)


@given(
    leadings,
    st.integers(1, 20),
    st.sampled_from([1.0, 1000.0]),
    st.sampled_from([-100, -1, 30]),
    z_losses,
)
def test_equals_torch_with_its_gradient(leading, vocab_size, scale, ignore_index, z_loss):
    ours = scale * torch.randn(*leading, vocab_size)
    theirs = ours.clone().requires_grad_()
    ours.requires_grad_()
    targets = some_targets(vocab_size, leading, ignore_index)
    loss = cross_entropy(ours, targets, ignore_index=ignore_index, z_loss=z_loss)
    expected = exact(theirs, targets, ignore_index, z_loss)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


TOLERANCES = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-4, "atol": 2e-6},
    # Logits, and the gradients by them, are rounded to 8 bits.
    torch.bfloat16: {"rtol": 3e-2, "atol": 1e-2},
}


@given(
    leadings,
    st.integers(1, 12),
    st.integers(1, 40),
    st.sampled_from(list(TOLERANCES)),
    st.sampled_from([-100, -1, 50]),
    z_losses,
    st.sampled_from([None, 0.5, 30.0]),
    st.sampled_from([None, 1, 2, 3, 7, 1000]),
)
def test_from_hidden_states_it_equals_torch_with_its_gradients(
    leading, d_model, vocab_size, dtype, ignore_index, z_loss, cap, chunk_tokens
):
    hidden = torch.randn(*leading, d_model).to(dtype).requires_grad_()
    weight = (torch.randn(vocab_size, d_model) / d_model**0.5).to(dtype).requires_grad_()
    targets = some_targets(vocab_size, leading, ignore_index)
    wide = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    loss = linear_cross_entropy(
        hidden,
        weight,
        targets,
        ignore_index=ignore_index,
        z_loss=z_loss,
        logit_soft_cap=cap,
        chunk_tokens=chunk_tokens,
    )
    expected = exact(wide[0] @ wide[1].T, targets, ignore_index, z_loss, cap)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(loss.double(), expected, **TOLERANCES[dtype])
    loss.backward()
    expected.backward()
    for ours, theirs in zip((hidden, weight), wide, strict=True):
        assert ours.grad.dtype == dtype
        torch.testing.assert_close(ours.grad.double(), theirs.grad, **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"z_loss": 0.1, "logit_soft_cap": 2.0}])
def test_autocast_equals_the_plain_loss_under_autocast(dtype, options):
    hidden, weight = torch.randn(40, 16).to(dtype), torch.randn(30, 16)
    hidden.requires_grad_()
    weight.requires_grad_()
    targets = some_targets(30, (40,), -100)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets, chunk_tokens=16, **options)
        logits = F.linear(hidden, weight)
        assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    expected = exact(logits.float(), targets, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-3)
    ours = torch.autograd.grad(loss, (hidden, weight))
    theirs = torch.autograd.grad(expected, (hidden, weight))
    assert [x.dtype for x in ours] == [dtype, torch.float32]
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=5e-2, atol=2e-3)


def test_autocast_leaves_float64_alone():
    hidden, weight = torch.randn(5, 4).double(), torch.randn(7, 4).double()
    targets = torch.randint(7, (5,))
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(loss, exact(hidden @ weight.T, targets))


def loss_and_inputs(**options):
    hidden = torch.randn(3, 3, 4, requires_grad=True)
    weight = torch.randn(7, 4, requires_grad=True)
    targets = torch.randint(7, (3, 3))
    loss = linear_cross_entropy(hidden, weight, targets, chunk_tokens=4, **options)
    return loss, hidden, weight, targets


def test_gradients_are_scaled_by_what_comes_from_above():
    loss, hidden, weight, targets = loss_and_inputs()
    ours = torch.autograd.grad(3 * loss + loss.square(), (hidden, weight))
    loss = exact(hidden @ weight.T, targets)
    theirs = torch.autograd.grad(3 * loss + loss.square(), (hidden, weight))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)


def test_the_graph_may_be_kept_and_gone_through_again():
    loss, hidden, weight, _ = loss_and_inputs()
    loss.backward(retain_graph=True)
    once = hidden.grad.clone(), weight.grad.clone()
    hidden.grad.mul_(100)  # as clipping does, in place
    weight.grad.mul_(100)
    hidden.grad, weight.grad = None, None
    for times in (1, 2, 3, 4):
        loss.backward(retain_graph=True)
        torch.testing.assert_close(hidden.grad, times * once[0])
        torch.testing.assert_close(weight.grad, times * once[1])
    (2 * loss).backward()
    torch.testing.assert_close(weight.grad, 6 * once[1])


def test_a_gradient_of_the_gradient_is_refused():
    loss, hidden, _, _ = loss_and_inputs()
    with pytest.raises(RuntimeError, match="no second derivative: take cross_entropy"):
        torch.autograd.grad(loss, hidden, create_graph=True)


def test_a_loss_scale_reaches_half_gradients_before_they_round():
    hidden = torch.randn(4096, 8).to(torch.float16).requires_grad_()
    weight = torch.randn(30, 8).to(torch.float16).requires_grad_()
    targets = torch.randint(30, (4096,))
    (linear_cross_entropy(hidden, weight, targets) * 2**16).backward()
    wide = hidden.detach().float().requires_grad_()
    (F.cross_entropy(wide @ weight.detach().float().T, targets) * 2**16).backward()
    assert (hidden.grad == 0).float().mean() < 0.001
    torch.testing.assert_close(hidden.grad.float(), wide.grad, rtol=0.02, atol=0.1)


def test_where_no_target_counts_gradients_are_zero_as_torchs_are():
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    targets = torch.full((3,), -100)
    for loss in (
        linear_cross_entropy(hidden, weight, targets),
        cross_entropy(hidden @ weight.T, targets),
        F.cross_entropy(hidden @ weight.T, targets),
    ):
        assert loss.isnan()
        grads = torch.autograd.grad(loss, (hidden, weight))
        assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_loss": -1.0}, "z_loss=-1.0 must be a number that is not negative"),
        ({"logit_soft_cap": 0.0}, "logit_soft_cap=0.0 must be a positive number, or None"),
    ],
)
def test_options_out_of_range(options, message):
    hidden, weight = torch.zeros(2, 3), torch.zeros(4, 3)
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(hidden, weight, torch.zeros(2, dtype=torch.int64), **options)


@pytest.mark.parametrize("loss", [cross_entropy, lambda x, y: linear_cross_entropy(x, x, y)])
def test_types_of_targets(loss):
    x = torch.randn(4, 4)
    torch.testing.assert_close(loss(x, torch.arange(4).int()), loss(x, torch.arange(4)))
    with pytest.raises(TypeError, match=r"targets are torch\.float32; they must be int32 or int64"):
        loss(x, torch.arange(4.0))


@pytest.mark.parametrize("trained", ["hidden", "weight", "neither"])
def test_only_what_is_asked_for_gets_a_gradient(trained):
    loss, hidden, weight, targets = loss_and_inputs()
    loss.backward()
    alone = [
        x.detach().requires_grad_(name == trained)
        for name, x in (("hidden", hidden), ("weight", weight))
    ]
    again = linear_cross_entropy(*alone, targets, chunk_tokens=4)
    assert torch.equal(again, loss)
    assert again.requires_grad == (trained != "neither")
    if again.requires_grad:
        again.backward()
    for ours, both in zip(alone, (hidden, weight), strict=True):
        assert ours.grad is None or torch.equal(ours.grad, both.grad)
        assert (ours.grad is not None) == ours.requires_grad


def test_without_gradients_there_is_no_work_for_them(record_allocations):
    def cost(grad):
        with torch.set_grad_enabled(grad), record_allocations() as allocations:
            loss, *_ = loss_and_inputs()
        return loss, allocations.total_bytes

    torch.manual_seed(0)
    with_gradients, its_bytes = cost(True)
    torch.manual_seed(0)
    without, less_bytes = cost(False)
    assert torch.equal(with_gradients, without)
    assert not without.requires_grad
    assert less_bytes < its_bytes


def test_a_tied_weight_gets_both_gradients():
    table = torch.randn(7, 4, requires_grad=True)
    token_ids, targets = torch.randint(7, (9,)), torch.randint(7, (9,))
    loss = linear_cross_entropy(F.embedding(token_ids, table).tanh(), table, targets)
    expected = exact(F.embedding(token_ids, table).tanh() @ table.T, targets)
    (ours,) = torch.autograd.grad(loss, table)
    (theirs,) = torch.autograd.grad(expected, table)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_where_no_target_counts_it_is_nan_as_torchs(shape):
    hidden, weight = torch.randn(*shape, 4, requires_grad=True), torch.randn(7, 4)
    targets = torch.full(shape, -100)
    loss = linear_cross_entropy(hidden, weight, targets)
    assert loss.isnan()
    assert exact(hidden @ weight.T, targets).isnan()
    assert cross_entropy(hidden @ weight.T, targets).isnan()
    loss.backward()
    assert hidden.grad.shape == hidden.shape


def test_what_is_ignored_has_no_effect():
    hidden, weight = torch.randn(6, 4), torch.randn(7, 4)
    targets = torch.tensor([3, -100, 5, -100, 0, 6])
    loss = linear_cross_entropy(hidden, weight, targets, z_loss=0.1, chunk_tokens=2)
    counted = targets != -100
    alone = linear_cross_entropy(hidden[counted], weight, targets[counted], z_loss=0.1)
    torch.testing.assert_close(loss, alone)
    hidden[~counted] = 1e4
    again = linear_cross_entropy(hidden, weight, targets, z_loss=0.1, chunk_tokens=2)
    assert torch.equal(loss, again)


def test_no_tensor_holds_all_logits(record_allocations):
    hidden = torch.randn(512, 8, requires_grad=True)
    weight = torch.randn(4000, 8, requires_grad=True)
    targets = some_targets(4000, (512,), -100)
    for options in ({}, {"z_loss": 1e-4, "logit_soft_cap": 30.0}):
        with record_allocations() as plain:
            exact(hidden @ weight.T, targets, **options).backward()
        with record_allocations() as chunked:
            linear_cross_entropy(hidden, weight, targets, chunk_tokens=64, **options).backward()
        assert plain.largest == 512 * 4000
        assert chunked.largest == 64 * 4000
    with record_allocations() as chunked, torch.autocast("cpu", torch.bfloat16):
        linear_cross_entropy(hidden, weight, targets, chunk_tokens=64).backward()
    assert chunked.largest == 64 * 4000


PEAK = """
import pathlib, re, sys, torch
import torch.nn.functional as F
from tlm_layers import linear_cross_entropy

def peak_kib():  # not ru_maxrss, which begins at that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

hidden = torch.randn(1536, 64, requires_grad=True)
weight = torch.randn(50_257, 64, requires_grad=True)
targets = torch.randint(50_257, (1536,))
F.cross_entropy(hidden[:8] @ weight[:8].T, targets[:8] % 8).backward()  # what is loaded once
before = peak_kib()
if sys.argv[1] == "plain":
    F.cross_entropy(hidden @ weight.T, targets).backward()
else:
    linear_cross_entropy(hidden, weight, targets).backward()
print((peak_kib() - before) / 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_peak_memory_at_a_vocabulary_of_50k():
    def peak_mib(kind):
        command = [sys.executable, "-c", PEAK, kind]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    all_logits = 1536 * 50_257 * 4 / 2**20
    assert peak_mib("plain") > 1.5 * all_logits
    # chunks of 256 positions: a sixth, held a few times over; and the gradients
    assert peak_mib("chunked") < all_logits


def test_finite_where_exp_overflows():
    logits = torch.tensor([[1e5, -1e5, 0.0]])
    assert cross_entropy(logits, torch.tensor([0])).item() == 0.0
    assert cross_entropy(logits, torch.tensor([1])).item() == 2e5
    identity = torch.eye(3)
    assert linear_cross_entropy(logits, identity, torch.tensor([0])).item() == 0.0
    assert linear_cross_entropy(logits, identity, torch.tensor([1])).item() == 2e5


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(5, 100).to(torch.bfloat16)
    targets = torch.randint(100, (5,))
    assert cross_entropy(logits, targets).dtype == torch.float32
    assert torch.equal(cross_entropy(logits, targets), cross_entropy(logits.float(), targets))


def test_gradients_of_many_chunks_do_not_vanish_in_half_precision():
    hidden = torch.full((4096, 1), 1.0, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    linear_cross_entropy(
        hidden, weight, torch.zeros(4096, dtype=torch.int64), chunk_tokens=1
    ).backward()
    assert weight.grad.tolist() == [[-0.5], [0.5]]


def test_soft_cap_equals_gemma():
    config = Gemma2Config(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        final_logit_softcapping=0.2,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    gemma = Gemma2ForCausalLM(config)
    token_ids = torch.randint(11, (2, 5))
    logits = gemma.lm_head(gemma.model(token_ids).last_hidden_state)
    assert logits.abs().max() > 0.01
    torch.testing.assert_close(soft_cap(logits, 0.2), gemma(token_ids).logits)


def test_soft_cap_of_none_is_the_identity():
    logits = torch.randn(3)
    assert soft_cap(logits, None) is logits


def test_shapes_must_match():
    message = "targets of shape (3,) must match all axes but the last of {} of shape (2, 3, 5)"
    targets = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=re.escape(message.format("logits"))):
        cross_entropy(torch.zeros(2, 3, 5), targets)
    with pytest.raises(ValueError, match=re.escape(message.format("hidden"))):
        linear_cross_entropy(torch.zeros(2, 3, 5), torch.zeros(7, 5), targets)


def test_the_weight_must_fit():
    message = "weight of shape (7, 4) must be (vocab_size, d_model) for hidden of shape (3, 5)"
    with pytest.raises(ValueError, match=re.escape(message)):
        linear_cross_entropy(torch.zeros(3, 5), torch.zeros(7, 4), torch.zeros(3).long())


def test_a_chunk_of_nothing():
    with pytest.raises(ValueError, match="chunk_tokens=0 must be positive"):
        linear_cross_entropy(
            torch.zeros(3, 5), torch.zeros(7, 5), torch.zeros(3).long(), chunk_tokens=0
        )


@pytest.mark.parametrize(
    ("low", "high", "ignore_index"), [(0, 5, -100), (-1, 3, -100), (-100, 3, -1)]
)
def test_targets_outside_the_vocabulary(low, high, ignore_index):
    message = f"targets go from {low} to {high}; they must be from 0 to 4 (vocab_size=5)"
    targets = torch.tensor([low, high])
    with pytest.raises(ValueError, match=re.escape(message)):
        cross_entropy(torch.zeros(2, 5), targets, ignore_index=ignore_index)
    with pytest.raises(ValueError, match=re.escape(message)):
        linear_cross_entropy(
            torch.zeros(2, 3), torch.zeros(5, 3), targets, ignore_index=ignore_index
        )
