"""Which matrices of tlm's own model are Muon's."""

import pytest
from tlm_layers import ModelConfig, TransformerLM
from tlm_optim import muon_groups


@pytest.mark.parametrize("tied", [False, True])
def test_all_matrices_of_the_layers_are_hidden_and_no_others(tied):
    model = TransformerLM(
        ModelConfig(
            vocab_size=11,
            context_length=8,
            d_model=8,
            num_layers=2,
            num_heads=2,
            d_ff=16,
            tie_embeddings=tied,
        )
    )
    (hidden,), _ = muon_groups(model, weight_decay=0.1)
    expected = [
        parameter
        for name, parameter in model.named_parameters()
        if name.startswith("layers.") and parameter.ndim == 2
    ]
    assert len(expected) == 2 * 7
    assert [id(p) for p in hidden["params"]] == [id(p) for p in expected]
