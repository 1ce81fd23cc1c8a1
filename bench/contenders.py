"""Clustering methods for `time_to_quality.py`, by name; a new one is a function registered in METHODS.

A method trains on `task.images.train`. After each epoch it calls `task.clock.epoch`, with a function that
returns the clusters of the test images if it has clusters by then. The clock stands still while these are
scored, and ends the method by an exception when the budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np
import torch
from clock import Clock
from torch import Tensor

from moevae.config.overrides import override
from moevae.config.presets import preset
from moevae.data.binarization import to_float
from moevae.data.datasets import Images
from moevae.evaluation.assign import assign
from moevae.training.fit import fit
from studies.baselines.clustpy import silence
from studies.records.race import OWN


@dataclass(frozen=True)
class Task:
    """What a method gets: images without labels, and the clock."""

    images: Images
    clusters: int
    seed: int
    clock: Clock
    pretraining: int
    """Epochs in which a peer trains its autoencoder before it clusters."""
    kept: dict[str, Any]
    """The autoencoder of this seed, which several peers start from, and the seconds of its training."""

    def pixels(self, split: str) -> Tensor:
        """Return the images of a split, in [0, 1], [N, D]."""
        return to_float(getattr(self.images, split))


@dataclass(frozen=True)
class Method:
    """A method of the comparison."""

    train: Callable[[Task], None]
    packages: tuple[str, ...] = ()
    """The modules that it needs, beside those of moevae."""
    data: str | None = None
    """The only data set that it is for; None for any."""

    def available(self) -> bool:
        """Import its packages, off the clock; return whether they are installed."""
        try:
            with silence():
                for package in self.packages:
                    import_module(package)
        except ModuleNotFoundError:
            return False
        return True


METHODS: dict[str, Method] = {}


def method(name: str, *packages: str) -> Callable[[Any], Any]:
    """Register a method."""

    def register(train: Callable[[Task], None]) -> Callable[[Task], None]:
        METHODS[name] = Method(train, packages)
        return train

    return register


def _preset(name: str, task: Task) -> None:
    """Train a preset; scored are the assignments of the gate."""
    changes = {"seed": task.seed, "model.num_experts": task.clusters, "data.validation_size": 0}
    config = override(preset(name), changes)

    def score(stats: Any) -> None:
        task.clock.epoch(
            lambda: assign(stats.model, config, task.images.test, bounds=False, latents=False).experts
        )

    # A copy: the graph of neighbors of the same tensor would be taken from the run before, off the clock.
    fit([config], replace(task.images, train=task.images.train.clone()), on_epoch=score)


for _name in ("deformable-mnist", "iic-mnist", "deformable-fashion-mnist", "iic-fashion-mnist"):
    METHODS[f"{OWN}, preset {_name}"] = Method(partial(_preset, _name), data=preset(_name).data.name)


@method("autoencoder, then k-means (ClustPy, scikit-learn)", "clustpy.deep")
def autoencoder(task: Task) -> None:
    """Train ClustPy's autoencoder; k-means clusters its codes after each epoch, off the clock."""
    from clustpy.deep.neural_networks import FeedforwardAutoencoder
    from sklearn.cluster import KMeans

    layers = [task.images.train.shape[1], 500, 500, 2000, task.clusters]  # as ClustPy's methods have them
    network = FeedforwardAutoencoder(layers=layers, random_state=task.seed)

    @torch.no_grad()
    def clusters() -> np.ndarray:
        codes, seen = (network.encode(task.pixels(split)).numpy() for split in ("train", "test"))
        found: np.ndarray = KMeans(task.clusters, random_state=task.seed).fit(codes).predict(seen)
        return found

    with silence():
        network.fit(n_epochs=task.pretraining, dataloader=_loader(task, lambda: task.clock.epoch(clusters)))
    task.clock.epoch(clusters)
    task.kept["autoencoder"] = network, task.clock.spent


def _started(task: Task) -> Any:
    """Return the trained autoencoder of this seed; the clock starts with the time of its training."""
    if "autoencoder" not in task.kept:
        autoencoder(replace(task, clock=Clock(task.clock.budget, lambda clusters: {})))
    network, seconds = task.kept["autoencoder"]
    task.clock.restart(seconds)
    return network


@method("N2D (ClustPy, umap-learn, scikit-learn)", "clustpy.deep", "umap")
def n2d(task: Task) -> None:
    """Fit a Gaussian mixture to an embedding by UMAP of the codes of the autoencoder.

    The sizes are those of the authors: as many dimensions as clusters, 20 neighbors, no distance between
    points. Test images are embedded by the same map.

    References:
        McConville et al. (2021), N2D: (not too) deep clustering via clustering the local manifold of an
        autoencoded embedding.
    """
    from sklearn.mixture import GaussianMixture
    from umap import UMAP

    embedding = partial(
        UMAP, n_components=task.clusters, n_neighbors=20, min_dist=0.0, random_state=task.seed, n_jobs=1
    )
    with silence():
        few = np.random.default_rng(0).random((5000, task.clusters), np.float32)
        embedding().fit(few).transform(few[:100])  # compiles, off the clock
        network = _started(task)
        with torch.no_grad():
            codes, seen = (network.encode(task.pixels(split)).numpy() for split in ("train", "test"))
        reducer = embedding()
        mixture = GaussianMixture(task.clusters, random_state=task.seed).fit(reducer.fit_transform(codes))
        found: np.ndarray = mixture.predict(reducer.transform(seen))
    task.clock.epoch(lambda: found)


@method("DEC (ClustPy)", "clustpy.deep")
def dec(task: Task) -> None:
    """Deep embedded clustering."""
    from clustpy.deep import DEC
    from clustpy.deep.dec import _DEC_Module

    _peer(task, DEC, _DEC_Module, _nearest)


@method("IDEC (ClustPy)", "clustpy.deep")
def idec(task: Task) -> None:
    """Improved deep embedded clustering."""
    from clustpy.deep import IDEC
    from clustpy.deep.dec import _DEC_Module

    _peer(task, IDEC, _DEC_Module, _nearest)


@method("DCN (ClustPy)", "clustpy.deep")
def dcn(task: Task) -> None:
    """Deep clustering network."""
    from clustpy.deep import DCN
    from clustpy.deep.dcn import _DCN_Module

    _peer(task, DCN, _DCN_Module, _nearest)


@method("VaDE (ClustPy)", "clustpy.deep")
def vade(task: Task) -> None:
    """Variational deep embedding; it pretrains a network of its own."""
    from clustpy.deep import VaDE
    from clustpy.deep.vade import _VaDE_Module

    def most_probable(module: Any, network: Any, pixels: Tensor) -> Tensor:
        return module.predict(*network.encode(pixels))

    _peer(task, VaDE, _VaDE_Module, most_probable, shared=False)


def _nearest(module: Any, network: Any, pixels: Tensor) -> Tensor:
    """Return the cluster of the nearest center."""
    return module.predict_hard(network.encode(pixels))


def _peer(
    task: Task,
    peer: Any,
    module: Any,
    clusters: Callable[[Any, Any, Tensor], Tensor],
    shared: bool = True,
) -> None:
    """Train a method of ClustPy with its default settings, until the budget is spent.

    Args:
        task: what it trains on.
        peer: the class of the method.
        module: the class of the module that it clusters with, whose `fit` gets the network first.
        clusters: returns the clusters of images, from the module, the network and the images.
        shared: whether it starts from the autoencoder of this seed, instead of pretraining its own.
    """
    network = _started(task) if shared else None
    begun: list[Any] = []
    fit, test = module.fit, task.pixels("test")

    def noted(own: Any, network: Any, *given: Any) -> Any:
        begun[:] = own, network
        return fit(own, network, *given)

    @torch.no_grad()
    def assigned() -> np.ndarray:
        return clusters(*begun, test).numpy()

    loaders = (
        _loader(task, lambda: task.clock.epoch(assigned if begun else None)),
        _loader(task, lambda: None, shuffle=False),
    )
    with mock.patch.object(module, "fit", noted), silence():
        peer(
            n_clusters=task.clusters,
            neural_network=network,
            pretrain_epochs=task.pretraining,
            clustering_epochs=10**6,
            custom_dataloaders=loaders,
            device=torch.device("cpu"),
            random_state=task.seed,
        ).fit(task.pixels("train").numpy())


class _Loader:
    """A data loader of ClustPy that calls a function at the start of each epoch."""

    def __init__(self, loader: Any, begins: Callable[[], None]) -> None:
        self.loader, self.begins = loader, begins
        self.dataset, self.batch_size = loader.dataset, loader.batch_size

    def __iter__(self) -> Iterator[Any]:
        self.begins()
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


def _loader(task: Task, begins: Callable[[], None], shuffle: bool = True) -> _Loader:
    from clustpy.deep import get_dataloader

    return _Loader(get_dataloader(task.pixels("train"), 256, shuffle), begins)
