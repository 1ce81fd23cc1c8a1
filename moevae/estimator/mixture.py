"""A mixture of VAEs as an estimator of scikit-learn."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.data.arrays import PixelScale, checked_range
from moevae.data.datasets import Images, sides
from moevae.errors import CheckpointError, MoevaeError, ParameterError
from moevae.estimator import parameters
from moevae.estimator.continuation import State, continued_trainer
from moevae.estimator.inputs import validated
from moevae.estimator.notes import Notes
from moevae.evaluation.assign import Assignments, assign
from moevae.evaluation.decode import decode
from moevae.models.mixture import Mixture
from moevae.objectives.load_balancing import log_priors
from moevae.spectral.clusters import cluster_images
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.training.fit import train
from moevae.training.results import EpochStats
from moevae.training.trainer import Trainer
from moevae.utils import content
from moevae.utils.progress import show_progress

CURVES = ("loss", "gate_loss", "temperature")
"""Learning curves; see `MixtureOfVAEs.learning_curves_`."""


class MixtureOfVAEs(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """Mixture of variational autoencoders: clusters images without labels.

    A gate assigns each image to one of K expert VAEs. `fit` trains both as `moevae train` does: the same
    configuration, seed and images give the same numbers.

    The result for an image depends on that image and the model alone, not on other images, their order or
    their number. If the gate reads binarized pixels, its probabilities are averages over 16 binarizations
    with fixed thresholds; see `moevae.evaluation.assign`. On MNIST this does not reduce accuracy: for three
    small mixtures, ACC was .601, .513 and .538 with 16 binarizations and .597, .511 and .537 with one, and
    99.5 % of the labels agreed with those of 256 binarizations, compared with 95 % with one. Bounds and
    latents take 16 passes through the experts; with `model.gate_input` on grayscale, labels take one pass
    through the gate.

    Args:
        n_components: number of experts, K. It replaces the number of the preset. None finds it: as many as
            the clusters that the graph of neighbors shows, between 2 and 20.
        preset: settings to start from: the name of a preset, such as "mnist" (`moevae info` lists them), or a
            file that `moevae info --write-preset` wrote; a `moevae.RunConfig`; or None for the defaults of
            `moevae.RunConfig`. Its data set is not used.
        settings: changes of settings by dotted key, such as {"train.epochs": 5}; `moevae info --settings`
            lists all of them. `get_params` shows those that are given and `set_params` sets any, so that a
            grid search can vary "train.epochs".
        value_range: the values of black and white in X, such as (0, 16). None infers them in `fit`: uint8
            images have 0 and 255, floats in [0, 1] and booleans have 0 and 1, and other images their minimum
            and maximum.
            In new images, values outside become black or white. A model that was fitted to uint8 also reads
            floats in [0, 1], and a model that was fitted to floats in [0, 1] also reads uint8.
        random_state: an integer, which is the seed of the run; a `numpy.random.RandomState`; or None, which
            draws a seed from the global state of NumPy.
        device: where to train and predict: "auto", "cpu", "cuda" or "mps".
        warm_start: whether `fit` continues the last training for `train.epochs` more epochs. Schedules keep
            their final values.
        verbose: 0 for no output, 1 for the progress of training on standard error.

    Attributes:
        config_: configuration of the run, a `moevae.RunConfig`; `train.epochs` is the number of epochs done.
        mixture_: the trained networks, a `moevae.Mixture` of one run.
        image_size_: height and width in pixels. For rows of D pixels, it is a square if D is a square number,
            otherwise (1, D).
        value_range_: the values of black and white in the training images.
        learning_curves_: lists with one value per epoch: `loss`, the objective in nats per image;
            `gate_loss`, its part that the gate is trained on; and `temperature`, of the gate.
        n_iter_: number of epochs.
        n_features_in_: number of pixels of an image, D.
        feature_names_in_: names of the columns, if X was a data frame.

    References:
        Y. Zeldes (2019), "Mixture of Variational Autoencoders - a Fusion Between MoE and VAE".

    Examples:
        >>> from moevae import MixtureOfVAEs
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().images  # [1797, 8, 8], values from 0 to 16
        >>> model = MixtureOfVAEs(preset="digits", settings={"train.epochs": 2}, random_state=0).fit(X)
        >>> model.predict(X).shape, model.predict_proba(X).shape, model.transform(X).shape
        ((1797,), (1797, 10), (1797, 4))
        >>> images, experts = model.sample(5)
        >>> images.shape, model.reconstruct(X).shape
        ((5, 8, 8), (1797, 8, 8))
        >>> model.score(X) < 0  # nats per image
        True
    """

    config_: RunConfig
    mixture_: Mixture
    image_size_: tuple[int, int]
    value_range_: tuple[float, float]
    learning_curves_: dict[str, list[float]]
    n_iter_: int
    n_features_in_: int
    _state: State | None
    _scale: PixelScale
    _shape: tuple[int, ...]
    _sha256: str

    def __init__(
        self,
        n_components: int | None = 10,
        *,
        preset: str | RunConfig | None = None,
        settings: Mapping[str, Any] | None = None,
        value_range: tuple[float, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.preset = preset
        self.settings = settings
        self.value_range = value_range
        self.random_state = random_state
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep`, also each entry of `settings` by its dotted key.

        Args:
            deep: whether to include the entries of `settings`.
        """
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep and isinstance(self.settings, Mapping):
            params |= {key: value for key, value in self.settings.items() if key not in params}
        return params

    def set_params(self, **params: Any) -> MixtureOfVAEs:
        """Set parameters, and settings by their dotted key.

        Args:
            **params: parameters by name, and settings by dotted key, such as `**{"train.epochs": 5}`.

        Returns:
            The estimator.

        Raises:
            ValueError: a parameter is unknown.
            ParameterError: a setting is unknown; the message contains the closest one.
        """
        own = {name: value for name, value in params.items() if name in self._get_param_names()}
        dotted = {key: value for key, value in params.items() if key == "objective" or "." in key}
        for key in dotted:
            parameters.check_setting(key)
        super().set_params(**{name: value for name, value in params.items() if name not in dotted})
        if dotted:
            before = own.get("settings", self.settings)
            self.settings = {**(before or {}), **dotted}
        return self

    def fit(self, X: ArrayLike, y: object = None) -> MixtureOfVAEs:
        """Train the mixture.

        Args:
            X: images, [N, D], [N, H, W] or [N, H, W, 1].
            y: ignored.

        Returns:
            The estimator.

        Raises:
            ValueError: X has another form, or a parameter is invalid.
            ParameterError: training diverged, or a setting is invalid.
        """
        going_on = self.warm_start and hasattr(self, "mixture_")
        return self._train(X, going_on, epochs=None)

    def partial_fit(self, X: ArrayLike, y: object = None) -> MixtureOfVAEs:
        """Train one more epoch.

        `train.epochs` calls on the same images are equivalent to one `fit`, bit for bit. In later epochs,
        schedules keep their final values. The images may differ between calls.

        Args:
            X: images, as for `fit`.
            y: ignored.

        Returns:
            The estimator.

        Raises:
            ValueError: as for `fit`.
            ParameterError: as for `fit`, or a parameter changed the sizes of the networks.
        """
        return self._train(X, hasattr(self, "mixture_"), epochs=1)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable expert of each image.

        Args:
            X: images, as for `fit`.

        Returns:
            Indices of experts, [N].
        """
        return self._assigned(X, bounds=False, latents=False).experts

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each expert for each image, q(k|x).

        Args:
            X: images, as for `fit`.

        Returns:
            Probabilities, [N, K].
        """
        return self._assigned(X, bounds=False, latents=False).gate_probs

    def fit_predict(self, X: ArrayLike, y: object = None) -> NDArray[np.int64]:
        """Train the mixture and return the most probable expert of each image, [N].

        Args:
            X: images, as for `fit`.
            y: ignored.
        """
        return self.fit(X).predict(X)

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the mixture ELBO of each image, a lower bound on its log-likelihood.

        Bounds compare only between models with the same likelihood and binarization of pixels.

        Args:
            X: images, as for `fit`.

        Returns:
            Bounds in nats, [N].
        """
        return self._assigned(X, latents=False).bounds

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Return the mean of `score_samples`, in nats per image.

        Args:
            X: images, as for `fit`.
            y: ignored.
        """
        return float(self.score_samples(X).mean())

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the latents of each image under its most probable expert: the mean of q(z|x).

        The latents of different experts are coordinates in different spaces. Compare them within an expert
        only; a classifier also needs `predict_proba`.

        Args:
            X: images, as for `fit`.

        Returns:
            Latents, [N, Z].
        """
        return self._assigned(X, bounds=False).latents

    def reconstruct(self, X: ArrayLike) -> NDArray[np.floating]:
        """Reconstruct each image by its most probable expert, from the latents that `transform` returns.

        Args:
            X: images, as for `fit`.

        Returns:
            Mean images, in the shape and the units of X.
        """
        array, pixels = self._read(X)
        found = assign(self.mixture_, self.config_, pixels, bounds=False)
        images = decode(self.mixture_, found.latents, found.experts)
        return self._scale.restored(images, array.dtype).reshape(array.shape)

    def sample(
        self,
        n_samples: int = 1,
        component: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Draw new images.

        Args:
            n_samples: number of images, N.
            component: the expert to sample from; None samples an expert for each image from the prior.
            random_state: as in the constructor; None means that of the constructor. With an integer, each
                call returns the same images.

        Returns:
            Mean images E[x|z, k] of random latents, in the shape and the units of the training images, and
            the expert of each image, [N].

        Raises:
            ValueError: an argument is invalid.
        """
        check_is_fitted(self)
        experts = self.mixture_.config.num_experts
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples = {n_samples!r}; expected an integer, at least 1")
        if component is not None and not (isinstance(component, Integral) and 0 <= component < experts):
            raise ValueError(f"component = {component!r}; expected None or an expert, 0 to {experts - 1}")
        random = check_random_state(self.random_state if random_state is None else random_state)
        prior = log_priors([self.config_], experts)[0].double().exp().numpy()
        chosen = random.choice(experts, n_samples, p=prior / prior.sum())
        if component is not None:
            chosen[:] = component
        latents = random.standard_normal((n_samples, self.mixture_.latent_size)).astype(np.float32)
        every = torch.from_numpy(latents).to(self.mixture_.device).expand(1, experts, -1, -1)
        learned = self.mixture_.experts.latent_prior is not None
        uniform = torch.from_numpy(random.random_sample(n_samples)) if learned else None
        with torch.no_grad():
            drawn = self.mixture_.experts.prior_samples(every, uniform)[0].cpu().numpy()  # [K, N, Z]
        images = self._scale.restored(decode(self.mixture_, drawn[chosen, np.arange(n_samples)], chosen))
        return images.reshape(n_samples, *self._shape), chosen

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, in the format of `moevae train`.

        Every command of `moevae` reads the file. It does not contain the state of the optimizer: training
        continues from the weights of a loaded model, but not bit for bit. A pickle contains that state. The
        configuration in the file reproduces the model, unless it was trained on different images between
        calls, or longer than its schedules.

        Args:
            path: the file; missing folders are created.

        Raises:
            OSError: the file cannot be written.
            ParameterError: extra experts are still to be pruned.
        """
        check_is_fitted(self)
        if self.mixture_.config.num_experts > self.config_.model.num_experts:
            raise ParameterError(
                f"the model has {self.mixture_.config.num_experts} experts and is trained to keep"
                f" {self.config_.model.num_experts}; expected more epochs"
            )
        params = self.get_params(deep=False)
        if isinstance(self.preset, RunConfig):
            params["preset"] = overrides.to_dict(self.preset)
        if not isinstance(self.random_state, Integral | None):
            params["random_state"] = self.config_.seed
        names = list(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None
        notes = Notes(
            params={name: value for name, value in params.items() if name not in ("device", "verbose")},
            shape=self._shape,
            scale=self._scale,
            curves=self.learning_curves_,
            epochs=self.n_iter_,
            feature_names=names,
        )
        trained = Trained(self.mixture_, self.config_, *self.image_size_, self._sha256, notes=notes.text())
        checkpoint.save(path, trained)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> MixtureOfVAEs:
        """Read a model that `save` or `moevae train` wrote.

        Args:
            path: the safetensors file.
            device: where to predict and train, as in the constructor.

        Returns:
            A fitted estimator.

        Raises:
            CheckpointError: the file is missing, or not a checkpoint of this version.
        """
        path = Path(path)
        trained = checkpoint.load(path)
        size = trained.height, trained.width
        with content.parsing(f"{path}: notes of another version", CheckpointError):
            notes = Notes.of(trained)
            model = cls(**notes.params, device=device)
        curves = {name: notes.curves.get(name, []) for name in CURVES}
        model._set_fitted(trained.config, trained.model, size, notes.scale, curves)
        model.n_iter_ = notes.epochs or trained.config.train.epochs
        model._shape, model._sha256, model._state = notes.shape, trained.sha256, None
        model.n_features_in_ = size[0] * size[1]
        if notes.feature_names is not None:
            model.feature_names_in_ = np.array(notes.feature_names, dtype=object)
        model.mixture_.to(parameters.resolve_device(model.device))
        return model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "mixture_" in state and self.mixture_.device.type != "cpu":
            state["mixture_"] = copy.deepcopy(self.mixture_).cpu()
            if self._state is not None:
                tensors, plain = self._state
                state["_state"] = {name: value.cpu() for name, value in tensors.items()}, plain
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of latents, Z, for `get_feature_names_out`."""
        return self.mixture_.latent_size

    def _train(self, X: ArrayLike, going_on: bool, epochs: int | None) -> MixtureOfVAEs:
        """Train, and set the attributes if training succeeds; see `fit`.

        Args:
            X: images.
            going_on: whether to continue the last training.
            epochs: number of epochs; None means `train.epochs`.
        """
        config, scale, device = self._config(), self.value_range, parameters.resolve_device(self.device)
        if going_on:
            config = overrides.override(config, {"seed": self.config_.seed})
        given = checked_range(scale) if scale is not None else None
        array, flat, size = validated(self, X, reset=not going_on, least=2)
        if going_on:
            found = self._scale
        else:
            found = PixelScale.of(flat) if given is None else given
            if given is not None and not (flat.min() >= given.low and flat.max() <= given.high):
                raise ValueError(
                    f"X ranges from {flat.min():g} to {flat.max():g}; expected value_range ="
                    f" ({given.low:g}, {given.high:g})"
                )
        pixels = found.stored(flat)
        size = self.image_size_ if going_on else size or sides(pixels.shape[1])
        digest = hashlib.sha256(pixels.numpy().data).hexdigest()
        images = Images("X", digest, *size, pixels, pixels[:0], pixels[:0])
        done = self.n_iter_ if going_on else 0
        total = done + (epochs or config.train.epochs)
        try:
            if self.n_components is None:
                number = self.config_.model.num_experts if going_on else _count_clusters(images, config.seed)
                config = overrides.override(config, {"model.num_experts": number})
            if going_on:
                trainer = continued_trainer(
                    config,
                    images,
                    device,
                    epochs=total,
                    done=done,
                    model=self.mixture_,
                    state=self._state,
                )
            else:
                trainer = Trainer([config], images, device, epochs=total)
        except MoevaeError as error:
            raise ParameterError(str(error)) from None
        curves = {name: list(self.learning_curves_[name]) if going_on else [] for name in CURVES}
        with show_progress(Console(stderr=True, quiet=not self.verbose)) as note:

            def on_epoch(stats: EpochStats) -> None:
                for name, values in zip(
                    CURVES, (stats.losses, stats.gate_losses, stats.temperatures), strict=True
                ):
                    curves[name].append(values[0])
                note(stats.epoch, stats.epochs, {"loss": stats.losses[0]})

            result = train(trainer, on_epoch=on_epoch)
        if failure := result.failures[0]:
            raise ParameterError(
                f"training diverged: {failure.reason} in epoch {failure.epoch}, step {failure.step}; expected"
                f" a lower train.learning_rate, such as {config.train.learning_rate / 10:g}"
            )
        config = overrides.override(config, {"train.epochs": total})
        self._set_fitted(config, result.model, size, found, curves)
        self.n_iter_, self._state = total, trainer.state()
        self._shape, self._sha256 = array.shape[1:], digest
        return self

    def _config(self) -> RunConfig:
        """Return the configuration that the parameters describe."""
        return parameters.run_config(self.n_components, self.preset, self.settings, self.random_state)

    def _read(self, X: ArrayLike) -> tuple[np.ndarray, torch.Tensor]:
        """Return X as an array, and its images as the model reads them, [N, D]."""
        check_is_fitted(self)
        array, flat, _ = validated(self, X, reset=False)
        return array, self._scale.stored(flat)

    def _assigned(self, X: ArrayLike, bounds: bool = True, latents: bool = True) -> Assignments:
        """Return the assignments of images."""
        _, pixels = self._read(X)
        return assign(self.mixture_, self.config_, pixels, bounds=bounds, latents=latents)

    def _set_fitted(
        self,
        config: RunConfig,
        mixture: Mixture,
        size: tuple[int, int],
        scale: PixelScale,
        curves: dict[str, list[float]],
    ) -> None:
        """Set the attributes of a fitted model."""
        self.config_, self.mixture_, self.image_size_ = config, mixture, (int(size[0]), int(size[1]))
        self._scale, self.value_range_ = scale, (scale.low, scale.high)
        self.learning_curves_ = curves


def _count_clusters(images: Images, seed: int) -> int:
    """Return the number of clusters that the graph of neighbors of the training images shows."""
    return cluster_images(images.train, images.size, None, seed).count
