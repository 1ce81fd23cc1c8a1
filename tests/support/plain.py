"""An oracle: the mixture written without stacking, one run and one expert at a time, with plain torch.nn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, distributions, nn

from moevae.config.schema import ModelConfig
from moevae.models.mixture import Mixture
from moevae.nn.conv import Convolution, TransposedConvolution

ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky-relu": nn.LeakyReLU,
}


@dataclass(frozen=True)
class Expert:
    """One VAE of torch.nn.Linear layers."""

    config: ModelConfig
    encoder: nn.Sequential
    decoder: nn.Sequential

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and KL(q(z|x) || p(z)), [B] each; x [B, D], noise [B, Z]."""
        latent = self.config.latent_dim
        output = self.encoder(x)
        variance = self.config.variance_floor + output[:, latent:].exp()
        posterior = distributions.Normal(output[:, :latent], variance.sqrt())
        prior = distributions.Normal(torch.zeros(latent, dtype=x.dtype), 1.0)
        kl_z = distributions.kl_divergence(posterior, prior).sum(-1)
        return self.log_prob(posterior.mean + posterior.stddev * noise, x), kl_z

    def log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z)."""
        logits = self.decoder(z)
        if self.config.likelihood == "gaussian":
            pixels = distributions.Normal(logits.sigmoid(), self.config.gaussian_std)
        else:
            pixels = distributions.Bernoulli(logits=logits, validate_args=False)
        return pixels.log_prob(x).sum(-1)

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder, then of the decoder, first layer first."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]


def expert(model: Mixture, run: int, index: int) -> Expert:
    """Return one expert of a mixture as a VAE of its own."""
    encoder, stack = model.experts.encoder, model.experts.encoder.rest.layers
    own = slice(index * encoder.width, (index + 1) * encoder.width)
    layers = [(layer, layer.weight[run], layer.bias[run]) for layer in encoder.trunk.layers]
    layers.append((encoder.first, encoder.first.weight[run][:, own], encoder.first.bias[run][own]))
    layers += [(layer, layer.weight[run, index], layer.bias[run, index]) for layer in stack]
    decoder = [
        (layer, layer.weight[run, index], layer.bias[run, index]) for layer in model.experts.decoder.layers
    ]
    activation = model.config.activation
    return Expert(model.config, _network(layers, activation), _network(decoder, activation))


def gate(model: Mixture, run: int) -> nn.Sequential:
    """Return the gate of one run; batch normalization uses running statistics, except in training."""
    layers = [(layer, layer.weight[run], layer.bias[run]) for layer in model.gate.network.layers]
    network = _network(layers, model.config.activation)
    for place, own in enumerate(model.gate.network.normalizations):
        pictures = isinstance(network[3 * place], Down)
        kind = nn.BatchNorm2d if pictures else nn.BatchNorm1d
        normalization = kind(own.running_mean.shape[1], dtype=own.running_mean.dtype)
        linear = network[3 * place]
        bias = linear.map.bias if pictures else linear.bias
        with torch.no_grad():
            normalization.weight.copy_(own.unpadded("scale")[run])
            normalization.bias.copy_(bias)
            normalization.running_mean.copy_(own.running_mean[run])
            normalization.running_var.copy_(own.running_variance[run])
            bias.zero_()
        network.insert(3 * place + 1, Flat(normalization, linear.after) if pictures else normalization)
    return network.eval()


def mixture_elbo(model: Mixture, run: int, x: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return the mixture ELBO of one run, [B], term by term; x [B, D], noise [K, B, Z]."""
    q = distributions.Categorical(logits=gate(model, run)(x) / temperature)
    experts = model.config.num_experts
    elbos = []
    for index in range(experts):
        recon_log_prob, kl_z = expert(model, run, index).terms(x, noise[index])
        elbos.append(recon_log_prob - kl_z)
    average = sum(q.probs[:, index] * elbo for index, elbo in enumerate(elbos))
    return average - (math.log(experts) - q.entropy())


class Flat(nn.Module):
    """A map of pictures, [B, C, H, W], made one of rows, [B, H W C]."""

    def __init__(self, picture_map: nn.Module, before: tuple[int, int]) -> None:
        super().__init__()
        self.map, self.before = picture_map, before

    def forward(self, x: Tensor) -> Tensor:
        """Return the next rows."""
        pictures = x.unflatten(-1, (*self.before, -1)).movedim(-1, -3)
        return self.map(pictures).movedim(-3, -1).flatten(-3)


class Down(Flat):
    """A strided convolution."""

    def __init__(self, size: tuple[int, int], weight: Tensor, bias: Tensor) -> None:
        taps, outputs = weight.unflatten(0, (3, 3, -1)), weight.shape[1]
        super().__init__(nn.Conv2d(taps.shape[2], outputs, 3, 2, 1, dtype=weight.dtype), size)
        self.after = tuple((side + 1) // 2 for side in size)
        with torch.no_grad():
            self.map.weight.copy_(taps.permute(3, 2, 0, 1))
            self.map.bias.copy_(bias)


class Up(Flat):
    """A strided transposed convolution."""

    def __init__(self, size: tuple[int, int], weight: Tensor, bias: Tensor) -> None:
        taps = weight.unflatten(1, (3, 3, -1))
        more = tuple((side + 1) % 2 for side in size)
        up = nn.ConvTranspose2d(len(weight), taps.shape[3], 3, 2, 1, more, dtype=weight.dtype)
        super().__init__(up, tuple((side + 1) // 2 for side in size))
        with torch.no_grad():
            self.map.weight.copy_(taps.permute(0, 3, 1, 2))
            self.map.bias.copy_(bias)


def _network(layers: list[tuple[nn.Module, Tensor, Tensor]], activation: str) -> nn.Sequential:
    """Build from layers, each with a weight [I, O] and a bias [O] of its own."""
    modules: list[nn.Module] = []
    for layer, weight, bias in layers:
        if isinstance(layer, Convolution):
            own: nn.Module = Down(layer.size, weight, bias)
        elif isinstance(layer, TransposedConvolution):
            own = Up(layer.size, weight, bias)
        else:
            own = nn.Linear(*weight.shape, dtype=weight.dtype)
            with torch.no_grad():
                own.weight.copy_(weight.T)
                own.bias.copy_(bias)
        modules += [own, ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])
