"""Settings of the objective."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic.dataclasses import dataclass

from moevae.config.registry import BALANCINGS, BIAS_UPDATES, ConsistencyTerms, named_in
from moevae.config.types import STRICT, Finite, NonNegative, Positive, Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ObjectiveConfig:
    """J = mean_x sum_k q(k|x) L_k(x) + information_weight I(x;k) + balance_weight * balancing.

    Examples:
        >>> import moevae
        >>> moevae.ObjectiveConfig(balance_weight=5).information_weight
        0.0
    """

    expert_weights: Literal["gate", "posterior", "map"] = "gate"
    """Weights of the experts' losses: q(k|x) of the `gate`; the `posterior` r, proportional to
    pi_k exp(-L_k), as in the EM algorithm; or its maximum, so that an image trains one expert (`map`). `map`
    is the classification EM algorithm, also known as hard EM (Celeux and Govaert, 1992). It compares the
    experts at the mean latent, without a gradient, and computes the gradient of the best expert only. In
    both, the gate learns to predict r without an influence on the experts; both need soft routing."""
    bound: Literal["elbo", "iwae"] = "elbo"
    """Bound of an expert, -L_k, from `train.num_samples` samples of z: the `elbo` (Kingma and Welling, 2014)
    is their mean; `iwae` is the importance-weighted bound, log mean_s p(x, z_s) / q(z_s|x), which rises with
    their number (Burda et al., 2016)."""
    information_weight: Finite = 0.0
    """alpha, the weight of the mutual information I(x;k): 1 in the negative ELBO, 0 in the competitive
    objective, negative to reward confident gates."""
    balance_weight: NonNegative = 20.0
    """lambda, the strength of the balancing loss, in nats per image."""
    balancing: Annotated[str, named_in(BALANCINGS, BIAS_UPDATES)] = "kl"
    """Balancing loss: `kl` is KL(q_bar || pi). `importance-cv2` is half the squared coefficient of variation
    of q_bar relative to pi (Shazeer et al., 2017). `switch` multiplies q_bar and the load (Fedus et al.,
    2021). `sinkhorn` is the divergence from the nearest balanced assignment (Caron et al., 2020). These share
    one scale near balance. `variance-of-sum` has a strength that depends on the batch size (Zeldes, 2019).
    `none` is no loss. `loss-free` moves a bias of each expert instead of adding a loss (Wang et al.,
    2024)."""
    expert_gradient: Share = 1.0
    """Factor of the gradient of the experts' losses in the gate. With 0, the gate learns from information,
    balancing and consistency alone, and the experts follow it."""
    consistency: ConsistencyTerms = ()
    """Terms of the consistency loss of the gate, which are added. The output of the gate must not change
    within a small ball around an image (`vat`, virtual adversarial training; Miyato et al., 2018; Hu et al.,
    2017) or under a small shift, rotation and scaling (`augmentation`), or must agree for an image and a near
    neighbor among the training images (`knn`), whose width and height may change at random
    (`knn-stretch`). `iic` is the negative mutual information between the experts of an image and of a
    deformed copy or a near neighbor (Ji et al., 2019); it is below zero, and balances the experts only as
    far as pairs stay together."""
    consistency_weight: NonNegative = 1.0
    """Strength of the consistency loss; unused without terms."""
    vat_radius: Positive = 0.25
    """Radius of the ball of `vat`, as a share of the distance to the tenth neighbor of the image."""
