"""A run is a value: a tree of frozen dataclasses, checked when made, hashed over every field."""

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
    ConsistencyTerms,
    named_in,
)
from moevae.config.types import Count, Finite, NonNegative, Positive, Share, Shares
from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name, is_text

SCHEMA = 2
"""Version of the configuration's names and meaning: part of every fingerprint."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataConfig:
    """Which images, how many, and how grayscale pixels become the target of the likelihood.

    Examples:
        >>> import moevae
        >>> moevae.DataConfig(name="mnist", train_size=10_000).binarization
        'dynamic'
    """

    name: str = "digits"
    """`digits`, `mnist`, `fashion-mnist`, another registered data set, `npz:PATH`, or `folder:PATH`."""
    train_size: Count | None = None
    """Training images kept, a subset fixed by `split_seed`; None keeps all."""
    validation_size: Annotated[int, Field(ge=0)] | None = None
    """Images held out of training for validation; None takes a tenth."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the splits and the static binarization: the same for all runs that are compared."""
    imbalance: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Class sizes fall geometrically by this factor, in an order of classes fixed by `split_seed`, before
    `validation_size` and `train_size` are taken; the test set stays as it is. Labels choose the images: they
    do not train."""
    binarization: Literal["dynamic", "static", "none"] = "dynamic"
    """Whether pixels are drawn each time an image is used (`dynamic`), once (`static`), or left in grayscale
    (`none`)."""
    image_size: Count | tuple[Count, Count] | None = None
    """Height and width, or the side of a square, to which the images of a folder are cropped and resized.
    None requires images of one size. Unused by other data sets."""
    bad_images: Literal["refuse", "skip"] = "refuse"
    """What happens to images of a folder that cannot be read. Unused by other data sets."""

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
    expert_prior: Shares = ()
    """pi, the prior over experts: one share per expert in any unit, normalized to sum to one; empty is
    uniform. It is part of every bound, and load balancing moves the mean gate probabilities toward it."""
    latent_dim: Count = 10
    expert_network: Literal["mlp", "conv"] = "mlp"
    """`mlp` is linear layers. In `conv` the hidden layers are convolutions, 3 x 3 with stride 2: each halves
    the picture, rounded up. A linear layer follows; the decoder mirrors it all."""
    expert_hidden: tuple[Count, ...] = (128,)
    """Widths of an encoder's hidden layers, or channels of its convolutions; the decoder mirrors them."""
    encoder: Literal["separate", "shared"] = "separate"
    """`shared`: the experts of a run share the encoder's hidden layers; the last one, linear, which gives mu
    and logvar, and the decoder are each expert's own."""
    gate_network: Literal["mlp", "conv", "posterior"] = "mlp"
    """`mlp` and `conv` as in `expert_network`. `posterior` is not a network: q(k|x) is the posterior of the
    experts, proportional to pi_k exp(ELBO_k) with ELBO_k at the mean latent, which is the optimal gate. It
    has no parameters and passes no gradient to the experts; every answer then takes a pass through all
    experts."""
    gate_hidden: tuple[Count, ...] = (128,)
    """Widths of the gate's hidden layers, or channels of its convolutions; unused by `posterior`."""
    gate_normalization: Literal["none", "batch"] = "none"
    """Of the gate's hidden layers, before the activation: `batch` gives each unit, or channel, mean 0 and
    variance 1 over the images of a batch in training, and by running averages everywhere else."""
    gate_input: Literal["target", "grayscale"] = "grayscale"
    """Input of the gate: the target of the likelihood, or the pixels in grayscale. Any gate is a valid
    variational distribution over the experts, so that bounds on the probability of the target stay bounds."""
    activation: Annotated[str, named_in(ACTIVATIONS)] = "relu"
    likelihood: Literal["bernoulli", "gaussian", "autoregressive"] = "bernoulli"
    """Of pixels, given z: `bernoulli` and `gaussian` have them independent. In `autoregressive` a pixel is
    Bernoulli, too, and depends on those before it in a window of 7 x 7: a small network of each expert adds
    what it sees there to the decoder's logits."""
    gaussian_std: Positive | Literal["learned"] = 0.5
    """Standard deviation of the Gaussian likelihood, in pixel units of [0, 1]: a fixed number, or
    `learned`: the one that makes the training images likeliest, shared by the experts of a run (Rybkin,
    Daniilidis, Levine, 2021)."""
    variance_floor: NonNegative = 0.0
    """Added to the encoder's variance exp(logvar)."""
    decoder: Literal["network", "deformable"] = "network"
    """`network` mirrors the encoder. `deformable` draws one learned template, which the latents deform."""
    deformations: tuple[Literal["affine", "displacement", "intensity", "thickness", "residual"], ...] = (
        "affine",
        "displacement",
    )
    """What the latents of a deformable decoder do: an affine map, a smooth displacement of pixels, contrast
    and brightness (`intensity`), thickness of strokes, and a residual of rank `latent_dim` that is added to
    the template and displaced with it."""
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
    """`soft` weighs all experts; `hard` is straight-through: one-hot at the likeliest forward, soft gradient;
    `gumbel` is straight-through at an expert drawn by the gate's probabilities (Gumbel-softmax);
    `sampled` is sparse: an image trains `num_sampled` experts, drawn with replacement by the gate's
    probabilities, and no other. `top-k` is sparse: an image trains its `k` most probable experts, weighted by
    their probabilities, which are divided by their sum (Shazeer et al., 2017)."""
    num_sampled: Count = 1
    """Experts drawn for an image by `sampled` routing; unused by the others."""
    k: Count = 2
    """Experts of an image in `top-k` routing; unused by the others. With 1, the experts do not train the
    gate."""
    noise: NonNegative = 0.0
    """Standard deviation of Gaussian noise that `top-k` routing adds to the gate's logits, divided by the
    temperature, before it chooses; in training only, and unused by the others."""
    temperature: Positive = 1.0
    """Divides the gate's logits."""
    temperature_schedule: Annotated[str, named_in(SCHEDULES, also=("learned",))] = "constant"
    """How the temperature moves from `temperature` to `final_temperature` over training; `learned` starts at
    `temperature` and follows the gradient."""
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
    """What weights the experts: the gate, q(k|x); the posterior r, proportional to pi_k exp(-L_k), as in the
    EM algorithm (`posterior`); or its maximum, so that an image trains one expert (`map`). `map` is the
    classification EM algorithm (Celeux, Govaert, 1992), also known as hard EM. It compares the experts at the
    mean latent, without a gradient, and computes the gradient of the best expert only. In both, the gate
    learns to predict r and does not affect the experts; both need soft routing."""
    bound: Literal["elbo", "iwae"] = "elbo"
    """-L_k, over `train.num_samples` samples of z: the ELBO by their mean, or the importance-weighted bound,
    log mean_s p(x, z_s) / q(z_s|x), which rises with their number."""
    information_weight: Finite = 0.0
    """alpha: 1 for the negative ELBO, 0 for the competitive objective, negative to reward confident gates."""
    balance_weight: NonNegative = 20.0
    """lambda: strength of the balancing loss, in nats per image."""
    balancing: Annotated[str, named_in(BALANCINGS, BIAS_MOVES)] = "kl"
    """`kl` is KL(q_bar || pi); moevae/objectives/load_balancing.py has the others, and the scale that all of
    them share but `variance-of-sum`, the 2019 article's, whose strength moves with the batch size."""
    expert_gradient: Share = 1.0
    """Factor of the gradient of the experts' losses in the gate. At 0 the gate learns from information,
    balancing and consistency alone, and the experts follow it."""
    consistency: ConsistencyTerms = ()
    """Terms of the consistency loss of the gate, which are added. The output of the gate must not change
    within a small ball around an image (`vat`, virtual adversarial training) or under a small shift, rotation
    and scaling (`augmentation`), or must agree for an image and a near neighbor among the training images
    (`knn`), whose proportions may be changed at random (`knn-stretch`)."""
    consistency_weight: NonNegative = 1.0
    """Strength of the consistency loss; unused without terms."""
    vat_radius: Positive = 0.25
    """Radius of the ball of `vat`, as a share of the distance to the tenth neighbor of the image."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainConfig:
    """How long and how fast.

    Examples:
        >>> import moevae
        >>> moevae.TrainConfig(epochs=5).batch_size
        128
    """

    epochs: Count = 20
    batch_size: Count = 128
    learning_rate: Positive = 1e-3
    learning_rate_schedule: Annotated[str, named_in(SCHEDULES)] = "constant"
    """How the learning rate moves from `learning_rate` to `final_learning_rate`, step by step."""
    final_learning_rate: Positive = 1e-5
    """Learning rate of the last step; unused by the constant schedule."""
    num_samples: Count = 1
    """Latent samples per image and expert in training; see `objective.bound`."""
    start: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")] = ""
    """Digest of the weights that training starts from; empty: from the beginning. `train --from` sets it."""
    extra_experts: Annotated[int, Field(ge=0)] = 0
    """Experts that training starts with in addition to `model.num_experts`. Training prunes the expert whose
    removal lowers the marginal bound of training images least, without labels, until none is extra."""
    pruning_start: Share = 0.3
    """Share of training after which the first extra expert is pruned; unused without extra experts."""
    pruning_end: Share = 0.6
    """Share of training after which no extra expert is left; unused without extra experts."""
    deformation_starts: tuple[Share, ...] = ()
    """Share of training after which each of `model.deformations` begins; empty: all from the start."""
    template_learning_rate: Positive = 0.02
    """Learning rate of the templates and residual images of deformable experts; moves in proportion to
    `learning_rate`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products and activations in training; weights are kept, and runs are measured, in float32.
    In `bfloat16` company may change a run's rounding; in `float32` it changes no bit."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EvaluationConfig:
    """How a trained run is measured.

    Examples:
        >>> import moevae
        >>> moevae.EvaluationConfig(num_samples=16).iwae_samples
        0
    """

    num_samples: Count = 1
    """Latent samples per image and expert behind every evaluated bound but `iwae_bound`. `marginal_elbo` and
    `gate_gap` take samples of their own, as many, and at least 32."""
    iwae_samples: Annotated[int, Field(ge=0)] = 0
    """Latent samples per image and expert behind `iwae_bound`; 0: it is not computed."""
    iwae_images: Count | None = None
    """`iwae_bound` is the mean over so many images, the first of the split; None takes all."""
    iwae_experts: Count | None = None
    """Only so many experts, the likeliest by the posterior r, are sampled for an image's `iwae_bound`; None
    samples all. Leaving experts out lowers the bound, and it stays one."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RunConfig:
    """Everything that decides a run's numbers. A cell is a RunConfig whose seed is left open.

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
"""What may differ between the runs of one population."""


def population_key(config: RunConfig) -> RunConfig:
    """Return the configuration with what is per run neutral: runs with equal shapes train together."""
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
