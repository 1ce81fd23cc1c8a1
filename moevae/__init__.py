"""Unsupervised mixtures of variational autoencoders: a gate, K expert VAEs, and the honest measuring of both.

>>> import moevae
>>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
>>> images = moevae.load_images(config.data)
>>> fit = moevae.fit([config], images)
>>> evaluation, = moevae.evaluate(fit.model, fit.configs, images)
>>> -100 < evaluation.metrics["mixture_elbo"] < 0
True
"""

import importlib
import os
from typing import Any

# Both are read when torch loads its libraries: threads that spin beside other work cost a hundredfold,
# and without the second one MKL chooses kernels, and with them rounding, by the number of runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__version__ = "0.1.0"

_HOMES = {
    "DataConfig": "config",
    "EvaluationConfig": "config",
    "ModelConfig": "config",
    "ObjectiveConfig": "config",
    "RoutingConfig": "config",
    "RunConfig": "config",
    "TrainConfig": "config",
    "fingerprint": "config",
    "override": "config",
    "preset": "presets",
    "MoevaeError": "errors",
    "Images": "data",
    "Labels": "data",
    "load_images": "data",
    "load_labels": "data",
    "clustering": "metrics",
    "Mixture": "model",
    "fit": "train",
    "evaluate": "evaluation",
    "load": "checkpoint",
    "save": "checkpoint",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: reading records needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
