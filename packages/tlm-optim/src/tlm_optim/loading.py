"""State dicts, loaded with all their digits."""

from itertools import chain
from typing import Any

from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import Optimizer


class ExactLoading(Optimizer):
    """An optimizer whose `load_state_dict` keeps the types of states.

    torch casts them to the type of the weight, which takes away digits of a float32 state of
    bfloat16 weights.
    """

    @_disable_dynamo
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, here or in torch's optimizer of the same name.

        Args:
            state_dict: settings of the groups, and the states by the number of the parameter.

        Raises:
            ValueError: a setting or a state that this optimizer cannot go on with.
        """
        given: dict[str, Any] = {}
        # The last of the hooks: what it sees is what is loaded.
        hook = self.register_load_state_dict_pre_hook(lambda _, state: given.update(state))
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        numbers = chain.from_iterable(group["params"] for group in given["param_groups"])
        parameters = chain.from_iterable(group["params"] for group in self.param_groups)
        states = self.state
        for number, parameter in zip(numbers, parameters, strict=True):
            for name, value in given["state"].get(number, {}).items():
                loaded = states[parameter].get(name)
                if not isinstance(loaded, Tensor) or not isinstance(value, Tensor):
                    continue
                if loaded.dtype.itemsize < value.dtype.itemsize:
                    states[parameter][name] = value.to(parameter.device)
