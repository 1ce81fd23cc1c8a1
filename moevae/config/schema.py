"""The configuration of a run: a tree of frozen dataclasses, validated at creation, hashed over all fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from moevae.config.registry import (
    ACTIVATIONS,
    BALANCINGS,
    BIAS_UPDATES,
    DATASETS,
    FILE_FORMATS,
    RELEASES,
    ROUTINGS,
    SCHEDULES,
    Choices,
    ConsistencyTerms,
    named_in,
)
from moevae.config.types import Count, Finite, NonNegative, Positive, Share, Shares
from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name, is_text

SCHEMA = 2
"""Version of the configuration's names and meaning: part of every fingerprint."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataConfig:
    """The data set, its splits, and how grayscale pixels become the target of the likelihood.

    Examples:
        >>> import moevae
        >>> moevae.DataConfig(name="mnist", train_size=10_000).binarization
        'dynamic'
    """

    name: Annotated[str, Choices((DATASETS, RELEASES), formats=FILE_FORMATS)] = "digits"
    """The data set: `digits`, which is part of scikit-learn; `mnist` (LeCun et al., 1998) and `fashion-mnist`
    (Xiao et al., 2017), which are downloaded when they are first used; images of your own in an archive,
    `npz:PATH`, or a folder of image files, `folder:PATH`."""
    train_size: Count | None = None
    """Number of training images, a subset fixed by `split_seed`; null uses all."""
    validation_size: Annotated[int, Field(ge=0)] | None = None
    """Number of images held out of training for validation; null holds out a tenth."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the splits and of the static binarization; it must be the same for all runs that are
    compared."""
    imbalance: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor from the size of a class to that of the next smaller one, in an order of classes fixed by
    `split_seed`, before `validation_size` and `train_size` are applied; the test set is not changed.
    Labels choose the images but do not enter training."""
    binarization: Literal["dynamic", "static", "none"] = "dynamic"
    """Whether binary pixels are drawn, with the gray value as probability, each time an image is used
    (`dynamic`), once (`static`), or not at all (`none`)."""
    image_size: Count | tuple[Count, Count] | None = None
    """Height and width, or the side of a square, to which the images of a folder are cropped and resized.
    Null requires images of one size. Unused by other data sets."""
    bad_images: Literal["refuse", "skip"] = "refuse"
    """Whether image files of a folder that cannot be read are an error (`refuse`) or left out (`skip`).
    Unused by other data sets."""

    @model_validator(mode="after")
    def _known(self) -> DataConfig:
        kind, colon, path = self.name.partition(":")
        if colon and kind in FILE_FORMATS and not path:
            raise ConfigError(f"{self.name} names no file; expected {kind}:PATH")
        if not is_text(self.name):
            raise ConfigError(f"{self.name!a}: not UTF-8, and no record can hold such a name")
        if not (colon and kind in FILE_FORMATS) and self.name not in DATASETS and self.name not in RELEASES:
            if self.name.endswith(".npz"):
                raise ConfigError(f"unknown data set {self.name!r}: did you mean npz:{self.name}?")
            own = (f"{each}:PATH" for each in FILE_FORMATS)
            closest_name("data set", self.name, (*DATASETS, *RELEASES, *own))
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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
    latent_prior: Literal["normal", "mixture", "vamp"] = "normal"
    """p(z), the prior of z: the standard `normal` distribution, the same for all experts, or a mixture of
    Gaussian distributions that each expert learns. In `mixture`, their means, variances and weights are
    learned. `vamp` is the VampPrior, the mean of q(z|x) over learned images (Tomczak and Welling, 2018).
    With a learned prior, `kl_z` is estimated from the samples of z."""
    prior_components: Count = 32
    """Number of Gaussian distributions of a learned `latent_prior`, per expert. Populations change no bit of
    a run if it is a multiple of 16."""
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
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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
    one scale near balance. `variance-of-sum` is the loss of the first mixture of VAEs, whose strength depends
    on the batch size (Zeldes, 2019). `none` is no loss. `loss-free` moves a bias of each expert instead of
    adding a loss (Wang et al., 2024)."""
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainConfig:
    """Number of epochs, learning rates, batches and precision of training.

    Examples:
        >>> import moevae
        >>> moevae.TrainConfig(epochs=5).batch_size
        128
    """

    epochs: Count = 20
    """Number of passes over the training images."""
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
    min_steps: Annotated[int, Field(ge=0)] = 0
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
    extra_experts: Annotated[int, Field(ge=0)] = 0
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
    """Precision of products and activations in training, `float32` or `bfloat16`; weights and evaluation are
    always in float32. In `bfloat16`, rounding may depend on the other runs of the population; in `float32` it
    does not."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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
    iwae_samples: Annotated[int, Field(ge=0)] = 0
    """Number of samples of z per image and expert for `iwae_bound` (Burda et al., 2016); 0 does not compute
    it."""
    iwae_images: Count | None = None
    """Number of images, the first of the split, over which `iwae_bound` is averaged; null uses all."""
    iwae_experts: Count | None = None
    """Number of experts, the most probable by the posterior r, that are sampled for `iwae_bound` of an image;
    null samples all. With fewer experts it is lower, and still a bound."""
    all_images: bool = False
    """Whether training, validation and test images together are scored, too, as `all_acc` and `all_nmi`, for
    comparison with scores of whole data sets in the literature. Labels are used for scoring only."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RunConfig:
    """All settings that determine the numbers of a run. A cell is a RunConfig without its seed.

    Examples:
        >>> import moevae
        >>> config = moevae.RunConfig(train=moevae.TrainConfig(epochs=5), seed=3)
        >>> config.model.num_experts, config.train.epochs, config.seed
        (10, 5, 3)
    """

    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    routing: RoutingConfig = Field(default_factory=RoutingConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        moving = self.routing.final_temperature != RoutingConfig().final_temperature
        if self.routing.temperature_schedule in ("constant", "learned") and moving:
            raise ValueError(
                "routing.final_temperature needs a routing.temperature_schedule other than"
                f" {self.routing.temperature_schedule}"
            )
        if self.train.learning_rate_schedule == "constant" and (
            self.train.final_learning_rate != TrainConfig().final_learning_rate
        ):
            raise ValueError(
                "train.final_learning_rate needs a train.learning_rate_schedule other than constant"
            )
        if self.objective.expert_weights != "gate" and self.routing.kind != "soft":
            raise ValueError(
                f"objective.expert_weights = {self.objective.expert_weights} weights the experts by their"
                f" posterior, and routing.kind = {self.routing.kind} by the gate: expected soft"
            )
        if self.routing.kind == "top-k" and self.routing.k > self.model.num_experts:
            raise ValueError(
                f"routing.k = {self.routing.k} experts of an image, and model.num_experts is"
                f" {self.model.num_experts}: expected at most as many"
            )
        if self.train.revival and self.model.expert_prior:
            raise ValueError("train.revival needs a uniform model.expert_prior")
        self._check_deformations()
        if self.model.gate_network == "posterior":
            self._check_posterior_gate()
        if self.model.gate_input == "gradients":
            self._check_gradients()
        if self.model.gate_normalization == "batch" and self.train.batch_size == 1:
            raise ValueError("model.gate_normalization = batch needs a train.batch_size of 2 or more")
        if self.train.extra_experts and self.model.expert_prior:
            raise ValueError("train.extra_experts needs a uniform model.expert_prior")
        if self.train.extra_experts and self.train.pruning_end < self.train.pruning_start:
            raise ValueError("train.pruning_end must not be below train.pruning_start")
        return self

    def _check_posterior_gate(self) -> None:
        expected = {
            "model.gate_input": (self.model.gate_input, "target"),
            "model.gate_normalization": (self.model.gate_normalization, "none"),
            "objective.consistency": (list(self.objective.consistency), []),
            "train.gate_start": (self.train.gate_start, "none"),
        }
        for key, (value, allowed) in expected.items():
            if value != allowed:
                raise ValueError(
                    f"model.gate_network = posterior has no network, so that {key} = {value} has no effect:"
                    f" expected {allowed}"
                )
        if self.routing.temperature_schedule == "learned":
            raise ValueError(
                "model.gate_network = posterior has no gradient to learn a temperature from: expected another"
                " routing.temperature_schedule than learned"
            )

    def _check_gradients(self) -> None:
        if self.model.gate_network == "conv":
            raise ValueError(
                "model.gate_network = conv reads an image, and model.gate_input = gradients is none: expected"
                " model.gate_network = mlp"
            )

    def _check_deformations(self) -> None:
        kinds, starts = self.model.deformations, self.train.deformation_starts
        if len(set(kinds)) < len(kinds) or not {"affine", "displacement"} & set(kinds):
            raise ValueError(
                "model.deformations must be different ones, with affine or displacement among them"
            )
        if starts and len(starts) != len(kinds):
            raise ValueError(
                f"train.deformation_starts has {len(starts)} entries for {len(kinds)} model.deformations:"
                " expected one each, or none"
            )
        if self.model.decoder == "deformable" and self.model.likelihood == "autoregressive":
            raise ValueError("model.decoder = deformable needs model.likelihood = gaussian or bernoulli")
        if self.model.decoder == "deformable" and self.model.latent_prior != "normal":
            raise ValueError("model.decoder = deformable needs model.latent_prior = normal")


ADDED: dict[str, Any] = {
    "data.image_size": None,
    "data.bad_images": "refuse",
    "routing.k": 2,
    "routing.noise": 0.0,
    "train.start": "",
    "train.revival": 0.0,
    "train.revival_end": 0.5,
    "evaluation.all_images": False,
    "train.kl_warmup": 0.0,
    "model.latent_prior": "normal",
    "model.prior_components": 32,
    "model.pixel_network": "window",
    "model.pixel_width": 32,
    "model.pixel_depth": 2,
    "model.pixel_layers": "separate",
    "train.min_steps": 0,
    "train.gate_start": "none",
    "train.gate_start_end": 0.15,
    "evaluation.marginal_images": None,
}
"""Fields added since the first records of this schema, each with the value, as in `to_dict`, that reproduces
what the code did before the field existed."""

PER_RUN = (
    "seed",
    "objective.information_weight",
    "objective.balance_weight",
    "model.expert_prior",
    "objective.consistency_weight",
    "objective.expert_gradient",
    "routing.temperature",
    "routing.final_temperature",
)
"""Settings that may differ between the runs of one population."""


def population_key(config: RunConfig) -> RunConfig:
    """Return the configuration with default values of `PER_RUN`: runs with equal results train together."""
    return replace(
        config,
        seed=0,
        model=replace(config.model, expert_prior=()),
        objective=replace(
            config.objective,
            information_weight=0.0,
            balance_weight=0.0,
            consistency_weight=0.0,
            expert_gradient=1.0,
        ),
        routing=replace(config.routing, temperature=1.0, final_temperature=1.0),
    )
