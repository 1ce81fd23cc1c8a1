"""Small estimators, and images for them."""

from small import EVEN, images, weights

from moevae import MixtureOfVAEs

SMALL = {key: value for key, value in EVEN.items() if key != "model.num_experts"}
MOVING = {"routing.temperature_schedule": "exponential", "routing.temperature": 3.0, "train.epochs": 3}
SHADES = images(train=150).train.numpy()  # [150, 30]
PICTURES = SHADES.reshape(-1, 5, 6)


def made(settings=None, **params):
    return MixtureOfVAEs(4, settings=SMALL | (settings or {}), random_state=0, device="cpu", **params)


def bits(model):
    return weights(model.mixture_, 0)


METHODS = ("predict", "predict_proba", "score_samples", "transform", "reconstruct")
