"""The naive baseline: a straightforward implementation of the article's model, with one module per expert."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor


class Pictures(Dataset[Tensor]):
    """A data set of single images, as in torchvision."""

    def __init__(self, images: Tensor, height: int, width: int) -> None:
        self.arrays = images.reshape(-1, height, width).numpy()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.arrays[index])


class Expert(nn.Module):
    """One VAE."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        logits = self.decoder(z)
        recon = functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(-1)
        return recon + kl


class NaiveMixture(nn.Module):
    """A gate and a list of experts, run one after another."""

    def __init__(self, pixels: int, experts: int, hidden: int, latent: int, gate: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(pixels, gate), nn.ReLU(), nn.Linear(gate, experts))
        self.experts = nn.ModuleList(Expert(pixels, hidden, latent) for _ in range(experts))

    def forward(self, x: Tensor, balance_weight: float = 20.0) -> Tensor:
        q = torch.softmax(self.gate(x), dim=-1)
        losses = torch.stack([expert(x) for expert in self.experts], dim=-1)
        mean = q.mean(0)
        balance = (mean * torch.log(mean * len(self.experts) + 1e-10)).sum()
        return (q * losses).sum(-1).mean() + balance_weight * balance


def train(model: NaiveMixture, images: Tensor, height: int, width: int, batch: int) -> Iterator[float]:
    """Train on full batches of uint8 images [N, D] without end; yield the loss of each step."""
    device = next(model.parameters()).device
    loader = DataLoader(Pictures(images, height, width), batch_size=batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for picture in loader:
            x = torch.bernoulli(picture.flatten(1)).to(device)
            loss = model(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()


def main() -> None:
    """Answer every line on standard input with the seconds of one training step and its loss."""
    sizes = json.loads(sys.argv[1])
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    side = sizes["side"]
    images = torch.randint(0, 256, (max(4 * sizes["batch"], 1024), side * side), dtype=torch.uint8)
    model = NaiveMixture(side * side, sizes["experts"], sizes["hidden"], sizes["latent"], sizes["gate"])
    steps = train(model.to(sizes["device"]), images, side, side, sizes["batch"])
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = next(steps)
        print(time.perf_counter() - start, loss, flush=True)


if __name__ == "__main__":
    main()
