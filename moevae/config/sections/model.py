"""Settings of the networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from moevae.config.registry import ACTIVATIONS, named_in
from moevae.config.types import STRICT, Count, NonNegative, Positive, Shares


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """Sizes of the gate and of the K expert VAEs.

    Examples:
        >>> import moevae
        >>> moevae.ModelConfig(num_experts=20, expert_hidden=(400, 200)).latent_dim
        10
    """

    num_experts: Count = 10
    """Number of experts, K."""
    expert_prior: Shares = ()
    """pi, the prior over experts: one share per expert in any unit, normalized to sum to one; empty is
    uniform. It is part of every bound, and load balancing moves the mean gate probabilities toward it."""
    latent_dim: Count = 10
    """Dimension of the latent z of each expert."""
    latent_prior: Literal["normal", "mixture", "vamp", "hierarchical"] = "normal"
    """p(z), the prior of z: the standard `normal` distribution, the same for all experts, or one that each
    expert learns. `mixture` is a mixture of Gaussian distributions with learned means, variances and weights,
    and `vamp` is the VampPrior, the mean of q(z|x) over learned images (Tomczak and Welling, 2018).
    `hierarchical` has two layers of latents: the second half of z is standard normal, and a perceptron with
    one hidden layer, of the last width of `expert_hidden`, computes the means and variances of the first half
    from it. With a learned prior, `kl_z` is estimated from the samples of z."""
    prior_components: Count = 32
    """Number of Gaussian distributions of `latent_prior = mixture` or `vamp`, per expert. Populations change
    no bit of a run if it is a multiple of 16."""
    expert_network: Literal["mlp", "conv"] = "mlp"
    """Hidden layers of the experts: linear layers (`mlp`), or convolutions of 3 x 3 pixels with stride 2,
    each of which halves the height and the width, rounded up (`conv`). The last layer of the encoder is
    linear, and the decoder mirrors the encoder."""
    expert_hidden: tuple[Count, ...] = (128,)
    """Widths of an encoder's hidden layers, or channels of its convolutions; the decoder mirrors them."""
    encoder: Literal["separate", "shared"] = "separate"
    """Whether each expert has an encoder of its own (`separate`), or the experts of a run share its hidden
    layers (`shared`). Each expert always has its own last layer, which returns mu and logvar, and its own
    decoder."""
    gate_network: Literal["mlp", "conv", "posterior"] = "mlp"
    """Hidden layers of the gate, `mlp` or `conv`, as in `expert_network`. `posterior` is not a network:
    q(k|x) is the posterior of the experts, proportional to pi_k exp(ELBO_k) with ELBO_k at the mean latent,
    which is the optimal gate. It has no parameters and passes no gradient to the experts; every answer then
    takes a pass through all experts."""
    gate_hidden: tuple[Count, ...] = (128,)
    """Widths of the gate's hidden layers, or channels of its convolutions; unused by `posterior`."""
    gate_normalization: Literal["none", "batch"] = "none"
    """Normalization of the gate's hidden layers before the activation: `none`, or `batch` normalization,
    which uses running averages outside of training (Ioffe and Szegedy, 2015)."""
    gate_input: Literal["target", "grayscale", "gradients"] = "grayscale"
    """Input of the gate: the target of the likelihood (`target`), the pixels in `grayscale`, or histograms of
    their oriented `gradients` (Dalal and Triggs, 2005) in 7 x 7 cells and 8 directions, for images of any
    size. Any gate is a valid variational distribution over the experts, so that bounds on the probability of
    the target stay bounds."""
    activation: Annotated[str, named_in(ACTIVATIONS)] = "relu"
    """Activation of hidden layers: `relu`, `leaky-relu` with slope 0.01, `gelu` (Hendrycks and Gimpel, 2016),
    `silu` (Elfwing et al., 2018), `tanh` or `sigmoid`."""
    likelihood: Literal["bernoulli", "gaussian", "autoregressive"] = "bernoulli"
    """Distribution of the pixels given z: independent with `bernoulli` and `gaussian`. With `autoregressive`,
    pixels are Bernoulli and depend on the earlier ones: a network that `pixel_network` names adds a function
    of them to the decoder's logits (Gulrajani et al., 2017)."""
    pixel_network: Literal["window", "conv", "made"] = "window"
    """Network of the `autoregressive` likelihood, which reads the pixels above a pixel, and those on its left
    in its row. `window` is a perceptron of the pixels in a window of 7 x 7. `conv` begins with that window,
    which residual masked convolutions of 3 x 3 pixels with dilations of 1, 2, 4, 1 and so on widen (Van den
    Oord et al., 2016). `made` is a masked perceptron of all pixels, the autoencoder MADE (Germain et al.,
    2015)."""
    pixel_width: Count = 32
    """Units, or channels, of a hidden layer of `pixel_network`."""
    pixel_depth: Count = 2
    """Number of hidden layers of `pixel_network`; in `conv`, of residual layers after the window."""
    pixel_layers: Literal["separate", "shared"] = "separate"
    """Whether each expert has a `pixel_network` of its own (`separate`), or the experts of a run share its
    hidden layers (`shared`), which are then computed once per image. Each expert always has its own last
    layer."""
    gaussian_std: Positive | Literal["learned"] = 0.5
    """Standard deviation of the Gaussian likelihood, in pixel units of [0, 1]: a fixed number, or `learned`,
    the maximum-likelihood value, shared by the experts of a run (Rybkin et al., 2021)."""
    variance_floor: NonNegative = 0.0
    """Added to the encoder's variance exp(logvar)."""
    decoder: Literal["network", "deformable"] = "network"
    """Decoder of the experts: a `network` that mirrors the encoder, or `deformable`, which draws one learned
    template per expert and deforms it as the latents say (Frey and Jojic, 2003; Monnier et al., 2020)."""
    deformations: tuple[Literal["affine", "displacement", "intensity", "thickness", "residual"], ...] = (
        "affine",
        "displacement",
    )
    """Deformations by the latents of a deformable decoder: an `affine` map, a smooth `displacement` of
    pixels, contrast and brightness (`intensity`), `thickness` of strokes, and a `residual` of rank
    `latent_dim` that is added to the template and displaced with it."""
    displacement_grid: Count = 4
    """Points on a side of the grid whose displacements are interpolated to the pixels; unused without
    `displacement`."""

    @model_validator(mode="after")
    def _prior(self) -> ModelConfig:
        prior = self.expert_prior
        if prior and len(prior) != self.num_experts:
            raise ValueError(
                f"model.expert_prior has {len(prior)} shares, and model.num_experts is {self.num_experts}:"
                " expected one share per expert, or none for a uniform prior"
            )
        if prior and max(prior) - min(prior) < 1e-9:
            object.__setattr__(self, "expert_prior", ())
        if self.latent_prior == "hierarchical" and self.latent_dim < 2:
            raise ValueError("model.latent_prior = hierarchical needs model.latent_dim of at least 2")
        return self
