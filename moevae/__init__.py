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
    "DataConfig": "config.schema",
    "EvaluationConfig": "config.schema",
    "ModelConfig": "config.schema",
    "ObjectiveConfig": "config.schema",
    "RoutingConfig": "config.schema",
    "RunConfig": "config.schema",
    "TrainConfig": "config.schema",
    "fingerprint": "config.overrides",
    "override": "config.overrides",
    "preset": "config.presets",
    "MoevaeError": "errors",
    "Images": "data.datasets",
    "Labels": "data.datasets",
    "load_images": "data.datasets",
    "load_labels": "data.datasets",
    "clustering": "evaluation.clustering",
    "Mixture": "models.mixture",
    "fit": "training.fit",
    "evaluate": "evaluation.evaluate",
    "load": "training.checkpoint",
    "save": "training.checkpoint",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: reading records needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
