import copy
import dataclasses
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_layers import KVCache, ModelConfig, TransformerLM
from tlm_layers.kv_cache import FullCache, RingCache, Span, StateCache

CONTEXT = 40
VARIANTS = {
    "full": {"attention": "full"},
    "sliding_window": {"attention": "sliding_window", "window_size": 5},
    "window of one": {"attention": "sliding_window", "window_size": 1},
    "window beyond the context": {"attention": "sliding_window", "window_size": 100},
    "strided": {"attention": "strided", "stride": 4},
    "linear": {"attention": "linear"},
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def build(variant, dtype=torch.float64, **options):
    torch.manual_seed(0)
    config = {
        "vocab_size": 30,
        "context_length": CONTEXT,
        "d_model": 16,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "d_ff": 24,
        **VARIANTS[variant],
        **options,
    }
    return TransformerLM(ModelConfig(**config), dtype=dtype)


parts = st.fixed_dictionaries(
    {
        "num_kv_heads": st.sampled_from([1, 2, 4]),
        "position": st.sampled_from(["rope", "none"]),
        "qk_norm": st.booleans(),
        "norm": st.sampled_from(["rmsnorm", "layernorm"]),
        "norm_place": st.sampled_from(["pre", "post"]),
        "tie_embeddings": st.booleans(),
        "logit_soft_cap": st.sampled_from([None, 1.0]),
    }
)
EXACT = {"rtol": 1e-9, "atol": 1e-11}


@variants
@settings(max_examples=15)
@given(parts, st.integers(1, 3), st.integers(1, CONTEXT), st.data())
def test_pieces_equal_the_whole(variant, parts, batch_size, seq, data):
    model = build(variant, **parts)
    token_ids = torch.randint(30, (batch_size, seq))
    cache = model.new_cache(batch_size, data.draw(st.integers(seq, CONTEXT)))
    logits, start = [], 0
    while start < seq:
        width = data.draw(st.integers(1, seq - start))
        logits.append(model(token_ids[:, start : start + width], cache=cache))
        start += width
    torch.testing.assert_close(torch.cat(logits, dim=1), model(token_ids), **EXACT)
    assert cache.lengths == [seq] * batch_size


@variants
def test_token_by_token_and_the_ring_goes_around_many_times(variant):
    model = build(variant)
    token_ids = torch.randint(30, (2, CONTEXT))
    cache = model.new_cache(2)
    logits = [model(token, cache=cache) for token in token_ids.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(logits, dim=1), model(token_ids), **EXACT)


@variants
def test_a_piece_longer_than_the_window_into_a_cache_that_holds_some(variant):
    model = build(variant)
    token_ids = torch.randint(30, (2, CONTEXT))
    cache = model.new_cache(2)
    pieces = [model(piece, cache=cache) for piece in token_ids.split([3, 17, 1, 2, 12, 5], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(token_ids), **EXACT)


@variants
@settings(max_examples=15)
@given(parts, st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=3), min_size=1, max_size=4))
def test_rows_of_different_lengths_are_as_if_alone(variant, parts, pieces):
    # pieces: of each call, the number of tokens in each of three rows
    model = build(variant, **parts)
    totals = torch.tensor(pieces).sum(0)
    rows = [torch.randint(30, (total + 2,)) for total in totals.tolist()]
    cache = model.new_cache(3, CONTEXT)
    logits = [[] for _ in rows]
    for counts in pieces:
        token_ids = torch.randint(30, (3, max(counts)))  # the padding is any token
        for row, count in enumerate(counts):
            start = cache.lengths[row]
            token_ids[row, :count] = rows[row][start : start + count]
        out = model(token_ids, cache=cache, lengths=counts)
        for row, count in enumerate(counts):
            logits[row].append(out[row, :count])
    for _ in range(2):  # decoding goes on without padding
        token_ids = torch.stack(
            [row[n : n + 1] for row, n in zip(rows, cache.lengths, strict=True)]
        )
        for row, out in enumerate(model(token_ids, cache=cache)):
            logits[row].append(out)
    assert cache.lengths == [len(row) for row in rows]
    for row, parts_of_row in zip(rows, logits, strict=True):
        torch.testing.assert_close(torch.cat(parts_of_row), model(row), **EXACT)


@variants
def test_lengths_may_be_a_tensor_and_equal(variant):
    model = build(variant)
    token_ids = torch.randint(30, (2, 9))
    logits = model(token_ids, cache=model.new_cache(2), lengths=torch.tensor([9, 9]))
    torch.testing.assert_close(logits, model(token_ids), **EXACT)


@variants
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_modes_mix(variant, mode):
    model = build(variant)
    token_ids = torch.randint(30, (2, 24))
    with mode():
        cache = model.new_cache(2)
        logits = [model(token_ids[:, :7], cache=cache)]
    logits.append(model(token_ids[:, 7:8], cache=cache))
    with torch.inference_mode():
        logits.append(model(token_ids[:, 8:9], cache=cache))
        logits.append(model(token_ids[:, 9:17], cache=cache))
    with mode():
        logits.append(model(token_ids[:, 17:], cache=cache))
        cache.reset()
    torch.testing.assert_close(torch.cat(logits, dim=1), model(token_ids), **EXACT)
    torch.testing.assert_close(model(token_ids, cache=cache), model(token_ids), **EXACT)


@variants
def test_no_gradients_flow(variant):
    model = build(variant)
    token_ids = torch.randint(30, (1, 9))
    assert not model.hidden(token_ids, cache=model.new_cache()).requires_grad
    assert not model(token_ids, cache=model.new_cache()).requires_grad
    assert model(token_ids).requires_grad


def tensors(cache):
    return [x for layer in cache.layers for x in vars(layer).values()]


@variants
def test_memory_is_allocated_once(variant):
    model = build(variant)
    cache = model.new_cache(2)
    places = [x.data_ptr() for x in tensors(cache)]
    token_ids = torch.randint(30, (2, CONTEXT))
    size = cache.num_bytes()
    model(token_ids[:, :20], cache=cache)
    for index in range(20, 38):
        model(token_ids[:, index : index + 1], cache=cache)
    model(token_ids[:, 38:], cache=cache, lengths=[1, 2])
    cache.reset()
    assert [x.data_ptr() for x in tensors(cache)] == places
    assert cache.num_bytes() == size == sum(x.untyped_storage().nbytes() for x in tensors(cache))


def test_what_they_keep():
    def num_bytes(variant, capacity, **options):
        return build(variant, **options).new_cache(1, capacity, torch.bfloat16).num_bytes()

    layers, kv_heads, head_dim = 2, 2, 4
    assert num_bytes("full", 40) == layers * 2 * kv_heads * 40 * head_dim * 2
    assert num_bytes("strided", 40) == num_bytes("full", 40)
    assert num_bytes("full", 40, num_kv_heads=1) == num_bytes("full", 40) // 2
    # the ring and the state do not grow with the rows
    assert num_bytes("sliding_window", 40) == layers * 2 * kv_heads * 5 * head_dim * 2
    assert num_bytes("sliding_window", 3) == layers * 2 * kv_heads * 3 * head_dim * 2
    assert num_bytes("linear", 40) == layers * kv_heads * head_dim * (head_dim + 1) * 4
    assert num_bytes("linear", 1) == num_bytes("linear", 40)


@variants
def test_after_a_reset_nothing_is_left(variant):
    model = build(variant)
    first, second = torch.randint(30, (2, 2, CONTEXT))
    cache = model.new_cache(2)
    model(first, cache=cache)
    cache.reset()
    assert cache.lengths == [0, 0]
    pieces = second.split([4, 1, 10, 1, 24], dim=1)
    after = [model(piece, cache=cache) for piece in pieces]
    fresh = model.new_cache(2)
    for piece, logits in zip(pieces, after, strict=True):
        assert torch.equal(model(piece, cache=fresh), logits)


@variants
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_in_half_precision(variant, dtype):
    model = build(variant, dtype)
    token_ids = torch.randint(30, (2, CONTEXT))
    expected = model.float()(token_ids)
    cache = model.to(dtype).new_cache(2, dtype=torch.bfloat16)
    for layer in cache.layers:
        expected_dtype = torch.float32 if variant == "linear" else torch.bfloat16
        assert {x.dtype for x in vars(layer).values()} == {expected_dtype}
    logits = [model(piece, cache=cache) for piece in token_ids.split([3, 1, 17, 1, 18], dim=1)]
    torch.testing.assert_close(torch.cat(logits, dim=1).float(), expected, rtol=0.1, atol=0.1)
    lengths = model.new_cache(2, dtype=torch.bfloat16)
    uneven = model(token_ids[:, :9], cache=lengths, lengths=[9, 5])
    torch.testing.assert_close(uneven[0].float(), expected[0, :9], rtol=0.1, atol=0.1)
    then = model(torch.stack((token_ids[0, 9:10], token_ids[1, 5:6])), cache=lengths)
    torch.testing.assert_close(then[0, 0].float(), expected[0, 9], rtol=0.1, atol=0.1)
    torch.testing.assert_close(then[1, 0].float(), expected[1, 5], rtol=0.1, atol=0.1)


@variants
def test_under_autocast(variant):
    model = build(variant, torch.float32)
    token_ids = torch.randint(30, (2, CONTEXT))
    cache = model.new_cache(2)
    with torch.autocast("cpu", torch.bfloat16):
        logits = [model(piece, cache=cache) for piece in token_ids.split([3, 1, 17, 19], dim=1)]
    expected = model(token_ids)
    torch.testing.assert_close(torch.cat(logits, dim=1).float(), expected, rtol=0.1, atol=0.1)


def test_positions_that_are_given():
    model = build("full")
    token_ids = torch.randint(30, (1, 9))
    expected = model(token_ids, torch.arange(9) + 20)
    cache = model.new_cache()
    first = model(token_ids[:, :5], torch.arange(5) + 20, cache=cache)
    then = model(token_ids[:, 5:], torch.arange(4) + 25, cache=cache)
    torch.testing.assert_close(torch.cat((first, then), dim=1), expected, **EXACT)


@variants
def test_a_call_that_fails_leaves_it_as_it_was(variant):
    model = build(variant)
    token_ids = torch.randint(30, (1, 12))
    cache = model.new_cache()
    first = model(token_ids[:, :7], cache=cache)
    held = copy.deepcopy(tensors(cache))
    for arguments in (
        {"token_ids": torch.full((1, 2), 30)},
        {"token_ids": torch.zeros(1, CONTEXT, dtype=torch.int64)},
        {"token_ids": torch.zeros(1, 2, dtype=torch.int64), "lengths": [3]},
        {"token_ids": torch.zeros(1, 2, dtype=torch.int64), "document_ids": torch.zeros(1, 2)},
        {"token_ids": torch.zeros(1, 2)},
    ):
        with pytest.raises((ValueError, TypeError)):
            model(**arguments, cache=cache)
    assert cache.lengths == [7]
    assert all(map(torch.equal, tensors(cache), held))
    logits = torch.cat((first, model(token_ids[:, 7:], cache=cache)), dim=1)
    torch.testing.assert_close(logits, model(token_ids), **EXACT)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 2), {}, "token_ids of 3 rows do not fit a cache of 2 rows"),
        ((2, 11), {}, "0 tokens and 11 more are beyond the cache's capacity=10"),
        (
            (2, 4),
            {"lengths": [4]},
            "lengths=[4] must be one number for each of 2 rows",
        ),
        ((2, 4), {"lengths": [0, 4]}, "lengths=[0, 4] must be one number for each of 2 rows"),
        ((2, 4), {"lengths": [5, 4]}, "rows, each from 1 to 4"),
        ((2, 0), {}, "lengths=[0, 0] must be one number for each of 2 rows"),
        ((4,), {}, "token_ids of shape (4,) must be (batch, seq) with a cache"),
        (
            (2, 4),
            {"document_ids": torch.zeros(2, 4)},
            "document_ids do not go with a cache: a row of it is one document",
        ),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, message):
    model = build("full")
    with pytest.raises(ValueError, match=re.escape(message)):
        model(torch.zeros(shape, dtype=torch.int64), cache=model.new_cache(2, 10), **options)


def test_a_full_cache():
    model = build("full")
    cache = model.new_cache(2, 10)
    model(torch.zeros(2, 10, dtype=torch.int64), cache=cache)
    message = "10 tokens and 1 more are beyond the cache's capacity=10"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 1, dtype=torch.int64), cache=cache)


def test_lengths_without_a_cache():
    message = "lengths have no use without a cache: give cache, or leave them"
    with pytest.raises(ValueError, match=message):
        build("full")(torch.zeros(2, 4, dtype=torch.int64), lengths=[3, 4])


@pytest.mark.parametrize(("batch_size", "capacity"), [(0, 10), (1, 0), (1, CONTEXT + 1)])
def test_sizes_out_of_range(batch_size, capacity):
    message = f"{batch_size=} must be positive, and {capacity=} from 1 to context_length=40"
    with pytest.raises(ValueError, match=re.escape(message)):
        build("full").new_cache(batch_size, capacity)


# The parts by themselves, against lists.


def spans(starts, counts, width):
    return Span(tuple(starts), tuple(counts), width, torch.device("cpu"))


@given(
    st.integers(1, 7),
    st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=2), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_ring_holds_the_last_tokens(size, pieces, same):
    ring = RingCache.zeros((2, 1, size, 1), torch.device("cpu"), torch.float32)
    held = [[], []]
    for counts in pieces:
        counts = [counts[0]] * 2 if same else counts
        width = max(counts)
        new = torch.randn(2, 1, width, 1)
        ring.append(new, -new, spans(map(len, held), counts, width))
        for row, count in enumerate(counts):
            held[row] += new[row, 0, :count, 0].tolist()
    positions = ring.positions(torch.tensor([len(row) for row in held]))
    for row, tokens in enumerate(held):
        expected = {p: tokens[p] for p in range(max(0, len(tokens) - size), len(tokens))}
        places = positions[row].tolist()
        values = ring.keys[row, 0, :, 0].tolist()
        assert {p: x for p, x in zip(places, values, strict=True) if p >= 0} == expected
        assert all(place % size == index for index, place in enumerate(places))
    assert torch.equal(ring.values, -ring.keys)


@given(st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_full_cache_holds_all_tokens(pieces):
    cache = FullCache.zeros((2, 3, 25, 2), torch.device("cpu"), torch.float32)
    held = [torch.zeros(3, 0, 2), torch.zeros(3, 0, 2)]
    for counts in pieces:
        width = max(counts)
        new = torch.randn(2, 3, width, 2)
        span = spans([row.shape[1] for row in held], counts, width)
        if span.end > 25:
            break
        keys, values = cache.append(new, -new, span)
        assert keys.shape == values.shape == (2, 3, span.end, 2)
        for row, count in enumerate(counts):
            held[row] = torch.cat((held[row], new[row, :, :count]), dim=1)
            assert torch.equal(keys[row, :, : held[row].shape[1]], held[row])
            assert torch.equal(values[row, :, : held[row].shape[1]], -held[row])


def test_a_span_of_rows_side_by_side():
    span = spans([3, 3], [2, 2], 2)
    assert span.is_uniform
    assert (span.start, span.end) == (3, 5)
    assert span.positions.tolist() == [[3, 4]]
    span = spans([3, 0], [2, 1], 2)
    assert not span.is_uniform
    assert span.end == 5
    assert span.positions.tolist() == [[3, 4], [0, 1]]
    assert span.is_token.tolist() == [[True, True], [True, False]]
    assert not spans([3, 3], [2, 1], 2).is_uniform


def test_a_cache_counts_its_rows():
    state = StateCache(torch.ones(2, 1, 3, 4))
    cache = KVCache(ModelConfig(), [state], batch_size=2, capacity=9)
    span = cache.span(2, 4, [1, 4], torch.device("cpu"))
    assert cache.lengths == [0, 0]
    cache.advance(span)
    assert cache.lengths == [1, 4]
    assert cache.num_bytes() == 2 * 3 * 4 * 4
    cache.reset()
    assert cache.lengths == [0, 0]
    assert not state.sums.any()


def test_padding_needs_no_room():
    model = TransformerLM(ModelConfig(vocab_size=20, context_length=16, d_model=16, num_heads=2))
    token_ids = torch.randint(20, (2, 16))
    cache = model.new_cache(2)
    model(token_ids[:, :10], cache=cache, lengths=[10, 2])
    piece = torch.stack((token_ids[0, 10:18].new_zeros(8), token_ids[1, 2:10]))
    piece[0, 0] = token_ids[0, 10]
    logits = model(piece, cache=cache, lengths=[1, 8])
    assert cache.lengths == [11, 10]
    torch.testing.assert_close(logits[0, 0], model(token_ids[0, :11])[-1])
    torch.testing.assert_close(logits[1], model(token_ids[1, :10])[2:])
    with pytest.raises(ValueError, match="11 tokens and 6 more are beyond the cache's capacity=16"):
        model(torch.zeros(2, 6, dtype=torch.int64), cache=cache)


def test_the_cache_of_another_model():
    small = ModelConfig(vocab_size=20, context_length=16, d_model=16, num_heads=2)
    cache = TransformerLM(small).new_cache()
    other = TransformerLM(dataclasses.replace(small, num_layers=2))
    with pytest.raises(ValueError, match="the cache is of a model with another config"):
        other(torch.zeros(1, 1, dtype=torch.int64), cache=cache)
