"""Clusters of the graph of neighbors: the clustering that the gate of the preset `iic-mnist` starts from."""

from __future__ import annotations

import time

from moevae.spectral.clusters import cluster_images, neighbor_shares
from moevae.spectral.graph import image_index
from studies.execution.baseline_fit import BaselineContext, BaselineResult, NotFittedError, clusters


def graph(context: BaselineContext) -> BaselineResult:
    """Cluster training images into as many clusters as experts; test images follow their neighbors."""
    return _fitted(context, context.config.model.num_experts)


def graph_unknown(context: BaselineContext) -> BaselineResult:
    """Cluster training images into an estimated number of clusters."""
    return _fitted(context, None)


def _fitted(context: BaselineContext, count: int | None) -> BaselineResult:
    begin = time.perf_counter()
    images = context.images
    if len(images.train) < max(2, count or 0):
        raise NotFittedError(f"{len(images.train)} training images are too few for {count or 2} clusters")
    found = cluster_images(images.train, images.size, count, context.config.seed)
    index = image_index(images.train, images.size)
    return BaselineResult(
        measure=lambda split: clusters(
            neighbor_shares(found.labels, index.nearest(getattr(images, split)), found.count)
        ),
        seconds=time.perf_counter() - begin,
        num_images=len(images.train),
        num_experts=found.count,
        derived={"clusters_found": found.count, "information": found.information},
    )
