"""Text from a trained model, one token at a time."""

from collections.abc import Iterator, Sequence

import torch
from tlm_layers import softmax


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

    The model sees the last `context_length` tokens.

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
    device = next(model.parameters()).device
    ids = list(prompt)
    for _ in range(max_tokens):
        window = torch.tensor([ids[-context_length:]], device=device)
        with torch.inference_mode():
            logits = model(window)[0, -1].float().cpu()
        if temperature == 0:
            token = int(logits.argmax())
        else:
            # In float64 with the maximum at 0, so that no temperature overflows.
            scaled = (logits.double() - logits.max()) / temperature
            probabilities = nucleus(softmax(scaled, dim=-1), top_p)
            token = int(torch.multinomial(probabilities, 1, generator=generator))
        if token == end_token:
            return
        ids.append(token)
        yield token


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
