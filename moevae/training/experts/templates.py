"""Initialization of the templates of deformable experts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from moevae.config.schema import RunConfig
from moevae.data.binarization import to_float
from moevae.data.datasets import Images
from moevae.models.mixture import Mixture
from moevae.nn.deformation import blurred
from moevae.utils.rng import generator


@torch.no_grad()
def init_templates(model: Mixture, configs: Sequence[RunConfig], images: Images) -> None:
    """Initialize the templates of deformable experts with different blurred training images.

    Args:
        model: the population; it is unchanged if its experts are not deformable.
        configs: one per run.
        images: the data set; its training split is read.
    """
    deformation = model.experts.deformation
    if deformation is None:
        return
    count = model.config.num_experts
    drawn = [
        torch.randperm(len(images.train), generator=generator(config.seed, "templates")) for config in configs
    ]
    rows = torch.stack([order.repeat(-(-count // len(order)))[:count] for order in drawn])  # [R, K]
    templates = blurred(to_float(images.train[rows.flatten()]), images.size)
    deformation.set_templates(templates.view(*rows.shape, -1).to(next(model.parameters()).device))
