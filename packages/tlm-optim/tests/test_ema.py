import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import ExponentialMovingAverage
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def small_model(dtype=None):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)).to(dtype)


def change(model, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 0.999))
def test_equals_the_formula(values, decay):
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    ema = ExponentialMovingAverage(model, decay)
    total = 0.0
    for value in values:
        model.weight.data.fill_(value)
        ema.update(model)
        total = decay * total + (1 - decay) * value
    expected = total / (1 - decay ** len(values))
    assert ema.averages["weight"].item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_equals_torch_once_the_start_is_forgotten():
    model = small_model()
    ema = ExponentialMovingAverage(model, 0.5)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    for step in range(40):
        change(model, step)
        ema.update(model)
        theirs.update_parameters(model)
    for name, parameter in theirs.module.named_parameters():
        torch.testing.assert_close(ema.averages[name], parameter.data)


def test_the_model_is_given_back_even_after_an_error():
    model = small_model()
    ema = ExponentialMovingAverage(model, 0.9)
    for step in range(3):
        change(model, step)
        ema.update(model)
    before = copy.deepcopy(model.state_dict())
    weight = model[0].weight
    with pytest.raises(KeyError), ema.applied_to(model):
        assert model[0].weight is weight
        torch.testing.assert_close(weight.data, ema.averages["0.weight"])
        assert not torch.equal(weight, before["0.weight"])
        raise KeyError
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    ema.copy_to(model)
    torch.testing.assert_close(weight.data, ema.averages["0.weight"])


def test_the_average_of_bfloat16_weights_moves_by_less_than_they_can():
    model = small_model(torch.bfloat16)
    ema = ExponentialMovingAverage(model, 0.999)
    for value in [1.0] * 1000 + [1.01] * 100:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(value)
        ema.update(model)
    average = ema.averages["0.weight"]
    assert average.dtype == torch.float32
    step = torch.tensor(1.01, dtype=torch.bfloat16).item() - 1
    share = (1 - 0.999**100) / (1 - 0.999**1100)
    torch.testing.assert_close(average, torch.full_like(average, 1 + share * step))
    with ema.applied_to(model):
        assert model[0].weight.dtype == torch.bfloat16


def test_saved_and_loaded_goes_on_bit_for_bit(tmp_path):
    model = small_model()
    ema = ExponentialMovingAverage(model, 0.9)
    for step in range(6):
        change(model, step)
        ema.update(model)
        if step == 2:
            torch.save(ema.state_dict(), tmp_path / "ema.pt")
    resumed = ExponentialMovingAverage(small_model(), 0.9)
    resumed.load_state_dict(torch.load(tmp_path / "ema.pt", weights_only=True))
    for step in range(3, 6):
        change(model, step)
        resumed.update(model)
    for name, average in ema.averages.items():
        assert torch.equal(average, resumed.averages[name])


def test_frozen_parameters_are_left_out():
    model = small_model()
    model[0].weight.requires_grad_(False)
    assert "0.weight" not in ExponentialMovingAverage(model).averages


def test_another_model_is_refused():
    ema = ExponentialMovingAverage(small_model())
    with pytest.raises(ValueError, match=r"0.weight is missing, and 3 more: is this another mode"):
        ema.update(nn.Linear(2, 2))
    other = ExponentialMovingAverage(nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3)))
    message = "0.weight has the shape (3, 5), and its average (3, 4): is this another model?"
    with pytest.raises(ValueError, match=re.escape(message)):
        ema.load_state_dict(other.state_dict())
    for take in (ema.update, ema.copy_to):
        with pytest.raises(ValueError, match=re.escape(message)):
            take(nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3)))
    assert ema.updates == 0
    more = ExponentialMovingAverage(nn.Sequential(*small_model(), nn.Linear(3, 3)))
    with pytest.raises(ValueError, match=r"2.weight is not averaged, and 1 more"):
        ema.load_state_dict(more.state_dict())
    one_less = {name: average for name, average in ema.averages.items() if name != "0.bias"}
    with pytest.raises(ValueError, match=r"^0.bias is missing: is this another model\?"):
        ema.load_state_dict({**ema.state_dict(), "averages": one_less})
    with pytest.raises(ValueError, match="a state without updates is not of an Exponential"):
        ema.load_state_dict({})
    with pytest.raises(ValueError, match=r"decay=1.0 must be at least 0 and below 1"):
        ExponentialMovingAverage(small_model(), decay=1.0)
