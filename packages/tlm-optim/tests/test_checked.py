"""What all optimizers share."""

import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import SGD, Adafactor, AdamW, Lion, Muon
from torch import nn

MAKERS = {
    "AdamW": lambda params, **settings: AdamW(params, **{"lr": 1e-2, **settings}),
    "SGD": lambda params, **settings: SGD(params, **{"lr": 1e-2, "momentum": 0.9, **settings}),
    "Lion": lambda params, **settings: Lion(params, **{"lr": 1e-3, **settings}),
    "Adafactor": lambda params, **settings: Adafactor(params, **{"lr": 1e-2, **settings}),
    "Muon": lambda params, **settings: Muon(params, **{"lr": 1e-2, **settings}),
}
each_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def gradient(shape, step, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(step)).to(dtype)


def walk(make, start, steps=5, first=0, optimizer=None, sign=1, **settings):
    """Steps along gradients that depend on nothing but the step."""
    weight = nn.Parameter(start.clone()) if optimizer is None else start
    optimizer = make([weight], **settings) if optimizer is None else optimizer
    for step in range(first, first + steps):
        weight.grad = sign * gradient(weight.shape, step, weight.dtype)
        optimizer.step()
    return weight, optimizer


@each_optimizer
def test_maximize_is_descent_with_the_gradients_reversed(make):
    start = torch.randn(6, 4)
    down, _ = walk(make, start, sign=-1, weight_decay=0.1)
    up, _ = walk(make, start, maximize=True, weight_decay=0.1)
    assert torch.equal(down, up)
    assert not torch.equal(down, start)


@each_optimizer
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(0, 100), st.floats(0.0, 0.5)
)
def test_decay_is_decoupled(make, shape, seed, decay):
    start = gradient(shape, seed)
    still, optimizer = nn.Parameter(start.clone()), None
    optimizer = make([still], lr=0.1, weight_decay=decay)
    still.grad = torch.zeros(shape)
    optimizer.step()
    torch.testing.assert_close(still.data, start * (1 - 0.1 * decay))


@each_optimizer
def test_a_step_of_no_size_does_nothing(make):
    start = torch.randn(6, 4)
    weight, _ = walk(make, start, lr=0.0, weight_decay=0.5)
    assert torch.equal(weight, start)


@each_optimizer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_types_lose_no_step(make, dtype):
    start = (1 + torch.rand(6, 4)).to(dtype)
    half, optimizer = nn.Parameter(start.clone()), None
    whole = nn.Parameter(start.float())
    # a step of this size is a small part of the spacing of the weights
    lr = {SGD: 1e-4, Adafactor: 2e-5}.get(type(make([half])), 2e-5)
    optimizer, reference = make([half], lr=lr), make([whole], lr=lr)
    for step in range(200):
        half.grad = (gradient(start.shape, step) + 1).to(dtype)
        whole.grad = half.grad.float()
        optimizer.step()
        reference.step()
    assert (whole - start).abs().max() > 2e-3
    spacing = torch.finfo(dtype).eps
    assert half.dtype == dtype
    # the weights are at most 2, so half a spacing is eps; a thousandth is for the rests' rounding
    assert (half - whole).abs().max() <= 1.001 * spacing
    exact = half.float() + optimizer.state[half]["rounded_off"]
    torch.testing.assert_close(exact, whole.data, rtol=0, atol=spacing / 10)
    for name, value in optimizer.state[half].items():
        assert value.dtype == (dtype if name == "rounded_off" else torch.float32), name


@each_optimizer
def test_a_weight_changed_from_outside_stays_changed(make):
    weight, optimizer = walk(make, torch.ones(6, 4, dtype=torch.bfloat16))
    weight.data.fill_(7.0)
    optimizer.param_groups[0].update(lr=0.0)
    walk(make, weight, steps=1, optimizer=optimizer)
    torch.testing.assert_close(weight.data, torch.full_like(weight, 7.0))


@each_optimizer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("before", [1.0, 100.0])
@pytest.mark.parametrize("after", [0.0, 1e-3, 1.0, -1.0])
def test_what_was_rounded_off_another_weight_is_dropped(make, dtype, before, after):
    weight, optimizer = walk(make, torch.full((6, 4), before, dtype=dtype))
    assert optimizer.state[weight]["rounded_off"].any()
    weight.data.fill_(after)
    optimizer.param_groups[0].update(lr=0.0)
    walk(make, weight, steps=1, optimizer=optimizer)
    assert torch.equal(weight.data, torch.full_like(weight, after))


def test_a_weight_that_was_not_finite_can_be_set_anew():
    weight = nn.Parameter(torch.full((2,), 65504.0, dtype=torch.float16))
    optimizer = SGD([weight], lr=1.0)
    for grad in (-60000.0, float("nan")):
        weight.grad = torch.full_like(weight, grad)
        optimizer.step()
        assert not weight.isfinite().any()
        weight.data.fill_(2.0)
        weight.grad = torch.full_like(weight, 0.5)
        optimizer.step()
        assert weight.tolist() == [1.5, 1.5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_rest_of_half_a_spacing_is_kept(dtype):
    eps = torch.finfo(dtype).eps
    weight = nn.Parameter(torch.tensor([1 + eps], dtype=dtype))
    weight.grad = -torch.ones_like(weight)
    # Rounded to half a spacing, the rest of this step would round the sum up, to an even number.
    optimizer = SGD([weight], lr=0.4999 * eps)
    optimizer.step()
    assert weight.item() == 1 + eps
    assert optimizer.state[weight]["rounded_off"].item() == 0.5 * eps
    optimizer.param_groups[0]["lr"] = 0.25 * eps
    optimizer.step()
    exact = weight.double() + optimizer.state[weight]["rounded_off"]
    assert exact.item() == 1 + 1.75 * eps


@each_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_saved_and_loaded_goes_on_bit_for_bit(make, dtype, tmp_path):
    start = torch.randn(6, 4).to(dtype)
    unbroken, _ = walk(make, start, steps=9)
    weight, optimizer = walk(make, start, steps=4)
    torch.save([weight.data, optimizer.state_dict()], tmp_path / "state.pt")
    saved, state = torch.load(tmp_path / "state.pt", weights_only=True)
    second = nn.Parameter(saved)
    optimizer = make([second], lr=1.0)
    optimizer.load_state_dict(state)
    walk(make, second, steps=5, first=4, optimizer=optimizer)
    assert torch.equal(second, unbroken)


@each_optimizer
def test_a_copy_goes_on_alone(make):
    weight, optimizer = walk(make, torch.randn(6, 4))
    before = weight.detach().clone()
    copied_weight, copied = copy.deepcopy((weight, optimizer))
    walk(make, copied_weight, optimizer=copied, first=5)
    assert torch.equal(weight, before)
    walk(make, weight, optimizer=optimizer, first=5)
    assert torch.equal(weight, copied_weight)


@each_optimizer
def test_float64_is_exact(make):
    weight, optimizer = walk(make, torch.randn(6, 4, dtype=torch.float64))
    assert weight.dtype == torch.float64
    for name, value in optimizer.state[weight].items():
        assert value.dtype == (torch.float32 if name == "step" else torch.float64)


@each_optimizer
def test_no_more_is_updated_in_one_go_than_a_part(make, monkeypatch):
    def run():
        weights = [nn.Parameter(gradient((5, 4 + i % 2), i)) for i in range(7)]
        optimizer = make(weights)
        for step in range(3):
            for weight in weights:
                weight.grad = gradient(weight.shape, step)
            optimizer.step()
        return weights, optimizer

    whole, _ = run()
    monkeypatch.setattr("tlm_optim.checked._part_elements", lambda device: 50)
    apart, optimizer = run()
    counts = [len(part.weights) for part in optimizer._parts()]
    assert counts == ([7] if isinstance(optimizer, (AdamW, SGD)) else [2, 2, 2, 1])
    for one, other in zip(whole, apart, strict=True):
        torch.testing.assert_close(one, other)


@each_optimizer
@pytest.mark.parametrize("kind", ["sparse", "second group"])
def test_sparse_gradients_are_refused_and_nothing_moves(make, kind):
    dense, table = nn.Parameter(torch.ones(2, 2)), nn.Embedding(4, 2, sparse=True)
    dense.grad = torch.ones(2, 2)
    table(torch.tensor([1])).sum().backward()
    weights = [dense, table.weight]
    optimizer = make(weights if kind == "sparse" else [{"params": [w]} for w in weights])
    with pytest.raises(TypeError, match=rf"{type(optimizer).__name__} takes no sparse gradients"):
        optimizer.step()
    assert torch.equal(dense, torch.ones(2, 2))
    assert not optimizer.state


@each_optimizer
def test_complex_parameters_are_refused(make):
    with pytest.raises(TypeError, match=r"takes no complex parameters.*view_as_real"):
        make([nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))])


@each_optimizer
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0 must be a finite number, not negative"),
        ({"lr": float("nan")}, "lr=nan must be a finite number, not negative"),
        ({"lr": float("inf")}, "lr=inf must be a finite number, not negative"),
        ({"lr": "1e-3"}, "lr='1e-3' must be a finite number, not negative"),
        ({"lr": None}, "lr=None must be a finite number, not negative"),
        ({"lr": torch.tensor([0.1])}, "lr=tensor([0.1000]) must be a finite number, not negative"),
        ({"lr": torch.ones(2)}, "lr=tensor([1., 1.]) must be a finite number, not negative"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be a finite number, not negative"),
        ({"weight_decay": None}, "weight_decay=None must be a finite number, not negative"),
        ({"weight_decay": 1j}, "weight_decay=1j must be a finite number, not negative"),
        ({"maximize": None}, "maximize=None must be True or False"),
    ],
)
def test_settings_out_of_range(make, settings, message):
    weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match=re.escape(message)):
        make([weight], **settings)
    with pytest.raises(ValueError, match=re.escape(message)):
        make([{"params": [weight], **settings}])


@each_optimizer
def test_unknown_options_are_refused(make):
    with pytest.raises(ValueError, match=r"learning_rate=0.1 is not an option of .*: it has lr"):
        make([{"params": [nn.Parameter(torch.ones(2, 2))], "learning_rate": 0.1}])


@each_optimizer
def test_the_state_of_another_model_is_refused(make):
    _, optimizer = walk(make, torch.ones(2, 3))
    other = make([nn.Parameter(torch.ones(3, 5))])
    with pytest.raises(ValueError, match="is the state of another model"):
        other.load_state_dict(optimizer.state_dict())
    assert not other.state


@each_optimizer
def test_the_state_of_another_optimizer_is_refused(make):
    weight = nn.Parameter(torch.ones(2, 3))
    weight.grad = torch.ones(2, 3)
    theirs = torch.optim.Adamax([weight])
    theirs.step()
    optimizer = make([weight])
    with pytest.raises(ValueError, match=f"another optimizer than|{type(optimizer).__name__}"):
        optimizer.load_state_dict(theirs.state_dict())


@each_optimizer
def test_a_learning_rate_may_be_a_tensor(make):
    start = torch.randn(6, 4)
    weight, optimizer = walk(make, start, lr=torch.tensor(0.25), weight_decay=0.5)
    optimizer.param_groups[0]["lr"].fill_(0.125)
    walk(make, weight, optimizer=optimizer, first=5)
    other, optimizer = walk(make, start, lr=0.25, weight_decay=0.5)
    optimizer.param_groups[0]["lr"] = 0.125
    walk(make, other, optimizer=optimizer, first=5)
    torch.testing.assert_close(weight, other)


@each_optimizer
def test_layouts_in_memory_may_differ(make):
    layouts = [
        lambda x: x.clone(),
        lambda x: x.mT.contiguous().mT,
        lambda x: torch.cat((x, x), dim=-1)[..., : x.shape[-1]],
    ]
    start = torch.randn(6, 4)
    expected, _ = walk(make, start)
    for lay_out in layouts[:2]:
        weight = nn.Parameter(lay_out(start))
        optimizer = make([weight])
        for step in range(5):
            weight.grad = layouts[step % 3](gradient(start.shape, step))
            optimizer.step()
        torch.testing.assert_close(weight, expected)
