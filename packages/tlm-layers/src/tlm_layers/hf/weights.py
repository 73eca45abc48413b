"""Between Hugging Face's state dicts and those of `TransformerLM`."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor

from tlm_layers.config import ModelConfig
from tlm_layers.model import TransformerLM

_NAMES = {
    "token_embeddings.weight": "model.embed_tokens.weight",
    "ln1.weight": "input_layernorm.weight",
    "attn.q_proj.weight": "self_attn.q_proj.weight",
    "attn.k_proj.weight": "self_attn.k_proj.weight",
    "attn.v_proj.weight": "self_attn.v_proj.weight",
    "attn.output_proj.weight": "self_attn.o_proj.weight",
    "attn.q_norm.weight": "self_attn.q_norm.weight",
    "attn.k_norm.weight": "self_attn.k_norm.weight",
    "ln2.weight": "post_attention_layernorm.weight",
    "ffn.w1.weight": "mlp.gate_proj.weight",
    "ffn.w2.weight": "mlp.down_proj.weight",
    "ffn.w3.weight": "mlp.up_proj.weight",
    "ln_final.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}

_TURNED = ("q_proj.weight", "k_proj.weight", "q_norm.weight", "k_norm.weight")


def weights_from_hf(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Rename the weights of a Hugging Face model, and put rotary features into our order.

    Hugging Face turns features k and k + head_dim / 2 of a head as a pair, we 2k and 2k + 1. The
    rows of the query and key projections, and the gains of their norms, change places accordingly;
    these are copies, all other weights the tensors of `state` themselves. The tables of rotary
    frequencies that old checkpoints have (`rotary_emb.inv_freq`) are left out, as the config has
    them; and with tied embeddings `lm_head.weight`, which must be the embedding table again.

    Args:
        state: by Hugging Face's names, of floating types.
        config: the shape, from `config_from_hf`.

    Returns:
        The state dict of `TransformerLM(config)`.

    Raises:
        ValueError: weights that are missing, unknown, or of a shape or type that does not fit.
    """
    state = {name: w for name, w in state.items() if not name.endswith("rotary_emb.inv_freq")}
    if config.tie_embeddings and "lm_head.weight" in state:
        _check_tied(state)
        del state["lm_head.weight"]
    expected = _expected(config)
    names = {ours: _hf_name(ours) for ours in expected}
    _check_names(state, names.values())
    weights = {}
    for ours, theirs in names.items():
        weight = state[theirs]
        if not weight.is_floating_point() or weight.element_size() < 2:
            raise ValueError(f"{theirs} is {weight.dtype}; weights must be float16 or wider")
        if weight.shape != expected[ours].shape:
            raise ValueError(
                f"{theirs} is of shape {tuple(weight.shape)}; by the config it must be "
                f"{tuple(expected[ours].shape)}"
            )
        weights[ours] = reorder(ours, weight, config, to_hf=False)
    return weights


def weights_to_hf(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The way back from `weights_from_hf`.

    Args:
        state: the state dict of `TransformerLM(config)`.
        config: the shape, one that `config_to_hf` takes.

    Returns:
        Weights by Hugging Face's names; those of queries and keys are copies. With tied embeddings
        there is no `lm_head.weight`.

    Raises:
        ValueError: weights that are missing or unknown.
    """
    _check_names(state, _expected(config))
    return {_hf_name(name): reorder(name, w, config, to_hf=True) for name, w in state.items()}


def hf_names(config: ModelConfig) -> dict[str, str]:
    """Hugging Face's name of each weight of `TransformerLM(config)`.

    Args:
        config: the shape.

    Returns:
        From our names to theirs, in the order of the model.

    Example:
        >>> hf_names(ModelConfig())["layers.3.ffn.w2.weight"]
        'model.layers.3.mlp.down_proj.weight'
    """
    return {name: _hf_name(name) for name in _expected(config)}


def reorder(name: str, weight: Tensor, config: ModelConfig, to_hf: bool) -> Tensor:
    """Move the rows of a weight between our rotary order and Hugging Face's.

    Args:
        name: our name of the weight.
        weight: the weight, (rows, ...).
        config: the shape.
        to_hf: the direction.

    Returns:
        A copy, if it is one whose rows are turned; `weight` itself if not.
    """
    if not name.endswith(_TURNED):
        return weight
    half = cast(int, config.resolved().head_dim) // 2
    inner = (half, 2) if to_hf else (2, half)
    # (heads * head_dim, ...) -> (heads, head_dim / 2, 2, ...), or back
    return torch.unflatten(weight, 0, (-1, *inner)).transpose(1, 2).flatten(0, 2)


def _expected(config: ModelConfig) -> dict[str, Tensor]:
    return TransformerLM(config, device="meta").state_dict()


def _hf_name(ours: str) -> str:
    if ours.startswith("layers."):
        _, index, rest = ours.split(".", 2)
        return f"model.layers.{index}.{_NAMES[rest]}"
    return _NAMES[ours]


def _check_names(state: Iterable[str], expected: Iterable[str]) -> None:
    have, want = set(state), set(expected)
    for kind, names in (("missing", want - have), ("not of this model", have - want)):
        if names:
            first = sorted(names)[:5]
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ValueError(f"weights that are {kind}: {', '.join(first)}{more}")


def _check_tied(state: Mapping[str, Tensor]) -> None:
    head, table = state["lm_head.weight"], state.get("model.embed_tokens.weight")
    if table is not None and not (head.shape == table.shape and bool((head == table).all())):
        raise ValueError(
            "lm_head.weight differs from model.embed_tokens.weight, though tie_word_embeddings is "
            "true: set it to false in config.json, or remove lm_head.weight"
        )
