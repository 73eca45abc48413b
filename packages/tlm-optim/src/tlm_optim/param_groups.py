"""Which parameters get weight decay, and which of them Muon's steps."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

Groups = list[dict[str, Any]]


def param_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Two groups for an optimizer: decay on matrices, none on gains and biases.

    A parameter with two axes or more is a matrix (embeddings are too). Frozen parameters
    (`requires_grad=False`) are in neither group, shared ones in one, once.

    Args:
        model: whose parameters.
        weight_decay: decay of the matrices.

    Returns:
        Two groups, matrices first, for `torch.optim.Optimizer`.

    Example:
        >>> groups = param_groups(nn.Linear(3, 2), weight_decay=0.1)
        >>> [(group["weight_decay"], len(group["params"])) for group in groups]
        [(0.1, 1), (0.0, 1)]
    """
    return _by_decay([p for p in model.parameters() if p.requires_grad], weight_decay)


def muon_groups(
    model: nn.Module, weight_decay: float, exclude: Collection[str] | None = None
) -> tuple[Groups, Groups]:
    """Groups for `Muon`, of a model's hidden matrices, and those of all else, for AdamW.

    Hidden is a parameter of two axes, or of three that is not a convolution's (a stack of
    experts), but not

    - a parameter of an embedding: a module whose class is, or is named like, `nn.Embedding`;
    - the output layer: what Hugging Face's `get_output_embeddings()` names where the model has
      it, or the parameter that the model has as `output_weight` (`TransformerLM` of tlm-layers
      does, and it may be the embedding), else the last matrix of the model;
    - what is shared with one of these.

    Frozen parameters are in no group.

    Args:
        model: whose parameters.
        weight_decay: decay of all matrices.
        exclude: names of parameters and modules to take as output layers instead of those that
            are found; none where a model ends with a hidden matrix.

    Returns:
        One group for Muon, and two for AdamW (matrices, then gains and biases).

    Raises:
        ValueError: no hidden matrix is left, or a name in `exclude` is not in the model.

    Example:
        >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9))
        >>> hidden, others = muon_groups(model, weight_decay=0.1)
        >>> [[tuple(p.shape) for p in group["params"]] for group in [*hidden, *others]]
        [[(4, 4)], [(9, 4), (9, 4)], [(4,), (9,)]]
    """
    apart = _embeddings(model)
    apart += _output_layers(model) if exclude is None else _named(model, exclude)
    apart += [p for m in model.modules() if _is_convolution(m) for p in m.parameters()]
    apart_ids = {id(parameter) for parameter in apart}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hidden = [p for p in trained if p.ndim in (2, 3) and id(p) not in apart_ids]
    if not hidden:
        raise ValueError(
            f"{type(model).__name__} has no hidden matrix for Muon: give param_groups to AdamW, "
            f"or say in exclude which layers are not hidden"
        )
    hidden_ids = {id(parameter) for parameter in hidden}
    others = [parameter for parameter in trained if id(parameter) not in hidden_ids]
    return [{"params": hidden, "weight_decay": weight_decay}], _by_decay(others, weight_decay)


def _by_decay(trained: list[nn.Parameter], weight_decay: float) -> Groups:
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _embeddings(model: nn.Module) -> list[Tensor]:
    return [
        parameter
        for module in model.modules()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        or type(module).__name__.endswith("Embedding")
        for parameter in module.parameters(recurse=False)
    ]


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd)


def _output_layers(model: nn.Module) -> list[Tensor]:
    if hasattr(model, "get_output_embeddings"):
        name_output: Any = model.get_output_embeddings
        layer = name_output()
        return [] if layer is None else list(layer.parameters())
    output_weight = getattr(model, "output_weight", None)
    if isinstance(output_weight, nn.Parameter):
        return [output_weight]
    # With what is shared listed again, for an output layer may be the embedding.
    matrices = [p for _, p in model.named_parameters(remove_duplicate=False) if p.ndim >= 2]
    return matrices[-1:]  # type: ignore[return-value]


def _named(model: nn.Module, names: Collection[str]) -> list[Tensor]:
    found = []
    for name in names:
        parameters = [
            parameter
            for full_name, parameter in model.named_parameters(remove_duplicate=False)
            if full_name == name or full_name.startswith(f"{name}.")
        ]
        if not parameters:
            raise ValueError(
                f"exclude has {name!r}, which is neither a parameter nor a module with parameters "
                f"of {type(model).__name__}"
            )
        found += parameters
    return found  # type: ignore[return-value]
