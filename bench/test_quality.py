"""Quality of the faster paths: differences from soft float32 routing, paired by seed, on digits."""

import numpy as np
import pytest
from steps import PATHS, compile_model

from moevae.config.overrides import override
from moevae.config.presets import digits
from moevae.data.datasets import load_images, load_labels
from moevae.evaluation import clustering
from moevae.evaluation.evaluate import evaluate
from moevae.training.trainer import Trainer

QUANTITIES = ("nmi", "mixture_elbo", "marginal_elbo")


COMPILED = "soft, compiled"
LONGER = "top-1, twice the epochs"


def quality(configs, images, labels, device, compiled=False):
    """Metrics of the test split, one value per run."""
    training = Trainer(configs, images, device)
    if compiled:
        compile_model(training)
    while not training.done:
        training.epoch()
    vars(training.model).pop("forward", None)  # evaluation has other sizes, which are not worth compiling
    found = evaluate(training.model, configs, images)
    scores = [each.metrics | clustering.clustering(each.assignments, labels.test) for each in found]
    return {name: np.array([score[name] for score in scores]) for name in QUANTITIES}


@pytest.fixture(scope="module")
def reference(plan, device):
    base = override(digits(), {"train.epochs": plan.epochs})
    configs = [override(base, {"seed": seed}) for seed in range(plan.seeds)]
    images, labels = load_images(base.data), load_labels(base.data)
    return configs, images, labels, quality(configs, images, labels, device)


@pytest.mark.benchmark(group="quality at speed, scikit-learn's digits")
@pytest.mark.parametrize("path", [*PATHS, LONGER, COMPILED])
def test_path(benchmark, reference, device, plan, path):
    if device.type == "cpu" and path == COMPILED:
        pytest.skip("quality of compiled steps: on CUDA alone, a minute of compiling for no speed on a CPU")
    configs, images, labels, expected = reference
    changes = PATHS["top-1"] | {"train.epochs": 2 * plan.epochs} if path == LONGER else PATHS.get(path, {})
    changed = [override(config, changes) for config in configs]
    found = benchmark.pedantic(quality, (changed, images, labels, device, path == COMPILED), rounds=1)
    benchmark.extra_info |= {
        "row": path,
        "quality": {
            name: {
                "mean": float(found[name].mean()),
                "difference": float((found[name] - expected[name]).mean()),
                "standard_error": float((found[name] - expected[name]).std(ddof=1) / len(configs) ** 0.5),
                "seed_spread": float(expected[name].std(ddof=1)),
                "n": len(configs),
            }
            for name in QUANTITIES
        },
    }
    assert all(np.isfinite(values).all() for values in found.values())
    if path == "soft":
        assert all((found[name] == expected[name]).all() for name in QUANTITIES)
