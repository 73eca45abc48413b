from tlm_optim import param_groups
from torch import nn


def test_matrices_decay_and_the_rest_does_not():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    matrices, others = param_groups(model, weight_decay=0.1)
    assert matrices["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    assert [p.shape for p in matrices["params"]] == [(5, 4), (3, 4)]
    assert [p.shape for p in others["params"]] == [(4,), (4,), (3,)]


def test_shared_once_and_frozen_not_at_all():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad_(False)
    matrices, others = param_groups(model, weight_decay=0.1)
    assert len(matrices["params"]) == 1
    assert others["params"] == []
