"""Rows of several documents, through the whole model: none sees another, whatever the pattern."""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_layers import ModelConfig, TransformerLM, cross_entropy

PATTERNS = {
    "full": {},
    "sliding_window": {"window_size": 5},
    "strided": {"stride": 4},
    "linear": {},
}
patterns = pytest.mark.parametrize("attention", PATTERNS)


def build(attention, dtype=torch.float64, **options):
    config = ModelConfig(
        vocab_size=30,
        context_length=160,
        d_model=16,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        d_ff=24,
        attention=attention,
        **PATTERNS[attention],
        **options,
    )
    return TransformerLM(config, dtype=dtype)


@st.composite
def packed_rows(draw):
    """Lengths of the documents of a row."""
    lengths = draw(st.lists(st.integers(1, 70), min_size=1, max_size=5))
    return lengths[: next((n for n in range(5, 0, -1) if sum(lengths[:n]) <= 160), 1)]


@patterns
@settings(max_examples=15)
@given(packed_rows(), st.sampled_from(["rope", "none"]), st.booleans(), st.booleans())
def test_each_document_is_as_if_alone(attention, lengths, position, qk_norm, post):
    torch.manual_seed(0)
    place = "post" if post else "pre"
    model = build(attention, position=position, qk_norm=qk_norm, norm_place=place)
    token_ids = torch.randint(30, (1, sum(lengths)))
    document_ids = torch.repeat_interleave(torch.tensor(lengths))[None]
    positions = None
    if position == "rope":
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
    logits = model(token_ids, positions, document_ids)
    alone = [model(document) for document in token_ids.split(lengths, dim=1)]
    torch.testing.assert_close(logits, torch.cat(alone, dim=1), rtol=1e-9, atol=1e-11)
    if attention != "linear":  # it alone does not see distances only
        torch.testing.assert_close(
            model(token_ids, None, document_ids), logits, rtol=1e-4, atol=1e-4
        )


CUTS = [(0, 20, 21, 90, 110), (0, 64, 110), (0, 10, 70, 74, 110), (0, 110)]


def ids_of(cuts):
    return torch.repeat_interleave(torch.tensor(cuts).diff())


@patterns
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_of_other_documents_change_no_bit(attention, dtype):
    model = build(attention, dtype)
    token_ids = torch.randint(30, (len(CUTS), 110))
    document_ids = torch.stack([ids_of(cuts) for cuts in CUTS])

    def logits_and_gradients(token_ids, inside):
        model.zero_grad()
        logits = model(token_ids, document_ids=document_ids)[inside]
        logits.float().square().sum().backward()
        grads = [weight.grad for weight in model.parameters()]
        return logits, grads

    for document in range(4):
        inside = document_ids == document
        other = torch.where(inside, token_ids, (token_ids + torch.randint(1, 30, ())) % 30)
        logits, grads = logits_and_gradients(token_ids, inside)
        other_logits, other_grads = logits_and_gradients(other, inside)
        assert torch.equal(logits, other_logits)
        assert all(map(torch.equal, grads, other_grads))


@patterns
def test_no_gradient_reaches_another_document(attention):
    model = build(attention, torch.float32)
    inputs = []
    model.token_embeddings.register_forward_hook(
        lambda _, __, out: inputs.append(out.detach().requires_grad_()) or inputs[-1]
    )
    token_ids = torch.randint(30, (len(CUTS), 110))
    document_ids = torch.stack([ids_of(cuts) for cuts in CUTS])
    for document in range(4):
        inside = document_ids == document
        logits = model(token_ids, document_ids=document_ids)
        (grad,) = torch.autograd.grad(logits[inside].square().sum(), inputs[-1])
        assert not grad[~inside].any()
        assert grad[inside].any(-1).all()


@patterns
def test_rows_are_cut_each_by_itself(attention):
    model = build(attention)
    token_ids = torch.randint(30, (len(CUTS), 110))
    document_ids = torch.stack([ids_of(cuts) for cuts in CUTS])
    logits = model(token_ids, document_ids=document_ids)
    for row in range(len(CUTS)):
        torch.testing.assert_close(logits[row], model(token_ids[row], None, document_ids[row]))
    assert not torch.allclose(logits[0], model(token_ids)[0])
    leading = token_ids.view(2, 2, 110), None, document_ids.view(2, 2, 110)
    torch.testing.assert_close(model(*leading).flatten(0, 1), logits)


@patterns
def test_one_document_is_no_document(attention):
    model = build(attention)
    token_ids = torch.randint(30, (2, 110))
    logits = model(token_ids, document_ids=torch.full((2, 110), 7))
    torch.testing.assert_close(logits, model(token_ids))


@patterns
def test_an_id_that_comes_back_is_a_new_document(attention):
    model = build(attention)
    token_ids = torch.randint(30, (1, 110))
    again = torch.tensor([5, 9, 5, 9])[ids_of(CUTS[0])][None]
    numbered = ids_of(CUTS[0])[None]
    expected = model(token_ids, document_ids=numbered)
    assert torch.equal(model(token_ids, document_ids=again), expected)
    assert torch.equal(model(token_ids, document_ids=again.to(torch.int32)), expected)


@patterns
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_is_the_mean_over_documents(attention, checkpointing):
    model = build(attention, position="none")
    model.activation_checkpointing = checkpointing
    token_ids, targets = torch.randint(30, (2, 1, 110))
    cuts = CUTS[0]
    loss = model.loss(token_ids, targets, document_ids=ids_of(cuts)[None])
    alone = [
        (end - start) * cross_entropy(model(token_ids[:, start:end]), targets[:, start:end])
        for start, end in itertools.pairwise(cuts)
    ]
    torch.testing.assert_close(loss, sum(alone) / 110)


def test_ids_of_another_shape():
    message = "document_ids of shape (110,) must have the shape (2, 110) of token_ids"
    with pytest.raises(ValueError, match=re.escape(message)):
        build("full")(torch.zeros(2, 110).long(), document_ids=torch.zeros(110).long())
