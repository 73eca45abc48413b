import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import (
    causal_mask,
    document_mask,
    document_runs,
    sliding_window_mask,
    strided_mask,
)
from transformers.masking_utils import (
    causal_mask_function,
    sliding_window_causal_mask_function,
)

sizes = st.integers(1, 14)


def by_rule(seq, may_see):
    places = torch.arange(seq)
    rows = [[bool(may_see(0, 0, i, j)) for j in places] for i in places]
    return torch.tensor(rows).reshape(seq, seq)


@given(st.integers(0, 12))
def test_causal_mask_equals_hugging_face(seq):
    assert torch.equal(causal_mask(seq), by_rule(seq, causal_mask_function))


@given(st.integers(0, 12), sizes)
def test_sliding_window_mask_equals_hugging_face(seq, window_size):
    rule = sliding_window_causal_mask_function(window_size)
    assert torch.equal(sliding_window_mask(seq, window_size), by_rule(seq, rule))


@given(st.integers(0, 12), sizes)
def test_strided_mask_is_the_rule_of_the_paper(seq, stride):
    # Child et al. 2019, section 4.2: A(1) = {t, …, i} with t = max(0, i − l), and
    # A(2) = {j: (i − j) mod l = 0}. That t makes l + 1 tokens, of which the first is in A(2) too.
    def may_see(_, __, i, j):
        return int(j) in range(max(0, i - stride), i + 1) or (j <= i and (i - j) % stride == 0)

    assert torch.equal(strided_mask(seq, stride), by_rule(seq, may_see))


@given(st.integers(0, 12), sizes)
def test_any_two_tokens_are_two_steps_apart(seq, stride):
    steps = strided_mask(seq, stride).int()
    assert torch.equal((steps @ steps > 0), causal_mask(seq))


document_ids = st.lists(st.integers(-2, 3), max_size=12)


@given(document_ids)
def test_document_runs_equal_those_of_groupby(ids):
    groups = [len(list(group)) for _, group in itertools.groupby(ids)]
    expected = [run for run, length in enumerate(groups) for _ in range(length)]
    assert document_runs(torch.tensor(ids, dtype=torch.int64)).tolist() == expected


@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 9))
def test_rows_are_cut_each_by_itself(leading, seq):
    ids = torch.randint(3, (*leading, seq), dtype=torch.int32)
    runs = document_runs(ids)
    assert runs.shape == ids.shape
    assert runs.dtype == torch.int64
    for row, expected in zip(ids.view(-1, seq), runs.view(-1, seq), strict=True):
        assert torch.equal(document_runs(row), expected)


@given(document_ids)
def test_document_mask_is_its_rule(ids):
    runs = document_runs(torch.tensor(ids, dtype=torch.int64))
    expected = by_rule(len(ids), lambda _, __, i, j: runs[i] == runs[j])
    assert torch.equal(document_mask(runs), expected)


def test_device():
    assert causal_mask(3, "meta").device.type == "meta"
    assert sliding_window_mask(3, 2, "meta").device.type == "meta"
    assert strided_mask(3, 2, "meta").device.type == "meta"


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_tokens(shape):
    runs = document_runs(torch.zeros(shape, dtype=torch.int64))
    assert runs.shape == shape
    assert document_mask(runs).shape == (*shape, 0)
