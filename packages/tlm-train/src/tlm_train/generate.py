"""Text from a trained model, one token at a time."""

import math
from collections.abc import Iterator, Sequence

import torch
from tlm_layers import KVCache, TransformerLM

MAX_DRAWS = 16
"""Draws from the whole distribution before the nucleus is found by sorting."""


def generate(
    model: torch.nn.Module,
    prompt: Sequence[int],
    *,
    context_length: int,
    max_tokens: int = 256,
    temperature: float = 1.0,
    top_p: float = 1.0,
    end_token: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield the ids that a model goes on with after a prompt.

    The model sees the last `context_length` tokens. A `TransformerLM` keeps what it has seen in a
    cache, up to its context; beyond it, and in other models, each token costs a whole window.

    Args:
        model: Maps token ids (batch, seq) to logits (batch, seq, vocab_size).
        prompt: Ids to go on from, at least one and at most `context_length`.
        context_length: The longest sequence that the model takes.
        max_tokens: Stop after so many new ids.
        temperature: Divides the logits: below 1 sharpens the distribution, above 1 flattens it, 0
            always takes the most probable id.
        top_p: Sample from the nucleus only, see `nucleus`; 1 samples from all.
        end_token: Stop at this id, which is not yielded.
        generator: Source of randomness, on the CPU; torch's global one when None.

    Raises:
        ValueError: An argument is out of its range, or the prompt is empty or too long.
    """
    check_prompt(prompt, context_length)
    if isinstance(model, TransformerLM) and context_length > model.config.context_length:
        raise ValueError(
            f"context_length={context_length} is more than the model's, "
            f"{model.config.context_length}"
        )
    if max_tokens < 0:
        raise ValueError(f"max_tokens={max_tokens} must not be negative")
    if not temperature >= 0:
        raise ValueError(f"temperature={temperature} must not be negative")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must be greater than 0 and at most 1")
    return _generate(
        model, prompt, context_length, max_tokens, temperature, top_p, end_token, generator
    )


def check_prompt(prompt: Sequence[int], context_length: int) -> None:
    """Raise ValueError if a prompt is empty or longer than the model's context."""
    if not prompt:
        raise ValueError("the prompt is empty: give at least one token")
    if len(prompt) > context_length:
        raise ValueError(
            f"the prompt has {len(prompt)} tokens, more than context_length={context_length}: "
            "shorten it"
        )


def _generate(
    model: torch.nn.Module,
    prompt: Sequence[int],
    context_length: int,
    max_tokens: int,
    temperature: float,
    top_p: float,
    end_token: int | None,
    generator: torch.Generator | None,
) -> Iterator[int]:
    cache = None
    if isinstance(model, TransformerLM):
        cache = model.new_cache(capacity=context_length)
    ids = list(prompt)
    for _ in range(max_tokens):
        with torch.inference_mode():
            logits = _last_logits(model, ids, context_length, cache).double().cpu()
            if not logits.max() < math.inf:  # nor where one is not a number
                raise ValueError("the model's logits are not finite: its weights are spoilt")
            if temperature == 0:
                token = int(logits.argmax())
            else:  # with the maximum at 0, so that no temperature overflows
                scaled = (logits - logits.max()) / temperature
                token = sample(torch.softmax(scaled, dim=-1), top_p, generator)
        if token == end_token:
            return
        ids.append(token)
        yield token


def _last_logits(
    model: torch.nn.Module, ids: list[int], context_length: int, cache: KVCache | None
) -> torch.Tensor:
    device = next(model.parameters()).device
    if cache is None or not isinstance(model, TransformerLM) or len(ids) > cache.capacity:
        logits: torch.Tensor = model(torch.tensor([ids[-context_length:]], device=device))
        return logits[0, -1]
    new = torch.tensor([ids[cache.lengths[0] :]], device=device)
    return model.logits(model.hidden(new, cache=cache)[0, -1])


def sample(
    probabilities: torch.Tensor, top_p: float, generator: torch.Generator | None = None
) -> int:
    """Draw an id from the nucleus of a distribution, exactly and without sorting it.

    An id drawn from the whole distribution is kept if those before it, the more probable ones, have
    a mass below `top_p`: then it is in the nucleus. Otherwise another is drawn, 1 / `top_p` times
    on average; a small nucleus, which takes many draws, is found by sorting in the end.

    Args:
        probabilities: (vocab_size,), float64, on the CPU, sums to 1.
        top_p: Mass of the nucleus, see `nucleus`; 1 draws from the whole distribution.
        generator: Source of randomness; torch's global one when None.

    >>> sample(torch.tensor([0.5, 0.25, 0.125, 0.125]), 0.5)
    0
    """
    mass = probabilities.cumsum(0)
    for _ in range(MAX_DRAWS):
        drawn = torch.rand((), dtype=mass.dtype, generator=generator) * mass[-1]
        token = min(int(torch.searchsorted(mass, drawn, right=True)), len(mass) - 1)
        if top_p >= 1:
            return token
        probability = probabilities[token]
        before = (probabilities * (probabilities > probability)).sum()
        # Of equally probable ids the first is before the others.
        before += (probabilities[:token] == probability).sum() * probability
        if before < top_p:
            return token
    kept = nucleus(probabilities, top_p).cumsum(0)
    drawn = torch.rand((), dtype=kept.dtype, generator=generator) * kept[-1]
    return int(torch.searchsorted(kept, drawn, right=True))


def nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of the most probable ids with mass of at least `top_p`.

    Args:
        probabilities: (vocab_size,), sums to 1.
        top_p: Mass to keep, 0 < top_p <= 1; the most probable id always stays.

    Returns:
        The distribution restricted to that set and renormalised, (vocab_size,).

    Source:
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.

    >>> nucleus(torch.tensor([0.5, 0.25, 0.125, 0.125]), 0.75)
    tensor([0.6667, 0.3333, 0.0000, 0.0000])
    """
    if top_p >= 1:
        return probabilities
    descending, order = probabilities.sort(descending=True, stable=True)
    mass_before = descending.cumsum(-1) - descending
    kept = torch.where(mass_before < top_p, descending, 0.0)
    kept[0] = descending[0]
    result = torch.zeros_like(probabilities)
    result[order] = kept / kept.sum()
    return result
