"""Unsupervised mixtures of variational autoencoders: a gate, K expert VAEs, and their evaluation.

>>> import moevae
>>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
>>> images = moevae.load_images(config.data)
>>> fit = moevae.fit([config], images)
>>> evaluation, = moevae.evaluate(fit.model, fit.configs, images)
>>> -100 < evaluation.metrics["mixture_elbo"] < 0
True

`MixtureOfVAEs` is the estimator, with the interface of scikit-learn; `clustering` scores its labels. The
other functions train and evaluate populations of runs: `preset` and `override` make a `RunConfig`, which
`fingerprint` identifies; `load_images` and `load_labels` read data, `fit` trains, `evaluate` measures, and
`save` and `load` keep a run. `help(moevae.fit)` explains one of them. In a terminal, `moevae info` lists
presets and data sets, and `moevae info --settings` all settings.

Importing this package sets OMP_WAIT_POLICY and MKL_CBWR in the environment of the process, where they are not
set already: torch's libraries read them when they are loaded, so import moevae before torch.
"""

import importlib
import os
import sys
import warnings
from typing import Any

# torch's libraries read both when they are loaded. Idle threads that spin can slow other work down a
# hundredfold. Without MKL_CBWR, MKL selects kernels, and thereby rounding, by the number of runs.
_VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE", "MKL_CBWR": "AUTO,STRICT"}

if "torch" in sys.modules and (_unset := [name for name in _VARIABLES if name not in os.environ]):
    warnings.warn(
        f"torch was imported before moevae, so {' and '.join(_unset)} cannot take effect: rounding may "
        "depend on the number of runs that train together, and idle threads may slow other work down; "
        "import moevae first",
        stacklevel=2,
    )
for _name, _value in _VARIABLES.items():
    os.environ.setdefault(_name, _value)

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
    "MixtureOfVAEs": "estimator",
    "fit": "training.fit",
    "EpochStats": "training.results",
    "FitResult": "training.results",
    "TrainingFailure": "training.results",
    "evaluate": "evaluation.evaluate",
    "Evaluation": "evaluation.results",
    "Trained": "training.checkpoint",
    "load": "training.checkpoint",
    "save": "training.checkpoint",
}
__all__ = sorted(_HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name on first access, so that reading records does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
