"""Initial training of the gate on a clustering of the training images, without labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images
from moevae.spectral.clusters import cluster_images

STRENGTH = 2.0
"""Weight of the cross-entropy at the first step."""


class GateStart:
    """The clusterings that the gates of a population start from.

    Args:
        configs: one per run.
        images: the data set; its training split is read.
        device: the device of the loss.
    """

    def __init__(self, configs: Sequence[RunConfig], images: Images, device: torch.device) -> None:
        train = configs[0].train
        self.end = train.gate_start_end if train.gate_start == "clustering" else 0.0
        self.labels = torch.zeros(len(configs), 0, dtype=torch.int64)
        if self.end:
            count = configs[0].model.num_experts
            found = [cluster_images(images.train, images.size, count, config.seed) for config in configs]
            self.labels = torch.stack([torch.from_numpy(each.labels) for each in found]).to(device)

    def weight(self, progress: float) -> float:
        """Return the weight of the cross-entropy at a point of training.

        Args:
            progress: fraction of training that is done, in [0, 1].
        """
        return STRENGTH * max(0.0, 1 - progress / self.end) if self.end else 0.0

    def cost(self, log_probs: Tensor, rows: Tensor) -> Tensor:
        """Return the cross-entropy of each run in nats per image, [R].

        Args:
            log_probs: log q(k|x) of a batch, [R, K, B].
            rows: indices of the batch among the training images, [R, B].
        """
        cluster = self.labels.gather(1, rows)
        return -log_probs.gather(1, cluster.unsqueeze(1)).squeeze(1).mean(-1)
