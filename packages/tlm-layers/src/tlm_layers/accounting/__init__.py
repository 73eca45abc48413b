"""What a model costs, as functions of its config: parameters, arithmetic, memory."""

from tlm_layers.accounting.flops import Flops, TrainingFlops, training_flops
from tlm_layers.accounting.memory import (
    ActivationBytes,
    ModelStateBytes,
    activation_bytes,
    kv_cache_bytes,
    model_state_bytes,
)
from tlm_layers.accounting.parameters import ParameterCount, num_parameters

__all__ = [
    "ActivationBytes",
    "Flops",
    "ModelStateBytes",
    "ParameterCount",
    "TrainingFlops",
    "activation_bytes",
    "kv_cache_bytes",
    "model_state_bytes",
    "num_parameters",
    "training_flops",
]
