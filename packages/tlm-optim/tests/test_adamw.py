import copy
import math
import re

import pytest
import torch
import torch.nn.functional as F
from tlm_optim import AdamW, param_groups
from torch import nn


def small_model(seed=0, dtype=None):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(7, 13), nn.LayerNorm(13), nn.GELU(), nn.Linear(13, 3)).to(dtype)


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        dtype = next(model.parameters()).dtype
        x = torch.randn(5, 7, generator=generator).to(dtype)
        y = torch.randn(5, 3, generator=generator).to(dtype)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def assert_same_weights(one, other, **tolerance):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


SETTINGS = [
    {},
    {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3},
    {"lr": 1e-2, "betas": (0.0, 0.0), "weight_decay": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("form", ["fused", "foreach", "loop"])
def test_equals_torch_over_many_steps(settings, form):
    forms = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}
    ours, theirs = small_model(), small_model()
    train(ours, AdamW(ours.parameters(), **settings), 200)
    train(theirs, torch.optim.AdamW(theirs.parameters(), **settings, **forms[form]), 200)
    assert_same_weights(ours, theirs, rtol=1e-4, atol=1e-5)


def test_equals_the_paper_in_a_plain_loop():
    lr, beta1, beta2, eps, decay = 0.01, 0.9, 0.99, 1e-8, 0.1
    gradient = [math.sin(step) for step in range(1, 101)]
    theta, m, v = 1.5, 0.0, 0.0
    weight = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimizer = AdamW([weight], lr, (beta1, beta2), eps, decay)
    for t, g in enumerate(gradient, start=1):
        theta -= lr * decay * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        theta -= lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
        weight.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert weight.item() == pytest.approx(theta, rel=1e-10)


def test_groups_have_their_own_settings():
    def groups(model):
        matrices, others = param_groups(model, weight_decay=0.5)
        return [{**matrices, "lr": 1e-2}, {**others, "betas": (0.5, 0.5)}]

    ours, theirs = small_model(), small_model()
    train(ours, AdamW(groups(ours)), 50)
    train(theirs, torch.optim.AdamW(groups(theirs)), 50)
    assert_same_weights(ours, theirs, rtol=1e-4, atol=1e-5)


def test_learning_rate_can_change_between_steps():
    ours, theirs = small_model(), small_model()
    for model, optimizer in (
        (ours, AdamW(ours.parameters())),
        (theirs, torch.optim.AdamW(theirs.parameters())),
    ):
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=10)
        for step in range(20):
            train(model, optimizer, 1, start=step)
            scheduler.step()
    assert_same_weights(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("theirs_kind", [{"fused": True}, {"foreach": False}])
def test_torch_goes_on_from_our_state(theirs_kind):
    ours = small_model()
    optimizer = AdamW(ours.parameters(), lr=1e-2, weight_decay=0.2)
    train(ours, optimizer, 20)
    theirs = copy.deepcopy(ours)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), **theirs_kind)
    their_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert their_optimizer.param_groups[0]["lr"] == 1e-2
    train(ours, optimizer, 20, start=20)
    train(theirs, their_optimizer, 20, start=20)
    assert_same_weights(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("theirs_kind", [{"fused": True}, {"foreach": False}])
def test_we_go_on_from_the_state_of_torch(theirs_kind):
    theirs = small_model()
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2, **theirs_kind)
    train(theirs, their_optimizer, 20)
    ours = copy.deepcopy(theirs)
    optimizer = AdamW(ours.parameters())
    optimizer.load_state_dict(copy.deepcopy(their_optimizer.state_dict()))
    assert optimizer.param_groups[0]["lr"] == 1e-2
    train(ours, optimizer, 20, start=20)
    train(theirs, their_optimizer, 20, start=20)
    assert_same_weights(ours, theirs, rtol=1e-4, atol=1e-5)


def test_state_has_the_names_and_types_of_torch():
    def described(optimizer_class):
        model = small_model()
        optimizer = optimizer_class(model.parameters())
        train(model, optimizer, 3)
        state = optimizer.state_dict()["state"]
        return {
            index: {name: (value.shape, value.dtype) for name, value in values.items()}
            for index, values in state.items()
        }

    assert described(AdamW) == described(torch.optim.AdamW)


def test_saved_and_loaded_goes_on_bit_for_bit(tmp_path):
    unbroken, first = small_model(), small_model()
    train(unbroken, AdamW(unbroken.parameters()), 30)
    optimizer = AdamW(first.parameters())
    train(first, optimizer, 13)
    torch.save([first.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
    second = small_model(seed=1)
    optimizer = AdamW(second.parameters())
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.load_state_dict(weights)
    optimizer.load_state_dict(state)
    train(second, optimizer, 17, start=13)
    assert_same_weights(unbroken, second, rtol=0, atol=0)


def test_runs_are_the_same_bit_for_bit():
    one, other = small_model(), small_model()
    for model in (one, other):
        train(model, AdamW(model.parameters()), 20)
    assert_same_weights(one, other, rtol=0, atol=0)


def test_float64_equals_torch():
    ours, theirs = small_model(dtype=torch.float64), small_model(dtype=torch.float64)
    train(ours, AdamW(ours.parameters()), 20)
    train(theirs, torch.optim.AdamW(theirs.parameters(), foreach=False), 20)
    assert_same_weights(ours, theirs, rtol=1e-10, atol=1e-12)
    assert {p.dtype for p in ours.parameters()} == {torch.float64}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_stay_within_rounding_of_float64(dtype):
    ours = nn.Parameter(torch.linspace(-1, 1, 101).to(dtype))
    exact = nn.Parameter(ours.detach().double())
    optimizer, reference = (
        AdamW([ours], lr=1e-2, eps=1e-4),
        torch.optim.AdamW([exact], lr=1e-2, eps=1e-4, foreach=False),
    )
    for step in range(20):
        ours.grad = torch.randn(101, generator=torch.Generator().manual_seed(step)).to(dtype)
        exact.grad = ours.grad.double()
        optimizer.step()
        reference.step()
    # one rounding of a weight of about 1, and a little of the rounding of what it takes away
    tolerance = 0.6 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=tolerance)
    assert ours.dtype == dtype
    assert optimizer.state[ours]["exp_avg"].dtype == torch.float32


def test_weights_of_two_types_in_one_group():
    weights = [nn.Parameter(torch.ones(3, dtype=t)) for t in (torch.float32, torch.float64)]
    for weight in weights:
        weight.grad = torch.full_like(weight, 0.5)
    AdamW(weights, lr=0.1, weight_decay=0.0).step()
    for weight in weights:
        torch.testing.assert_close(weight.data, torch.full_like(weight, 0.9))


def test_no_gradient_no_move():
    still, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    moved.grad = torch.ones(2)
    optimizer = AdamW([still, moved])
    optimizer.step()
    assert torch.equal(still, torch.ones(2))
    assert not torch.equal(moved, torch.ones(2))
    assert still not in optimizer.state


def test_step_with_nothing_to_do():
    weight = nn.Parameter(torch.ones(2))
    AdamW([weight]).step()
    assert torch.equal(weight, torch.ones(2))


def test_closure():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = AdamW([weight])

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert weight.item() < 2.0
    assert optimizer.step() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0 must be a finite number, not negative"),
        ({"lr": math.nan}, "lr=nan must be a finite number, not negative"),
        ({"eps": -1e-8}, "eps=-1e-08 must be a finite number, not negative"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be a finite number, not negative"),
        ({"betas": (1.0, 0.9)}, "betas=(1.0, 0.9) must be two numbers, each at least 0 and"),
        ({"betas": (0.9, -0.1)}, "betas=(0.9, -0.1) must be two numbers, each at least 0 and"),
        ({"betas": 0.9}, "betas=0.9 must be two numbers, each at least 0 and below 1"),
        ({"betas": (0.9, "a")}, "betas=(0.9, 'a') must be two numbers, each at least 0 and"),
        ({"betas": (0.9,)}, "betas=(0.9,) must be two numbers"),
        ({"betas": (0.9, 0.9, 0.9)}, "betas=(0.9, 0.9, 0.9) must be two numbers"),
    ],
)
def test_settings_out_of_range(settings, message):
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=re.escape(message)):
        AdamW([weight], **settings)
    with pytest.raises(ValueError, match=re.escape(message)):
        AdamW([{"params": [weight], **settings}])


@pytest.mark.parametrize("groups", [1, 2])
def test_sparse_gradient_is_refused_and_nothing_moves(groups):
    dense, table = nn.Parameter(torch.ones(2)), nn.Embedding(4, 2, sparse=True)
    dense.grad = torch.ones(2)
    table(torch.tensor([1])).sum().backward()
    weights = [dense, table.weight]
    optimizer = AdamW(weights if groups == 1 else [{"params": [w]} for w in weights])
    with pytest.raises(TypeError, match=r"AdamW takes no sparse gradients.*shape \(4, 2\)"):
        optimizer.step()
    assert torch.equal(dense, torch.ones(2))
    assert not optimizer.state


@pytest.mark.parametrize("option", ["amsgrad", "differentiable"])
def test_a_state_with_an_option_that_is_not_here_is_refused(option):
    weight = nn.Parameter(torch.ones(2))
    theirs = torch.optim.AdamW([weight], **{option: True})
    with pytest.raises(ValueError, match=f"{option}=True: AdamW here has {option}=False only"):
        AdamW([weight]).load_state_dict(theirs.state_dict())


LAYOUTS = {
    "dense": lambda x: x.clone(),
    "transposed": lambda x: x.mT.contiguous().mT,
    "channels last": lambda x: x.clone(memory_format=torch.channels_last),
    "expanded": lambda x: x[:1, :1].expand(x.shape),
    "sliced": lambda x: torch.cat((x, x), dim=-1)[..., : x.shape[-1]],
}


@pytest.mark.parametrize("parameter_layout", ["dense", "transposed", "channels last"])
@pytest.mark.parametrize("grad_layout", LAYOUTS)
@pytest.mark.parametrize("state_layout", LAYOUTS)
def test_layouts_in_memory_may_differ(parameter_layout, grad_layout, state_layout):
    start = torch.randn(3, 4, 5, 2)
    ours = nn.Parameter(LAYOUTS[parameter_layout](start))
    theirs = nn.Parameter(start.clone())
    optimizer, reference = AdamW([ours]), torch.optim.AdamW([theirs], foreach=False)
    state = {
        "step": torch.tensor(3.0),
        "exp_avg": LAYOUTS[state_layout](torch.randn(3, 4, 5, 2)),
        "exp_avg_sq": LAYOUTS[state_layout](torch.rand(3, 4, 5, 2)),
    }
    for each in (optimizer, reference):
        copied = {name: value.contiguous().clone() for name, value in state.items()}
        kept = state if each is optimizer else copied
        each.load_state_dict({**each.state_dict(), "state": {0: kept}})
    for _ in range(3):
        ours.grad = LAYOUTS[grad_layout](torch.randn(3, 4, 5, 2))
        theirs.grad = ours.grad.clone(memory_format=torch.contiguous_format)
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(optimizer.state[ours], reference.state[theirs], check_stride=False)


def test_the_layout_of_a_model_may_change_between_steps():
    def run(optimizer_class, **form):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
        optimizer = optimizer_class(model.parameters(), **form)
        for step in range(6):
            if step == 3:
                model.to(memory_format=torch.channels_last)
            optimizer.zero_grad()
            model(torch.randn(2, 3, 4, 4)).square().mean().backward()
            optimizer.step()
        return model

    assert_same_weights(run(AdamW), run(torch.optim.AdamW, foreach=False))


@pytest.mark.parametrize("layout", ["sliced", "expanded"])
def test_a_parameter_with_gaps_or_overlaps_is_refused(layout):
    x = torch.randn(4, 5)
    weight, whole = nn.Parameter(LAYOUTS[layout](x)), nn.Parameter(torch.ones(2))
    message = r"the parameter of shape \(4, 5\) and strides .* must lie in memory without gaps"
    with pytest.raises(ValueError, match=message):
        AdamW([weight])
    optimizer = AdamW([whole])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": weight})
    assert len(optimizer.param_groups) == 1


def test_a_parameter_that_becomes_a_slice_is_refused_and_nothing_is_written():
    x = torch.zeros(4, 5)
    weight = nn.Parameter(torch.ones(4, 3))
    optimizer = AdamW([weight])
    weight.data = x[:, :3]
    weight.grad = torch.ones(4, 3)
    with pytest.raises(ValueError, match="must lie in memory without gaps or overlaps"):
        optimizer.step()
    assert not x.any()


def test_a_dense_parameter_with_an_axis_of_one_is_taken():
    weight = nn.Parameter(torch.randn(5, 3).T[:, :1])  # strides (1, 3)
    weight.grad = torch.ones(3, 1)
    before = weight.detach().clone()
    AdamW([weight], lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(weight.data, before - 0.1)


def test_complex_parameters_are_refused():
    weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"AdamW takes no complex parameters.*view_as_real"):
        AdamW([weight])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"maximize": 1}, "maximize=1 must be True or False"),
        ({"amsgrad": True}, "amsgrad=True: AdamW here has amsgrad=False only"),
        ({"weight_decy": 0.1}, "weight_decy=0.1 is not an option of AdamW: it has lr, betas, eps"),
        ({"momentum": 0.9}, "momentum=0.9 is not an option of AdamW"),
    ],
)
def test_group_options_that_are_not_here_are_refused(option, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        AdamW([{"params": nn.Parameter(torch.ones(2)), **option}])


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (torch.optim.SGD, "a group without betas: is it of another optimizer than AdamW?"),
        (torch.optim.NAdam, "momentum_decay=0.004 is not an option of AdamW"),
        (torch.optim.Adamax, "a state of step, exp_avg, exp_inf: AdamW's has step, exp_avg and"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(theirs, message):
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    their_optimizer = theirs([weight], lr=0.1)
    their_optimizer.step()
    optimizer = AdamW([weight])
    with pytest.raises(ValueError, match=re.escape(message)):
        optimizer.load_state_dict(their_optimizer.state_dict())
    assert not optimizer.state


def test_the_state_of_another_model_is_refused():
    small, large = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(1000, 3))
    small.grad = torch.ones(2, 3)
    optimizer = AdamW([small])
    optimizer.step()
    message = "exp_avg of shape (2, 3) must have the shape (1000, 3), as its parameter is (1000, 3)"
    with pytest.raises(ValueError, match=re.escape(message)):
        AdamW([large]).load_state_dict(optimizer.state_dict())


def test_the_notes_of_schedulers_pass():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer = AdamW([weight])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    optimizer.step()
    scheduler.step()
    other = AdamW([weight])
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_states_of_bfloat16_weights_pass_to_and_from_torch():
    theirs = small_model(dtype=torch.bfloat16)
    their_optimizer = torch.optim.AdamW(theirs.parameters())
    train(theirs, their_optimizer, 5)
    optimizer = AdamW(theirs.parameters())
    optimizer.load_state_dict(copy.deepcopy(their_optimizer.state_dict()))
    for parameter in theirs.parameters():
        kept = their_optimizer.state[parameter]["exp_avg"]
        assert kept.dtype == torch.bfloat16
        assert torch.equal(optimizer.state[parameter]["exp_avg"].float(), kept.float())
    train(theirs, optimizer, 5, start=5)
    assert {s["exp_avg"].dtype for s in optimizer.state.values()} == {torch.float32}
    their_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(theirs, their_optimizer, 5, start=10)


def test_the_count_of_steps_may_be_a_number():
    one, other = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer, resumed = AdamW([one]), AdamW([other])
    one.grad = torch.ones(3)
    optimizer.step()
    other.data.copy_(one)
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][0]["step"] = 1  # as torch had it before 1.12
    resumed.load_state_dict(state)
    other.grad = one.grad.clone()
    optimizer.step()
    resumed.step()
    assert torch.equal(one, other)


def test_what_a_hook_makes_of_a_state_is_what_is_loaded():
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    first, second = AdamW([weight]), AdamW([weight])
    first.step()

    def halve(optimizer, state_dict):
        state = copy.deepcopy(state_dict["state"])
        state[0]["exp_avg"] /= 3
        return {**state_dict, "state": state}

    second.register_load_state_dict_pre_hook(halve)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.state[weight]["exp_avg"], first.state[weight]["exp_avg"] / 3)
