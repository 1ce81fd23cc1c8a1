"""Settings of training."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from moevae.config.registry import SCHEDULES, named_in
from moevae.config.types import STRICT, Count, CountOrZero, Positive, Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """Number of epochs, learning rates, batches and precision of training.

    Examples:
        >>> import moevae
        >>> moevae.TrainConfig(epochs=5).batch_size
        128
    """

    epochs: Count = 20
    """Number of passes over the training images, or of several passes each if `min_steps` needs them."""
    batch_size: Count = 128
    """Images per step. Populations change no bit of a run if it is a multiple of 16."""
    learning_rate: Positive = 1e-3
    """Learning rate of Adam at the first step (Kingma and Ba, 2015)."""
    learning_rate_schedule: Annotated[str, named_in(SCHEDULES)] = "constant"
    """How the learning rate moves from `learning_rate` to `final_learning_rate`: `constant`, `linear`,
    `cosine` (Loshchilov and Hutter, 2017), `exponential`, `cooldown`: linear over the last 30 %, or `iwae`:
    by equal factors in eight stages, each three times as long as the one before (Burda et al., 2016)."""
    final_learning_rate: Positive = 1e-5
    """Learning rate of the last step; unused by the constant schedule."""
    num_samples: Count = 1
    """Number of samples of z per image and expert in training; see `objective.bound`."""
    min_steps: CountOrZero = 0
    """Smallest number of steps of the whole training: if the epochs have fewer, because there are few images,
    each epoch passes over the images as often as needed."""
    gate_start: Literal["none", "clustering"] = "none"
    """What the gate learns first: nothing of its own (`none`), or a `clustering` of the training images
    without labels, by the spectral embedding of the graph of their neighbors (Ng et al., 2001) and
    information bottleneck merging (Slonim and Tishby, 1999). The weight of its cross-entropy falls linearly
    to 0."""
    gate_start_end: Share = 0.15
    """Share of training after which the gate no longer learns the clustering of `gate_start`; unused by
    `none`."""
    kl_warmup: Share = 0.0
    """Share of training over which the weight of the divergence of z from its prior rises from 0 to 1 on a
    straight line, so that z is in use before it has a price (Bowman et al., 2016; Sonderby et al., 2016);
    0 has no warm-up."""
    start: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")] = ""
    """Digest of the weights that training starts from; empty initializes them. `train --from` sets it."""
    extra_experts: CountOrZero = 0
    """Experts that training starts with in addition to `model.num_experts`. Training prunes the expert whose
    removal lowers the marginal bound of training images least, without labels, until none is extra."""
    pruning_start: Share = 0.3
    """Share of training after which the first extra expert is pruned; unused without extra experts."""
    pruning_end: Share = 0.6
    """Share of training after which no extra expert is left; unused without extra experts."""
    revival: Share = 0.0
    """Share of an equal load, 1/K, below which an expert is starved. At the end of an epoch, a starved expert
    becomes a noisy copy of the expert with the largest load. The load is the share of the weights of the
    experts' losses in the epoch; no labels are used. 0 revives none."""
    revival_end: Share = 0.5
    """Share of training after which no expert is revived; unused without `revival`."""
    deformation_starts: tuple[Share, ...] = ()
    """Share of training after which each of `model.deformations` begins; empty: all from the start."""
    template_learning_rate: Positive = 0.02
    """Learning rate of the templates and residual images of deformable experts; moves in proportion to
    `learning_rate`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of products and activations in training, `float32` or `bfloat16`; the trained weights are in
    float32, and so is evaluation, but for `evaluation.iwae_precision`. In `bfloat16`, rounding may
    depend on the other runs of the population; in `float32` it does not."""

    def passes(self, images: int) -> int:
        """Return the number of passes of an epoch over the training images; more than one for `min_steps`.

        Args:
            images: number of training images.
        """
        once = images // min(self.batch_size, images)
        return max(1, math.ceil(self.min_steps / (once * self.epochs)))
