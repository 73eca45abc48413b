import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tlm_layers import ModelConfig, TransformerLM
from tlm_train import generate, nucleus
from tlm_train.generate import sample
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper


class Bigram(torch.nn.Module):
    """The next token's logits depend on the last token alone."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table, requires_grad=False)
        self.lengths: list[int] = []

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.lengths.append(ids.shape[1])
        return self.table[ids]


def random_bigram(vocab_size: int = 12, seed: int = 0) -> Bigram:
    generator = torch.Generator().manual_seed(seed)
    return Bigram(3 * torch.randn(vocab_size, vocab_size, generator=generator))


def write(model: torch.nn.Module, prompt: Sequence[int], **options: object) -> list[int]:
    options.setdefault("context_length", 64)
    return list(generate(model, prompt, **options))  # type: ignore[arg-type]


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=30),
    top_p=st.floats(0.01, 0.99),
)
def test_the_nucleus_is_hugging_faces(weights: list[float], top_p: float) -> None:
    probabilities = torch.tensor(weights, dtype=torch.float64)
    probabilities /= probabilities.sum()
    # At a boundary that rounding decides, both answers are right.
    mass = probabilities.sort(descending=True).values.cumsum(0)
    assume((mass - top_p).abs().min() > 1e-9)
    # Which of two equally probable ids stays is nobody's rule.
    assume(all(b - a > 1e-9 for a, b in itertools.pairwise(sorted(weights))))
    logits = TopPLogitsWarper(top_p)(None, probabilities.log()[None])[0]  # type: ignore[arg-type]
    torch.testing.assert_close(nucleus(probabilities, top_p), logits.softmax(-1))


@given(weights=st.lists(st.integers(1, 5), min_size=1, max_size=12), top_p=st.floats(0.01, 1))
def test_the_nucleus_is_the_smallest_set_with_the_mass(weights: list[int], top_p: float) -> None:
    probabilities = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    kept = nucleus(probabilities, top_p) > 0
    size = int(kept.sum())
    assert probabilities[kept].sum() >= top_p - 1e-9
    best_smaller = probabilities.sort(descending=True).values[: size - 1].sum()
    assert size == 1 or best_smaller < top_p + 1e-9
    torch.testing.assert_close(nucleus(probabilities, top_p).sum().item(), 1.0)


@given(
    weights=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    top_p=st.sampled_from([0.05, 0.3, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25)
def test_samples_are_those_of_the_nucleus(weights: list[int], top_p: float, seed: int) -> None:
    probabilities = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    expected = nucleus(probabilities, top_p)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.tensor([sample(probabilities, top_p, generator) for _ in range(400)])
    counts = torch.bincount(draws, minlength=len(weights))
    assert counts[expected == 0].sum() == 0
    # Six standard deviations of the count of each id.
    bound = 6 * (400 * expected * (1 - expected)).sqrt() + 1e-6
    assert ((counts - 400 * expected).abs() <= bound).all()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.6)])
def test_samples_follow_the_definition(temperature: float, top_p: float) -> None:
    model, draws = random_bigram(), 4000
    logits = model.table[3][None]
    logits = TemperatureLogitsWarper(temperature)(None, logits)  # type: ignore[arg-type]
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(None, logits)  # type: ignore[arg-type]
    expected = logits[0].softmax(-1) * draws
    generator = torch.Generator().manual_seed(1)
    counts = torch.zeros(12)
    for _ in range(draws):
        options = {"max_tokens": 1, "temperature": temperature, "top_p": top_p}
        counts[write(model, [3], generator=generator, **options)[0]] += 1
    possible = expected > 0
    assert counts[~possible].sum() == 0
    often = expected >= 5
    chi_squared = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert chi_squared < 31.3  # 0.1% point at 11 degrees of freedom, the most there are


def test_greedy_text_is_hugging_faces() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    theirs = LlamaForCausalLM(config).eval()
    prompt = torch.tensor([[5, 17, 3]])
    expected = theirs.generate(prompt, do_sample=False, max_new_tokens=20)[0, 3:]

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = theirs

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.model(ids).logits

    assert write(Logits(), [5, 17, 3], temperature=0, max_tokens=20) == expected.tolist()


VARIANTS = [
    {},
    {"num_kv_heads": 2, "qk_norm": True},
    {"attention": "sliding_window", "window_size": 5},
    {"attention": "strided", "stride": 3},
    {"attention": "linear", "position": "none"},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cache_changes_no_text(variant: dict[str, object]) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=50, context_length=16, d_model=32, num_layers=2, num_heads=4, **variant
    )
    model = TransformerLM(config)
    torch.nn.init.normal_(model.output_weight)  # far from flat

    class Logits(torch.nn.Module):
        """The same model, in a coat that hides its cache."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.model(ids)

    # Beyond the context both see the last 16 tokens.
    options = {"context_length": 16, "max_tokens": 30, "temperature": 0}
    assert write(model, [5, 17, 3], **options) == write(Logits(), [5, 17, 3], **options)
    texts = [
        write(m, [5], context_length=16, max_tokens=10, top_p=0.9, generator=generator)
        for m in (model, Logits())
        for generator in (torch.Generator().manual_seed(3),)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("temperature", [1e-45, 1e-40, 1e-10])
def test_a_tiny_temperature_takes_the_likeliest(temperature: float) -> None:
    options = {"max_tokens": 20}
    found = write(random_bigram(), [3], temperature=temperature, **options)
    assert found == write(random_bigram(), [3], temperature=0, **options)


def test_it_stops_at_the_end_token_and_at_max_tokens() -> None:
    cycle = Bigram(torch.eye(5).roll(1, dims=1) * 50)
    assert write(cycle, [0], temperature=0, max_tokens=7) == [1, 2, 3, 4, 0, 1, 2]
    assert write(cycle, [0], temperature=0, max_tokens=7, end_token=3) == [1, 2]
    assert write(cycle, [0], max_tokens=0) == []


def test_the_model_sees_at_most_a_context() -> None:
    model = random_bigram()
    write(model, [1, 2, 3], context_length=5, max_tokens=6)
    assert model.lengths == [3, 4, 5, 5, 5, 5]


def test_text_comes_as_it_is_made_and_the_seed_fixes_it() -> None:
    model = random_bigram()
    ids = generate(
        model,
        [0],
        context_length=8,
        max_tokens=10**9,
        generator=torch.Generator().manual_seed(5),
    )
    first = list(itertools.islice(ids, 10))
    assert len(model.lengths) == 10
    assert first == write(
        model,
        [0],
        context_length=8,
        max_tokens=10,
        generator=torch.Generator().manual_seed(5),
    )


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "the prompt is empty"),
        ([1] * 9, {"context_length": 8}, "the prompt has 9 tokens, more than context_length=8"),
        ([1], {"max_tokens": -1}, "max_tokens=-1 must not be negative"),
        ([1], {"temperature": -0.5}, "temperature=-0.5 must not be negative"),
        ([1], {"temperature": float("nan")}, "temperature=nan must not be negative"),
        ([1], {"top_p": 0.0}, "top_p=0.0 must be greater than 0 and at most 1"),
        ([1], {"top_p": 1.1}, "top_p=1.1 must be greater than 0 and at most 1"),
    ],
)
def test_bad_arguments(prompt: list[int], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(random_bigram(), prompt, **options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_p": 0.9}, {}])
def test_logits_that_are_not_finite_are_refused(bad: float, options: dict[str, object]) -> None:
    table = torch.zeros(5, 5)
    table[2, 3] = bad
    with pytest.raises(ValueError, match="logits are not finite"):
        write(Bigram(table), [2], max_tokens=1, **options)


def test_a_nucleus_of_one_among_many() -> None:
    probabilities = torch.full((5000,), 1 / 5001, dtype=torch.float64)
    probabilities[7] = 2 / 5001
    assert sample(probabilities, 1e-5, torch.Generator().manual_seed(0)) == 7


def test_a_context_longer_than_the_models() -> None:
    model = TransformerLM(ModelConfig(vocab_size=5, context_length=8, d_model=8, num_heads=2))
    message = "context_length=16 is more than the model's, 8"
    with pytest.raises(ValueError, match=message):
        generate(model, [1], context_length=16)
