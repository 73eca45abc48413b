import pytest
import torch
from tlm_optim import muon_groups, param_groups
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


def names(model, groups):
    by_id = {id(p): name for name, p in model.named_parameters()}
    return [[by_id[id(p)] for p in group["params"]] for group in groups]


class Decoder(nn.Module):
    """The names and the order of tlm's TransformerLM and of nanoGPT's GPT."""

    def __init__(self, tied=False):
        super().__init__()
        self.token_embeddings = nn.Embedding(11, 4)
        self.positions = nn.Embedding(4, 4)  # of the shape of a hidden matrix
        self.layers = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4)])
        self.ln_final = nn.LayerNorm(4)
        self.lm_head = nn.Linear(4, 11, bias=False)
        if tied:
            self.lm_head.weight = self.token_embeddings.weight


@pytest.mark.parametrize("tied", [False, True])
def test_hidden_matrices_are_those_between_embeddings_and_head(tied):
    model = Decoder(tied)
    hidden, others = muon_groups(model, weight_decay=0.1)
    assert names(model, hidden) == [["layers.0.weight", "layers.1.weight"]]
    assert names(model, others) == [
        ["token_embeddings.weight", "positions.weight"] + ["lm_head.weight"] * (not tied),
        ["layers.1.bias", "ln_final.weight", "ln_final.bias"],
    ]
    assert [group["weight_decay"] for group in hidden + others] == [0.1, 0.1, 0.0]


def test_own_embedding_classes_are_known_by_their_name():
    class TokenEmbedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(11, 4))

    model = nn.Sequential(TokenEmbedding(), nn.Linear(4, 4), nn.Linear(4, 2))
    hidden, _ = muon_groups(model, weight_decay=0.1)
    assert names(model, hidden) == [["1.weight"]]


def test_the_model_may_name_its_output_layer():
    class Pretrained(Decoder):
        def get_output_embeddings(self):
            return self.layers[0]

    model = Pretrained()
    hidden, _ = muon_groups(model, weight_decay=0.1)
    assert names(model, hidden) == [["layers.1.weight", "lm_head.weight"]]


@pytest.mark.parametrize("tied", [False, True])
def test_the_model_may_have_an_output_weight(tied):
    class OutputWeight(nn.Module):
        """As tlm's TransformerLM, in which no module is the output layer where it is tied."""

        def __init__(self):
            super().__init__()
            self.token_embeddings = nn.Embedding(11, 4)
            self.lm_head = None if tied else nn.Linear(4, 11, bias=False)
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        @property
        def output_weight(self):
            return (self.token_embeddings if tied else self.lm_head).weight

    model = OutputWeight()
    hidden, _ = muon_groups(model, weight_decay=0.1)
    assert names(model, hidden) == [["layers.0.weight", "layers.1.weight"]]


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ((), ["layers.0.weight", "layers.1.weight", "lm_head.weight"]),
        (["layers.0", "lm_head.weight"], ["layers.1.weight"]),
        ({"layers"}, ["lm_head.weight"]),
    ],
)
def test_what_is_excluded_can_be_said(exclude, expected):
    model = Decoder()
    hidden, others = muon_groups(model, 0.1, exclude)
    assert names(model, hidden) == [expected]
    everything = [name for group in names(model, hidden + others) for name in group]
    assert sorted(everything) == sorted(name for name, _ in model.named_parameters())


def test_convolutions_are_not_stacks_of_matrices_and_experts_are():
    model = nn.Sequential(nn.Conv1d(3, 4, 5), nn.Linear(4, 4), nn.Linear(4, 2))
    model.experts = nn.Parameter(torch.ones(2, 4, 4))
    hidden, _ = muon_groups(model, 0.1, exclude=["2"])
    assert names(model, hidden) == [["experts", "1.weight"]]


def test_frozen_matrices_are_in_no_group():
    model = Decoder()
    model.layers[0].weight.requires_grad_(False)
    hidden, others = muon_groups(model, 0.1)
    assert names(model, hidden) == [["layers.1.weight"]]
    assert "layers.0.weight" not in names(model, others)[0]


@pytest.mark.parametrize(
    ("model", "exclude", "message"),
    [
        (nn.Linear(4, 4), None, "Linear has no hidden matrix for Muon: give param_groups to"),
        (Decoder(), ["head"], "exclude has 'head', which is neither a parameter nor a module"),
    ],
)
def test_nothing_hidden_and_unknown_names_are_refused(model, exclude, message):
    with pytest.raises(ValueError, match=message):
        muon_groups(model, 0.1, exclude)
