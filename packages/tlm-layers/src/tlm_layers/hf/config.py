"""Between Hugging Face's config.json and `ModelConfig`."""

import warnings
from collections.abc import Mapping
from typing import Any

from tlm_layers.config import ModelConfig

_SIZES = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "d_ff",
}

_MODELS = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

# What transformers takes a missing key to say, where that is no part of the sizes.
_DEFAULTS: dict[str, dict[str, int]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128, "sliding_window": 4096},
}

# What a key must be for the model to be ours; a key that is absent is.
_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "hidden_act": (("silu", "swish"), "the gate is a SiLU"),
    "attention_bias": ((False,), "projections have no biases"),
    "mlp_bias": ((False,), "projections have no biases"),
    "attention_dropout": ((0, None), "there is no dropout; with 0 the model in use is the same"),
    "partial_rotary_factor": ((1, None), "all of a head is turned"),
    "rope_interleaved": ((False, None), "a Llama of Hugging Face pairs halves"),
    "quantization_config": ((None,), "weights are floats; undo the quantisation first"),
}

# What is said elsewhere (the dtype by the weights) or does not change the model.
_UNREAD = frozenset(
    {
        *("architectures", "model_type", "torch_dtype", "dtype", "transformers_version"),
        *("_name_or_path", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache"),
        *("initializer_range", "pretraining_tp", "is_llama_config"),
    }
)

# Read one by one below.
_READ = frozenset(
    {
        *("num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings"),
        *("rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"),
        *("use_sliding_window", "sliding_window", "max_window_layers", "layer_types"),
    }
)

_LLAMA3 = {
    "factor": "rope_factor",
    "low_freq_factor": "rope_low_freq_factor",
    "high_freq_factor": "rope_high_freq_factor",
    "original_max_position_embeddings": "rope_original_context",
}


def config_from_hf(hf: Mapping[str, Any]) -> ModelConfig:
    """Read the contents of a config.json.

    Held are Llama (all versions, and what has its shape, as SmolLM2), Mistral, and Qwen3. The
    rotary settings are read as transformers 5 writes them (`rope_parameters`), and as versions
    before did (`rope_theta` and `rope_scaling`). A missing key means what transformers takes it to
    mean, but sizes must be there. Keys that neither we nor transformers know are named in a
    warning.

    Args:
        hf: the parsed config.json.

    Returns:
        The config, with no None where a number is meant.

    Raises:
        ValueError: a model of another kind, a size that is missing or no whole number, or a setting
            that `ModelConfig` does not hold.

    Example:
        >>> config_from_hf({"model_type": "gemma2"})
        Traceback (most recent call last):
        ValueError: model_type='gemma2' must be one of 'llama', 'mistral', 'qwen3'
    """
    model_type = hf.get("model_type")
    if model_type not in _MODELS:
        choices = ", ".join(map(repr, _MODELS))
        raise ValueError(f"{model_type=} must be one of {choices}")
    hf = {**_DEFAULTS[model_type], **hf}
    for key, (accepted, reason) in _FIXED.items():
        if key in hf and hf[key] not in accepted:
            raise ValueError(f"{key}={hf[key]!r} must be {accepted[0]!r}: {reason}")
    unknown = [key for key in hf if key not in {*_SIZES, *_FIXED, *_READ, *_UNREAD}]
    if unknown:
        warnings.warn(
            f"keys of the config that have no meaning for model_type={model_type!r} were not read: "
            + ", ".join(map(repr, unknown)),
            stacklevel=2,
        )
    sizes: dict[str, Any] = {ours: _whole(hf, theirs) for theirs, ours in _SIZES.items()}
    window = _window(hf, sizes["num_layers"])
    return ModelConfig(
        **sizes,
        num_kv_heads=_whole(hf, "num_key_value_heads", sizes["num_heads"]),
        head_dim=_whole(hf, "head_dim", sizes["d_model"] // sizes["num_heads"]),
        norm_eps=float(hf.get("rms_norm_eps", 1e-6)),
        **_rope_from_hf(hf),
        attention="full" if window is None else "sliding_window",
        window_size=window,
        qk_norm=model_type == "qwen3",
        tie_embeddings=bool(hf.get("tie_word_embeddings", False)),
    ).resolved()


def _whole(hf: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = hf.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        missing = "is missing" if value is None else f"is {value!r}"
        raise ValueError(f"{key} {missing}; the config must have it as a whole number")
    return value


def _window(hf: Mapping[str, Any], num_layers: int) -> int | None:
    """The tokens that each token sees, as transformers takes the config; None: all."""
    if hf["model_type"] == "mistral":
        return None if hf["sliding_window"] is None else _whole(hf, "sliding_window")
    if hf["model_type"] == "llama":
        if hf.get("sliding_window") is not None:
            raise ValueError(
                f"sliding_window={hf['sliding_window']} must be None: a Llama has none; a Mistral "
                f"(model_type='mistral') has"
            )
        return None
    first = _whole(hf, "max_window_layers", 28) if hf.get("use_sliding_window") else num_layers
    kinds = set(
        hf.get("layer_types")
        or ("sliding_attention" if i >= first else "full_attention" for i in range(num_layers))
    )
    if kinds == {"full_attention"}:
        return None
    if kinds == {"sliding_attention"} and hf.get("use_sliding_window"):
        return _whole(hf, "sliding_window")
    raise ValueError(
        f"use_sliding_window={hf.get('use_sliding_window', False)} with layers of "
        f"{' and '.join(sorted(map(str, kinds)))}: all layers must be of one kind, full_attention "
        f"or, with use_sliding_window, sliding_attention"
    )


def _rope_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    ours, both = hf.get("rope_scaling") or {}, hf.get("rope_parameters") or {}
    rope = dict(ours or both)
    for key in ours.keys() & both.keys():
        if ours[key] != both[key]:
            raise ValueError(
                f"rope_scaling has {key}={ours[key]!r} and rope_parameters {key}={both[key]!r}: "
                f"remove the one that is wrong"
            )
    rope_type = rope.pop("rope_type", None) or rope.get("type") or "default"
    rope.pop("type", None)
    theta = rope.pop("rope_theta", None) or both.get("rope_theta") or hf.get("rope_theta")
    read: dict[str, Any] = {"rope_theta": float(theta or 10000.0)}
    if rope.pop("partial_rotary_factor", 1) not in (1, None):
        raise ValueError("partial_rotary_factor of the rotary settings must be 1: all is turned")
    if rope_type == "llama3":
        trained = hf.get("original_max_position_embeddings")
        if trained is not None:
            rope["original_max_position_embeddings"] = trained
        rope.setdefault("original_max_position_embeddings", hf["max_position_embeddings"])
        missing = [key for key in _LLAMA3 if key not in rope]
        if missing:
            raise ValueError(f"rope_type='llama3' needs {', '.join(missing)}")
        read |= {field: rope.pop(key) for key, field in _LLAMA3.items()}
        read["rope_scaling"] = "llama3"
    elif rope_type != "default":
        raise ValueError(f"{rope_type=} must be 'default' or 'llama3'")
    if rope:
        raise ValueError(f"rotary settings that {rope_type=} does not have: {', '.join(rope)}")
    return read


def config_to_hf(
    config: ModelConfig,
    dtype: str = "float32",
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> dict[str, Any]:
    """Write the contents of a config.json, for transformers from version 4.45 on (a Qwen3, 4.51).

    The model is a Llama if it can be; a Qwen3 with `qk_norm`, a Mistral with a sliding window, or
    with heads that do not divide d_model. `z_loss` is a matter of training, and not written.

    Args:
        config: the model's.
        dtype: name of the type that weights are stored in, and that transformers will load.
        bos_token_id: the token that begins a text; None: there is none.
        eos_token_id: the token at which generation ends; None: there is none.

    Returns:
        Values for a JSON file.

    Raises:
        ValueError: a choice of parts that none of the three has.

    Example:
        >>> config_to_hf(ModelConfig(qk_norm=True))["model_type"]
        'qwen3'
        >>> config_to_hf(ModelConfig(norm="layernorm"))
        Traceback (most recent call last):
        ValueError: norm='layernorm' must be 'rmsnorm': Hugging Face's Llama, Mistral and Qwen3 ...
    """
    config = config.resolved()
    model_type = _model_type(config)
    window = config.window_size
    own: dict[str, dict[str, Any]] = {
        "llama": {"mlp_bias": False},
        "mistral": {"sliding_window": window},
        "qwen3": {
            "use_sliding_window": window is not None,
            "sliding_window": window,
            "max_window_layers": config.num_layers if window is None else 0,
        },
    }
    scaling: dict[str, Any] | None = None
    if config.rope_scaling == "llama3":
        scaling = {"rope_type": "llama3"}
        scaling |= {key: float(getattr(config, field)) for key, field in _LLAMA3.items()}
        scaling["original_max_position_embeddings"] = config.rope_original_context
    theta = float(config.rope_theta)
    return {
        "architectures": [_MODELS[model_type]],
        "model_type": model_type,
        **{theirs: getattr(config, ours) for theirs, ours in _SIZES.items()},
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        **own[model_type],
        "rms_norm_eps": float(config.norm_eps),
        "tie_word_embeddings": config.tie_embeddings,
        # Transformers 4 reads the first two, 5 the third.
        "rope_theta": theta,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_theta": theta, **(scaling or {"rope_type": "default"})},
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "torch_dtype": dtype,
        "dtype": dtype,
    }


def _model_type(config: ModelConfig) -> str:
    for name, accepted in {
        "norm": ("rmsnorm",),
        "norm_place": ("pre",),
        "position": ("rope",),
        "attention": ("full", "sliding_window"),
        "ffn": ("swiglu",),
        "logit_soft_cap": (None,),
    }.items():
        if getattr(config, name) not in accepted:
            raise ValueError(
                f"{name}={getattr(config, name)!r} must be {' or '.join(map(repr, accepted))}: "
                f"Hugging Face's Llama, Mistral and Qwen3 have no other; keep such a model in a "
                f"state dict"
            )
    if config.qk_norm:
        return "qwen3"
    if config.attention == "sliding_window" or config.d_model % config.num_heads:
        return "mistral"
    return "llama"
