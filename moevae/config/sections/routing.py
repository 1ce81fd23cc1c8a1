"""Settings of the routing."""

from __future__ import annotations

from typing import Annotated

from pydantic.dataclasses import dataclass

from moevae.config.registry import ROUTINGS, SCHEDULES, named_in
from moevae.config.types import STRICT, Count, NonNegative, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RoutingConfig:
    """How the gate's logits become the weights of the experts.

    Examples:
        >>> import moevae
        >>> moevae.RoutingConfig(kind="hard").temperature
        1.0
    """

    kind: Annotated[str, named_in(ROUTINGS)] = "soft"
    """Weights of the experts: `soft` uses the probabilities of the gate. `hard` is one-hot at the most
    probable expert, with the gradient of `soft` (straight-through; Bengio et al., 2013). `gumbel` is one-hot
    at an expert drawn with the gate's probabilities, with the gradient of a relaxed sample (Jang et al.,
    2017; Maddison et al., 2017). Two kinds are sparse, so that the other experts are not computed in
    training: `sampled` trains `num_sampled` experts of an image, drawn with replacement (Williams, 1992), and
    `top-k` its `k` most probable experts, with probabilities divided by their sum (Shazeer et al., 2017)."""
    num_sampled: Count = 1
    """Number of experts drawn for an image by `sampled` routing; unused by other kinds."""
    k: Count = 2
    """Number of experts of an image in `top-k` routing; unused by other kinds. With 1, the experts do not
    train the gate."""
    noise: NonNegative = 0.0
    """Standard deviation of Gaussian noise that `top-k` routing adds to the gate's logits, divided by the
    temperature, before it chooses; in training only, and unused by other kinds."""
    temperature: Positive = 1.0
    """Divisor of the gate's logits; a high temperature makes the gate uncertain."""
    temperature_schedule: Annotated[str, named_in(SCHEDULES, also=("learned",))] = "constant"
    """How the temperature moves from `temperature` to `final_temperature` over training: not at all
    (`constant`), on a straight line (`linear`), on half a cosine wave (`cosine`), by equal factors
    (`exponential`), on a straight line over the last 30 % (`cooldown`), or by equal factors in eight stages,
    each three times as long as the one before (`iwae`). `learned` starts at `temperature` and follows the
    gradient."""
    final_temperature: Positive = 1.0
    """Temperature at the last step and in evaluation; unused by the constant and the learned schedule."""
