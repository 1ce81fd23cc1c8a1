"""scikit-learn's own checks of estimators."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from moevae import MixtureOfVAEs

QUICK = {
    "train.epochs": 2,
    "train.batch_size": 32,
    "model.expert_hidden": [4],
    "model.gate_hidden": [4],
    "model.latent_dim": 2,
}

EXPECTED_FAILED: dict[str, str] = {}
"""Checks that fail, each with the reason. There is none."""


@parametrize_with_checks(
    [MixtureOfVAEs(2, settings=QUICK, device="cpu")],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
