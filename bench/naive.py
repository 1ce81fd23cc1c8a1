"""The naive baseline: a straightforward implementation of the article's model, with one module per expert."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

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


class DeformableExpert(nn.Module):
    """A template that is deformed by an affine map, a smooth displacement, thickness and residual images."""

    def __init__(self, side: int, code: int, grid: int, residual: int) -> None:
        super().__init__()
        self.sizes = [6, 2 * grid**2, 1, residual]
        self.side, self.grid = side, grid
        self.head = nn.Linear(code, 2 * sum(self.sizes))
        self.template = nn.Parameter(torch.rand(1, 1, side, side))
        self.residual = nn.Parameter(torch.zeros(residual, side * side))
        self.log_scale = nn.Parameter(torch.full((sum(self.sizes),), -2.0))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        mu, logvar = self.head(code).chunk(2, dim=-1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        affine, moves, thickness, residual = (z * self.log_scale.exp()).split(self.sizes, -1)
        thicker = functional.max_pool2d(self.template, 3, 1, 1) - self.template
        thinner = -functional.max_pool2d(-self.template, 3, 1, 1) - self.template
        amount = thickness[:, :, None, None]
        image = self.template + amount.clamp_min(0) * thicker + (-amount).clamp_min(0) * thinner
        image = image + (residual @ self.residual).view(-1, 1, self.side, self.side)
        theta = torch.eye(2, 3) + affine.view(-1, 2, 3)
        places = functional.affine_grid(theta, list(image.shape), align_corners=False)
        field = moves.view(-1, 2, self.grid, self.grid)
        field = functional.interpolate(field, (self.side, self.side), mode="bicubic", align_corners=True)
        places = places + field.permute(0, 2, 3, 1)
        drawn = functional.grid_sample(image, places, padding_mode="border", align_corners=False)
        recon = 0.5 * ((x - drawn.flatten(1)) / 0.25).square().sum(-1)
        kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(-1)
        return recon + kl


class NaiveDeformable(nn.Module):
    """A shared encoder and a list of deformable experts; the best expert of an image trains (hard EM)."""

    def __init__(self, side: int, experts: int, grid: int = 4, residual: int = 8) -> None:
        super().__init__()
        widths = [nn.Linear(side * side, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
        self.encoder = nn.Sequential(*widths)
        self.experts = nn.ModuleList(DeformableExpert(side, 128, grid, residual) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        losses = torch.stack([expert(x, code) for expert in self.experts], dim=-1)
        return losses.min(-1).values.mean()


def train(
    model: NaiveMixture | NaiveDeformable, images: Tensor, height: int, width: int, batch: int
) -> Iterator[float]:
    """Train on full batches of uint8 images [N, D] without end; yield the loss of each step."""
    device = next(model.parameters()).device
    loader = DataLoader(Pictures(images, height, width), batch_size=batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for picture in loader:
            x = picture.flatten(1)
            x = (x if isinstance(model, NaiveDeformable) else torch.bernoulli(x)).to(device)
            loss = model(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()


def clock(device: str, threads: int) -> Callable[[], float]:
    """Return what measures a step: the processor time of one thread, which other processes do not slow down.

    Several threads wait for each other, and a device works beside the processor: the clock times them.
    """
    return time.process_time if device == "cpu" and threads == 1 else time.perf_counter


def main() -> None:
    """Answer every line on standard input with the seconds of one training step and its loss."""
    sizes = json.loads(sys.argv[1])
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    side = sizes["side"]
    images = torch.randint(0, 256, (max(4 * sizes["batch"], 1024), side * side), dtype=torch.uint8)
    model: NaiveMixture | NaiveDeformable
    if sizes.get("deformable"):
        model = NaiveDeformable(side, sizes["experts"])
    else:
        model = NaiveMixture(side * side, sizes["experts"], sizes["hidden"], sizes["latent"], sizes["gate"])
    steps = train(model.to(sizes["device"]), images, side, side, sizes["batch"])
    now = clock(sizes["device"], sizes["threads"])
    for _ in sys.stdin:
        start = now()
        loss = next(steps)
        print(now() - start, loss, flush=True)


if __name__ == "__main__":
    main()
