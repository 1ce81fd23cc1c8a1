"""Settings of evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from moevae.config.types import STRICT, Count, CountOrZero


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluationConfig:
    """How a trained run is measured.

    Examples:
        >>> import moevae
        >>> moevae.EvaluationConfig(num_samples=16).iwae_samples
        0
    """

    num_samples: Count = 1
    """Number of samples of z per image and expert for every evaluated bound except `iwae_bound`.
    `marginal_elbo` and `gate_gap` use samples of their own, as many, and at least 32."""
    marginal_images: Count | None = None
    """Number of images, the first of the split, over which `marginal_elbo` and `gate_gap` are averaged; null
    uses all."""
    iwae_samples: CountOrZero = 0
    """Number of samples of z per image and expert for `iwae_bound` (Burda et al., 2016); 0 does not compute
    it. If the images are binarized, studies then also compare samples of the run with the training images
    nearest to them."""
    iwae_images: Count | None = None
    """Number of images, the first of the split, over which `iwae_bound` is averaged; null uses all."""
    iwae_experts: Count | None = None
    """Number of experts, the most probable by the posterior r, that are sampled for `iwae_bound` of an image;
    null samples all. With fewer experts it is lower, and still a bound. r is estimated from the samples of
    `marginal_elbo`, and from `evaluation.num_samples` beyond `evaluation.marginal_images`."""
    iwae_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks behind `iwae_bound`, `float32` or `bfloat16`. Either gives a bound: that of a
    model with rounded weights, whose samples of z and sums are computed in float32 or wider. It takes less
    time on processors that multiply faster in `bfloat16`, but not on all that have instructions for it."""
    all_images: bool = False
    """Whether training, validation and test images together are scored, too, as `all_acc` and `all_nmi`, for
    comparison with scores of whole data sets in the literature. Labels are used for scoring only."""
