"""The estimator, with the interface of scikit-learn."""

from moevae.estimator.mixture import MixtureOfVAEs

__all__ = ["MixtureOfVAEs"]
