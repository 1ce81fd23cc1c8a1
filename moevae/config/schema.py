"""The configuration of a run: a tree of frozen dataclasses, validated at creation, hashed over all fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from moevae.config.registry import (
    ACTIVATIONS,
    BALANCINGS,
    BIAS_MOVES,
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
    gate_input: Literal["target", "grayscale"] = "grayscale"
    """Input of the gate: the target of the likelihood (`target`), or the pixels in `grayscale`. Any gate is a
    valid variational distribution over the experts, so that bounds on the probability of the target stay
    bounds."""
    activation: Annotated[str, named_in(ACTIVATIONS)] = "relu"
    """Activation of hidden layers: `relu`, `leaky-relu` with slope 0.01, `gelu` (Hendrycks and Gimpel, 2016),
    `silu` (Elfwing et al., 2018), `tanh` or `sigmoid`."""
    likelihood: Literal["bernoulli", "gaussian", "autoregressive"] = "bernoulli"
    """Distribution of the pixels given z: independent with `bernoulli` and `gaussian`. With `autoregressive`,
    pixels are Bernoulli and depend on the earlier ones in a window of 7 x 7: a small network of each expert
    adds a function of that window to the decoder's logits (Gulrajani et al., 2017)."""
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
    (`exponential`), or on a straight line over the last 30 % (`cooldown`). `learned` starts at `temperature`
    and follows the gradient."""
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
    balancing: Annotated[str, named_in(BALANCINGS, BIAS_MOVES)] = "kl"
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
    (`knn-stretch`)."""
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
    `cosine` (Loshchilov and Hutter, 2017), `exponential`, or `cooldown`: linear over the last 30 %."""
    final_learning_rate: Positive = 1e-5
    """Learning rate of the last step; unused by the constant schedule."""
    num_samples: Count = 1
    """Number of samples of z per image and expert in training; see `objective.bound`."""
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


ADDED: dict[str, Any] = {
    "data.image_size": None,
    "data.bad_images": "refuse",
    "routing.k": 2,
    "routing.noise": 0.0,
    "train.start": "",
    "train.revival": 0.0,
    "train.revival_end": 0.5,
    "evaluation.all_images": False,
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
