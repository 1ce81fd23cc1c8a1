"""A mixture of VAEs as an estimator of scikit-learn."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from moevae.config.schema import RunConfig
from moevae.data.arrays import checked_range
from moevae.data.datasets import sides
from moevae.estimator import files, parameters
from moevae.estimator.inputs import columns_of_success, validated
from moevae.estimator.sampling import sample_images
from moevae.estimator.training import Fitted, train_run, training_scale
from moevae.evaluation.assign import Assignments, assign
from moevae.evaluation.decode import decode
from moevae.models.mixture import Mixture


class MixtureOfVAEs(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """Mixture of variational autoencoders: clusters images without labels.

    A gate assigns each image to one of K expert VAEs. `fit` trains both as `moevae train` does: the same
    configuration, seed and images give the same numbers.

    The result for an image depends on that image and the model alone, not on other images, their order or
    their number. If the gate reads binarized pixels, its probabilities are averages over 16 binarizations
    with fixed thresholds; see `moevae.evaluation.assign.NUM_DRAWS`. Bounds and latents take 16 passes through
    the experts; with `model.gate_input` on grayscale, labels take one pass through the gate.

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
    _fitted: Fitted

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
        return self._train(X, self._last if self.warm_start else None, epochs=None)

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
        return self._train(X, self._last, epochs=1)

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
        return self._fitted.scale.restored(images, array.dtype).reshape(array.shape)

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
        random = check_random_state(self.random_state if random_state is None else random_state)
        images, experts = sample_images(self.mixture_, self.config_, n_samples, component, random)
        return self._fitted.scale.restored(images).reshape(n_samples, *self._fitted.shape), experts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, in the format of `moevae train`.

        Every command of `moevae` reads the file. It does not contain the state of the optimizer: training
        continues from the weights of a loaded model, but not bit for bit. A pickle contains that state. The
        configuration in the file reproduces the model, unless it was trained on different images between
        calls, or for more or fewer epochs than its schedules have.

        Args:
            path: the file; missing folders are created.

        Raises:
            OSError: the file cannot be written.
            ParameterError: extra experts are still to be pruned.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        files.save(Path(path), self._fitted, self.get_params(deep=False), names)

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
        notes, fitted = files.load(Path(path), cls._get_param_names())
        model = cls(**notes.params, device=device)._set_fitted(fitted)
        model.n_features_in_ = math.prod(fitted.size)
        if notes.feature_names is not None:
            model.feature_names_in_ = np.array(notes.feature_names, dtype=object)
        model.mixture_.to(parameters.resolve_device(model.device))
        return model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "mixture_" in state and self.mixture_.device.type != "cpu":
            state["mixture_"] = copy.deepcopy(self.mixture_).cpu()
            state["_fitted"] = self._fitted.on_cpu(state["mixture_"])
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

    @property
    def _last(self) -> Fitted | None:
        """The result of the last training; None before the first."""
        return getattr(self, "_fitted", None)

    def _train(self, X: ArrayLike, before: Fitted | None, epochs: int | None) -> MixtureOfVAEs:
        """Train, and set the attributes if training succeeds; see `train_run`."""
        config = parameters.run_config(self.n_components, self.preset, self.settings, self.random_state)
        device = parameters.resolve_device(self.device)
        given = None if self.value_range is None else checked_range(self.value_range)
        with columns_of_success(self):
            array, flat, size = validated(self, X, reset=not before, least=2)
            scale = before.scale if before else training_scale(flat, given)
            fitted = train_run(
                config,
                scale.stored(flat),
                before.size if before else size or sides(flat.shape[1]),
                device,
                shape=array.shape[1:],
                scale=scale,
                epochs=epochs,
                before=before,
                find_experts=self.n_components is None,
                verbose=bool(self.verbose),
            )
        return self._set_fitted(fitted)

    def _read(self, X: ArrayLike) -> tuple[np.ndarray, torch.Tensor]:
        """Return X as an array, and its images as the model reads them, [N, D]."""
        check_is_fitted(self)
        array, flat, _ = validated(self, X, reset=False)
        return array, self._fitted.scale.stored(flat)

    def _assigned(self, X: ArrayLike, bounds: bool = True, latents: bool = True) -> Assignments:
        """Return the assignments of images."""
        _, pixels = self._read(X)
        return assign(self.mixture_, self.config_, pixels, bounds=bounds, latents=latents)

    def _set_fitted(self, fitted: Fitted) -> MixtureOfVAEs:
        """Set the attributes of a fitted model, and return it."""
        self._fitted = fitted
        self.config_, self.mixture_, self.image_size_ = fitted.config, fitted.mixture, fitted.size
        self.value_range_ = (fitted.scale.low, fitted.scale.high)
        self.learning_curves_, self.n_iter_ = fitted.curves, fitted.epochs
        return self
