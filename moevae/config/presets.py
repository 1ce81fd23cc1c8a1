"""Presets: named functions that return a configuration, registered in PRESETS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from moevae.config import preset_files
from moevae.config.registry import PRESETS
from moevae.config.schema import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    RoutingConfig,
    RunConfig,
    TrainConfig,
)


@PRESETS.register("digits")
def digits() -> RunConfig:
    """scikit-learn's 8x8 digits: seconds on one core."""
    return RunConfig(
        model=ModelConfig(latent_dim=4, expert_hidden=(64,), gate_hidden=(64,)),
        train=TrainConfig(epochs=30, batch_size=128, learning_rate=5e-3),
    )


@PRESETS.register("mnist")
def mnist() -> RunConfig:
    """MNIST, 60,000 images: experts 784-400-20-400-784 and a gate 784-128-10."""
    return RunConfig(
        data=DataConfig(name="mnist"),
        model=ModelConfig(latent_dim=20, expert_hidden=(400,), gate_hidden=(128,)),
        train=TrainConfig(epochs=20, batch_size=512),
    )


@PRESETS.register("mnist-conv")
def mnist_conv() -> RunConfig:
    """MNIST with convolutional experts: 16 and 32 channels at half and quarter size; the gate of `mnist`."""
    return RunConfig(
        data=DataConfig(name="mnist"),
        model=ModelConfig(latent_dim=20, expert_network="conv", expert_hidden=(16, 32), gate_hidden=(128,)),
        train=TrainConfig(epochs=20, batch_size=128),
    )


@PRESETS.register("mnist-likelihood")
def mnist_likelihood() -> RunConfig:
    """MNIST with pixels that depend on the preceding ones by masked convolutions, and with VampPriors.

    An image trains one of two experts, which share the masked convolutions and the hidden layers of the
    encoder. Products are computed in bfloat16, also those of importance samples. Single, shorter trial
    runs on 55,000 images selected the settings, by the IWAE bound of the remaining training images;
    bounds of test images were seen beside it, and the first trials were compared by them. The width of
    the experts was chosen for time.
    """
    return RunConfig(
        data=DataConfig(name="mnist", validation_size=1000),
        model=ModelConfig(
            num_experts=2,
            latent_dim=40,
            latent_prior="vamp",
            prior_components=128,
            expert_hidden=(200, 200),
            encoder="shared",
            gate_hidden=(128,),
            gate_input="target",
            activation="silu",
            likelihood="autoregressive",
            pixel_network="conv",
            pixel_width=32,
            pixel_depth=4,
            pixel_layers="shared",
        ),
        routing=RoutingConfig(kind="sampled", num_sampled=1),
        objective=ObjectiveConfig(bound="iwae", balance_weight=80.0),
        train=TrainConfig(
            epochs=20,
            batch_size=128,
            learning_rate=3e-3,
            learning_rate_schedule="cosine",
            num_samples=5,
            kl_warmup=0.2,
            precision="bfloat16",
        ),
        evaluation=EvaluationConfig(iwae_samples=5000, iwae_experts=1, iwae_precision="bfloat16"),
    )


@PRESETS.register("mnist-likelihood-independent")
def mnist_likelihood_independent() -> RunConfig:
    """MNIST with pixels that are independent given z: two convolutional experts with VampPriors.

    The experts share the hidden layers of the encoder. The settings were selected as those of
    `mnist-likelihood`.
    """
    base = mnist_likelihood()
    return replace(
        base,
        model=replace(base.model, likelihood="bernoulli", expert_network="conv", expert_hidden=(16, 64)),
    )


@PRESETS.register("fashion-mnist")
def fashion_mnist() -> RunConfig:
    """Fashion-MNIST with the networks of `mnist`."""
    base = mnist()
    return RunConfig(data=DataConfig(name="fashion-mnist"), model=base.model, train=base.train)


@PRESETS.register("zeldes2019")
def zeldes2019() -> RunConfig:
    """The model of Y. Zeldes' 2019 article, with the same settings: grayscale pixels, Gaussian likelihood."""
    return RunConfig(
        data=DataConfig(name="mnist", validation_size=0, binarization="none"),
        model=ModelConfig(
            num_experts=10,
            latent_dim=10,
            expert_hidden=(128,),
            gate_hidden=(128,),
            activation="sigmoid",
            likelihood="gaussian",
            gaussian_std=0.5,
            variance_floor=1e-5,
            gate_input="target",
        ),
        objective=ObjectiveConfig(information_weight=0.0, balance_weight=0.1, balancing="variance-of-sum"),
        train=TrainConfig(epochs=100, batch_size=100, learning_rate=1e-3),
    )


@PRESETS.register("imsat-mnist")
def imsat_mnist() -> RunConfig:
    """The gate of IMSAT on MNIST, with experts that follow it.

    The gate is trained as the classifier of IMSAT (Hu et al., 2017): wide, batch-normalized, with grayscale
    pixels as input, and virtual adversarial consistency. It has half their units and epochs, and stronger
    balancing (theirs is 0.3). It has no gradient from the losses of the experts, so its clusters do not
    depend on the VAEs. Scores of the test images selected the strength of balancing (oracle).
    """
    return RunConfig(
        data=DataConfig(name="mnist", validation_size=0),
        model=ModelConfig(
            latent_dim=20,
            expert_hidden=(200,),
            gate_hidden=(600, 600),
            gate_normalization="batch",
        ),
        routing=RoutingConfig(kind="sampled", num_sampled=1),
        objective=ObjectiveConfig(
            information_weight=-0.1,
            balance_weight=1.0,
            expert_gradient=0.0,
            consistency=("vat",),
        ),
        train=TrainConfig(epochs=25, batch_size=256, learning_rate=2e-3),
    )


@PRESETS.register("imsat-fashion-mnist")
def imsat_fashion_mnist() -> RunConfig:
    """The gate of IMSAT (Hu et al., 2017) on Fashion-MNIST, with experts that follow it.

    As in `imsat-mnist`, the gate has no gradient from the losses of the experts. It differs in consistency
    between stretched neighbors, stronger balancing, a falling temperature and fewer epochs. Scores of the
    test images selected the strength of balancing, the neighbors, their stretch, the temperature and the
    number of epochs (oracle).
    """
    base = imsat_mnist()
    return replace(
        base,
        data=replace(base.data, name="fashion-mnist"),
        routing=replace(base.routing, temperature=5.0, temperature_schedule="linear", final_temperature=1.0),
        objective=replace(base.objective, balance_weight=2.0, consistency=("vat", "knn-stretch")),
        train=replace(base.train, epochs=8),
    )


@PRESETS.register("deformable-mnist")
def deformable_mnist() -> RunConfig:
    """Deformable experts on MNIST, clustered by the competition of the experts alone.

    Each of 20 experts has a template that is deformed by an affine map, a smooth displacement, thickness and
    a residual of eight images. An image trains the expert that explains it best (hard EM). Ten experts are
    pruned without labels. The gate is the posterior of the experts, so that assignments, too, are those of
    the competition. Labels of 10,000 held-out training images selected the deformations, their starts, the
    times of pruning, the number of epochs and the learning rates (oracle).
    """
    return RunConfig(
        data=DataConfig(name="mnist", validation_size=0, binarization="none"),
        model=ModelConfig(
            latent_dim=8,
            expert_hidden=(256, 128),
            encoder="shared",
            gate_network="posterior",
            gate_input="target",
            likelihood="gaussian",
            gaussian_std="learned",
            decoder="deformable",
            deformations=("affine", "displacement", "thickness", "residual"),
        ),
        objective=ObjectiveConfig(expert_weights="map", balance_weight=0.0),
        train=TrainConfig(
            epochs=5,
            learning_rate_schedule="cooldown",
            final_learning_rate=2e-5,
            extra_experts=10,
            pruning_start=0.2,
            pruning_end=0.5,
            deformation_starts=(0.08, 0.2, 0.2, 0.5),
        ),
    )


@PRESETS.register("deformable-fashion-mnist")
def deformable_fashion_mnist() -> RunConfig:
    """Deformable experts on Fashion-MNIST: as `deformable-mnist`, with affine maps only, for three epochs.

    Labels of 10,000 held-out training images selected the deformations and the number of epochs (oracle);
    the other settings are those that labels selected on MNIST.
    """
    base = deformable_mnist()
    return replace(
        base,
        data=replace(base.data, name="fashion-mnist"),
        model=replace(base.model, deformations=("affine",)),
        train=replace(base.train, epochs=3, deformation_starts=(0.08,)),
    )


@PRESETS.register("deformable-digits")
def deformable_digits() -> RunConfig:
    """scikit-learn's 8x8 digits with the experts of `deformable-mnist`: five seconds on one core.

    Labels of held-out training images selected the batch size and the number of epochs (oracle).
    """
    base = deformable_mnist()
    return replace(
        base, data=DataConfig(binarization="none"), train=replace(base.train, epochs=30, batch_size=64)
    )


@PRESETS.register("iic-mnist")
def iic_mnist() -> RunConfig:
    """MNIST with deformable experts that follow a gate of invariant information clustering.

    The gate reads oriented gradients. It starts from a clustering of the graph of neighbors, and then
    maximizes the mutual information between the experts of related images (IIC; Ji et al., 2019), deformed
    copies and neighbors, with virtual adversarial consistency. The deformable experts do not influence it. No
    setting differs from `iic-fashion-mnist`. Labels of training images of both data sets, held out except for
    the clustering, selected the features of the graph, its weights, the choice of a clustering by its
    information, the number of candidates, the input of the gate and the copies (oracle).
    """
    base = deformable_mnist()
    return RunConfig(
        data=base.data,
        model=replace(
            base.model,
            gate_network="mlp",
            gate_hidden=(600, 600),
            gate_normalization="batch",
            gate_input="gradients",
        ),
        routing=RoutingConfig(kind="sampled", num_sampled=1),
        objective=ObjectiveConfig(
            information_weight=-0.1,
            balance_weight=0.0,
            expert_gradient=0.0,
            consistency=("vat", "iic"),
        ),
        train=TrainConfig(
            epochs=6,
            batch_size=256,
            min_steps=1000,
            learning_rate=2e-3,
            learning_rate_schedule="cosine",
            final_learning_rate=2e-5,
            deformation_starts=(0.08, 0.2, 0.2, 0.5),
            gate_start="clustering",
        ),
    )


@PRESETS.register("iic-fashion-mnist")
def iic_fashion_mnist() -> RunConfig:
    """Fashion-MNIST with exactly the settings of `iic-mnist`, where it says which labels selected them."""
    base = iic_mnist()
    return replace(base, data=replace(base.data, name="fashion-mnist"))


@PRESETS.register("mnist-likelihood-iic")
def mnist_likelihood_iic() -> RunConfig:
    """MNIST with the gate of `iic-mnist` and ten experts of the kind of `mnist-likelihood`, which follow it.

    The experts do not influence the gate, which reads oriented gradients of the gray image. Its choice bounds
    the likelihood of the binarized image as any other choice does. Labels selected the settings of the gate
    as those of `iic-mnist` (oracle); no run selected settings for the two together.
    """
    base, gate = mnist_likelihood(), iic_mnist()
    return replace(
        base,
        model=replace(
            base.model,
            num_experts=gate.model.num_experts,
            gate_network=gate.model.gate_network,
            gate_hidden=gate.model.gate_hidden,
            gate_normalization=gate.model.gate_normalization,
            gate_input=gate.model.gate_input,
        ),
        objective=replace(gate.objective, bound="iwae"),
        train=replace(base.train, gate_start=gate.train.gate_start),
    )


def preset(name: str) -> RunConfig:
    """Return the preset of that name, or in the TOML file of that path.

    `moevae info` lists the names; `moevae info --write-preset` writes such a file.

    Args:
        name: name of a preset, or path of a TOML file.

    Raises:
        ConfigError: there is none, and the message names the nearest; or the file is invalid.

    Examples:
        >>> import moevae
        >>> moevae.preset("mnist").data.name
        'mnist'
    """
    if name.endswith(preset_files.SUFFIX):
        return preset_files.read(Path(name))
    return PRESETS.find(name)()
