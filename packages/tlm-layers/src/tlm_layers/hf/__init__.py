"""Llama-family models to and from Hugging Face's folders: config.json and safetensors."""

from tlm_layers.hf.config import config_from_hf, config_to_hf
from tlm_layers.hf.folder import load_hf, save_hf
from tlm_layers.hf.weights import weights_from_hf, weights_to_hf

__all__ = [
    "config_from_hf",
    "config_to_hf",
    "load_hf",
    "save_hf",
    "weights_from_hf",
    "weights_to_hf",
]
