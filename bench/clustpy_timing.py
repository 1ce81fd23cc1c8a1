"""Training steps of other packages: one VAE with the sizes of the benchmarks, for `test_peers.py`."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from naive import clock
from torch import Tensor, nn


def pythae(sizes: dict[str, Any], images: Tensor) -> Callable[[], tuple[float, float]]:
    """Return a training step of pythae's VAE, with its loss and the Adam of its trainer."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    pixels, hidden, latent = images.shape[1], sizes["hidden"], sizes["latent"]

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))

        def forward(self, x: Tensor) -> Any:
            mu, logvar = self.layers(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    config = VAEConfig(input_dim=(pixels,), latent_dim=latent, reconstruction_loss="bce")
    model = VAE(config, Encoder(), Decoder()).to(sizes["device"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    now = clock(sizes["device"], sizes["threads"])

    def step() -> tuple[float, float]:
        start = now()
        x = images[torch.randint(len(images), (sizes["batch"],))].to(sizes["device"])
        loss = model({"data": x}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss), now() - start

    return step


def clustpy(sizes: dict[str, Any], images: Tensor) -> Callable[[], tuple[float, float]]:
    """Return the mean step of ClustPy's VaDE with one cluster, over an epoch of each phase."""
    from clustpy.deep import VaDE
    from clustpy.deep.neural_networks import VariationalAutoencoder

    layers = [images.shape[1], sizes["hidden"], sizes["latent"]]
    peer = VaDE(
        n_clusters=1,
        batch_size=sizes["batch"],
        pretrain_epochs=1,
        clustering_epochs=1,
        embedding_size=sizes["latent"],
        neural_network=(VariationalAutoencoder, {"layers": layers}),
        device=sizes["device"],
        random_state=0,
    )
    data = images.numpy()

    now = clock(sizes["device"], sizes["threads"])

    def step() -> tuple[float, float]:
        start = now()
        peer.fit(data)
        return 0.0, (now() - start) / (2 * len(data) / sizes["batch"])

    return step


def main() -> None:
    """Answer every line on standard input with the seconds of one training step and its loss."""
    peer, sizes = {"pythae": pythae, "clustpy": clustpy}[sys.argv[1]], json.loads(sys.argv[2])
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    images = torch.rand(4 * sizes["batch"], sizes["side"] ** 2)
    warnings.simplefilter("ignore")
    step = peer(sizes, images)
    for _ in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            loss, seconds = step()
        print(seconds, loss, flush=True)


if __name__ == "__main__":
    main()
