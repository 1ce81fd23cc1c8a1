"""The registry of baselines: other methods on the same images and seeds, with the same records.

A new baseline is a function of `studies.execution.baseline_fit.BaselineContext` that returns a
`studies.execution.baseline_fit.BaselineResult`, registered in BASELINES by its path. Its
module is imported when the baseline is fitted.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moevae.config.overrides import lookup
from moevae.config.schema import DataConfig, RunConfig
from moevae.errors import ConfigError
from moevae.utils.registry import Registry
from moevae.utils.suggest import closest_name
from studies.records.schema import Method


@dataclass(frozen=True)
class Baseline:
    """A method, and the function that fits it."""

    method: Method
    function: str
    """The function as `module:name`, imported when it is called."""
    package: str | None = None
    """A package that it requires, from the extra moevae[peers]."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Settings of the method that equal a setting of the model, given by its key. If that setting is an axis,
    they are fixed to the value of the reference cell."""
    most_seeds: int | None = None
    """Number of seeds that a slow method is fitted with; None uses all of a study."""

    def seeds_of(self, seeds: Iterable[int], recorded: Collection[int] = ()) -> tuple[int, ...]:
        """Return the seeds that the method is fitted with: those that have a record, then the first ones.

        Args:
            seeds: the seeds of the study.
            recorded: seeds that have a record.
        """
        order = sorted(seeds, key=lambda seed: (seed not in recorded, seed))
        return tuple(sorted(order[: self.most_seeds]))

    def method_for(self, reference: RunConfig, axes: Collection[str]) -> Method:
        """Return the method with the settings for a study with these axes.

        Args:
            reference: configuration of the reference cell.
            axes: keys of the axes of the study.
        """
        own = {name: lookup(reference, key) for name, key in self.fixed.items() if key in axes}
        return self.method.model_copy(update={"settings": self.method.settings | own}) if own else self.method


SLOW_SEEDS = 6
"""Seeds of a method whose fit takes minutes where a run takes seconds; with fewer, no p is below 0.05."""

BASELINES: Registry[Baseline] = Registry(
    "BASELINES", "baseline", "studies.design.baselines", group="moevae.baselines"
)

BASELINES.register("kmeans")(
    Baseline(
        Method(name="k-means on pixels", settings={"pixels": "gray", "n_init": 10}),
        "studies.baselines.clustering:kmeans",
    )
)
BASELINES.register("pca-gmm")(
    Baseline(
        Method(
            name="PCA + Gaussian mixture",
            settings={
                "pixels": "gray",
                "components": "as many as the model's latent dimensions",
                "covariance_type": "full",
                "n_init": 3,
            },
        ),
        "studies.baselines.clustering:pca_gmm",
        fixed={"components": "model.latent_dim"},
    )
)
BASELINES.register("graph")(
    Baseline(
        Method(
            name="graph of neighbors",
            settings={
                "features": "oriented gradients of the image and of its ink box",
                "clusters": "spectral embedding, k-means, information bottleneck merging",
                "test images": "vote of the ten nearest training images",
            },
        ),
        "studies.baselines.graph:graph",
    )
)
BASELINES.register("graph-unknown")(
    Baseline(
        Method(
            name="graph of neighbors, number unknown",
            settings={
                "features": "oriented gradients of the image and of its ink box",
                "clusters": "as many as the information of neighbors shows",
                "test images": "vote of the ten nearest training images",
            },
        ),
        "studies.baselines.graph:graph_unknown",
    )
)
BASELINES.register("vae-kmeans")(
    Baseline(
        Method(
            name="one VAE + k-means",
            settings={"size": "as many parameters as the gate and all experts", "n_init": 10},
        ),
        "studies.baselines.single_vae:vae_kmeans",
    )
)
BASELINES.register("vae-gmm")(
    Baseline(
        Method(
            name="one VAE + Gaussian mixture",
            settings={
                "size": "as many parameters as the gate and all experts",
                "covariance_type": "full",
                "n_init": 3,
            },
        ),
        "studies.baselines.single_vae:vae_gmm",
    )
)
BASELINES.register("random-gate")(
    Baseline(
        Method(
            name="random fixed gate", settings={"gate": "one expert an image, drawn once and never trained"}
        ),
        "studies.baselines.fixed_gate:random_gate",
    )
)
BASELINES.register("oracle-experts")(
    Baseline(
        Method(
            name="experts trained on the true labels",
            settings={
                "experts": "one a class",
                "gate": "certain of the true class, at test too: load and bounds are of that gate",
                "assignments": "the expert with the best bound, true class unseen: acc, nmi, ari, confusion",
            },
            oracle=True,
        ),
        "studies.baselines.fixed_gate:oracle_experts",
    )
)
BASELINES.register("clustpy-vade")(
    Baseline(
        Method(name="VaDE (ClustPy)", settings={"pixels": "gray", "others": "the package's defaults"}),
        "studies.baselines.clustpy:vade",
        package="clustpy",
        most_seeds=SLOW_SEEDS,
    )
)
BASELINES.register("clustpy-dec")(
    Baseline(
        Method(name="DEC (ClustPy)", settings={"pixels": "gray", "others": "the package's defaults"}),
        "studies.baselines.clustpy:dec",
        package="clustpy",
        most_seeds=SLOW_SEEDS,
    )
)


def of_method(method: Method) -> Baseline:
    """Return the baseline of a method, regardless of the values of its settings.

    Args:
        method: a method of a registered baseline.
    """
    return next(each for each in BASELINES.values() if each.method.name == method.name)


@dataclass(frozen=True)
class Chosen:
    """The baselines of a study."""

    keys: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Reasons why other baselines are left out, one sentence each."""


def choose(asked: Iterable[str] | None, data: Iterable[DataConfig], root: Path | None = None) -> Chosen:
    """Return the baselines of a study.

    Args:
        asked: keys of BASELINES, optionally joined by commas. If empty, all applicable baselines are
            returned; None returns none.
        data: the data sets of the study.
        root: folder of MNIST and Fashion-MNIST.

    Raises:
        ConfigError: a key is unknown (the message names the nearest valid key), or a baseline does not apply.
    """
    if asked is None:
        return Chosen()
    named = [key.strip() for text in asked for key in text.split(",") if key.strip()]
    for key in named:
        closest_name("baseline", key, BASELINES)
    sets = list(data)
    obstacles = {key: _obstacle(key, sets, root) for key in dict.fromkeys(named or BASELINES)}
    refused = {key: reason for key, reason in obstacles.items() if reason}
    if named and refused:
        raise ConfigError("; ".join(f"--baselines {key}: {reason}" for key, reason in refused.items()))
    return Chosen(
        tuple(key for key in obstacles if key not in refused),
        tuple(f"{BASELINES[key].method.name} is left out: {reason}." for key, reason in refused.items()),
    )


def _obstacle(key: str, data: Iterable[DataConfig], root: Path | None) -> str | None:
    """Return the reason why a baseline does not apply, or None."""
    baseline = BASELINES[key]
    if baseline.package and importlib.util.find_spec(baseline.package) is None:
        return f"it needs the package {baseline.package}, which comes with moevae[peers]"
    if baseline.method.oracle:
        from moevae.data.datasets import load_labels

        without = [each.name for each in data if load_labels(each, root) is None]
        if without:
            return f"{without[0]} has no labels, and it is trained on them"
    return None
