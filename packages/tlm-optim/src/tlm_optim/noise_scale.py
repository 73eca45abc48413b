"""How noisy the gradients are, and so how large a batch is worth its cost."""

from typing import Any


class GradientNoiseScale:
    """Estimates the batch size above which larger batches help little.

    A gradient over b samples is the true gradient G and noise of covariance Σ / b. The simple
    noise scale is

        B = tr(Σ) / ‖G‖²

    At batch sizes far below B, twice the batch gives nearly twice the progress of a step; far
    above, nearly none. From squared norms of gradients over b samples (a micro-batch, a
    data-parallel rank) and over B samples (the whole batch) of each step come the unbiased
    estimates

        ‖G‖² ≈ (B ‖G_B‖² − b ‖G_b‖²) / (B − b)
        tr(Σ) ≈ (‖G_b‖² − ‖G_B‖²) / (1 / b − 1 / B)

    each of which is averaged over steps (with the correction of Adam for a start at 0) before
    they are divided. Follows McCandlish et al. 2018, https://arxiv.org/abs/1812.06162
    (appendix A.1).

    With gradient accumulation the small batch is the first micro-batch, whose gradient is alone
    in `grad` after its `backward`; over data-parallel ranks it is a rank's own batch, before the
    gradients are summed. `grad_norm` gives the norms.

    Args:
        decay: share of the averages that a step keeps, from 0 to below 1. Single steps say very
            little: about 1 / (1 − decay) of them are averaged.

    Raises:
        ValueError: a decay out of its range.

    Example:
        >>> estimate = GradientNoiseScale()
        >>> estimate.update(small_square=5.0, large_square=2.0, small_batch=1, large_batch=4)
        >>> estimate.gradient_square, estimate.noise, estimate.noise_scale
        (1.0, 4.0, 4.0)
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"{decay=} must be at least 0 and below 1")
        self.decay = decay
        self.updates = 0
        self.gradient_square = 0.0
        """The estimate of ‖G‖²."""
        self.noise = 0.0
        """The estimate of tr(Σ), in units of one sample."""

    def update(
        self, small_square: float, large_square: float, small_batch: int, large_batch: int
    ) -> None:
        """Take the gradients of one step in.

        Args:
            small_square: squared norm of the gradient over `small_batch` samples; of several such
                gradients the mean of their squared norms, which is less noisy.
            large_square: squared norm of the gradient over `large_batch` samples.
            small_batch: samples, or tokens; B is in the same unit.
            large_batch: likewise, more than `small_batch`.

        Raises:
            ValueError: the batch sizes are not as said.
        """
        if not 0 < small_batch < large_batch:
            raise ValueError(
                f"{small_batch=} must be at least 1 and less than {large_batch=}: two batch sizes "
                f"are needed to tell noise from gradient"
            )
        gradient_square = (large_batch * large_square - small_batch * small_square) / (
            large_batch - small_batch
        )
        noise = (small_square - large_square) / (1 / small_batch - 1 / large_batch)
        self.updates += 1
        share = (1 - self.decay) / (1 - self.decay**self.updates)
        self.gradient_square += share * (gradient_square - self.gradient_square)
        self.noise += share * (noise - self.noise)

    @property
    def noise_scale(self) -> float:
        """B, in units of `small_batch`; not a number before the first update.

        It is infinite where no gradient can be told from the noise, and 0 where no noise can be
        told.
        """
        if self.updates == 0:
            return float("nan")
        if self.gradient_square <= 0:
            return float("inf")
        return max(self.noise, 0.0) / self.gradient_square

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and how many steps are in them, as JSON can hold them."""
        return {
            "updates": self.updates,
            "gradient_square": self.gradient_square,
            "noise": self.noise,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.updates = int(state_dict["updates"])
        self.gradient_square = float(state_dict["gradient_square"])
        self.noise = float(state_dict["noise"])
