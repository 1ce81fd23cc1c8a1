"""An oracle: the mixture written without stacking, one run and one expert at a time, with plain torch.nn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, distributions, nn

from moevae.config import ModelConfig
from moevae.model import Mixture

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


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
    first = model.experts.encoder.first
    own = slice(index * model.experts.encoder.width, (index + 1) * model.experts.encoder.width)
    encoder = [(first.weight[run][:, own], first.bias[run][own])]
    encoder += [
        (layer.weight[run, index], layer.bias[run, index]) for layer in model.experts.encoder.rest.layers
    ]
    decoder = [(layer.weight[run, index], layer.bias[run, index]) for layer in model.experts.decoder.layers]
    activation = model.config.activation
    return Expert(model.config, _perceptron(encoder, activation), _perceptron(decoder, activation))


def gate(model: Mixture, run: int) -> nn.Sequential:
    """Return the gate of one run; its batch normalization goes by running statistics until told to train."""
    layers = [(layer.weight[run], layer.bias[run]) for layer in model.gate.network.layers]
    network = _perceptron(layers, model.config.activation)
    for place, own in enumerate(model.gate.network.normalizations):
        normalization = nn.BatchNorm1d(own.running_mean.shape[1], dtype=own.running_mean.dtype)
        linear = network[3 * place]
        with torch.no_grad():
            normalization.weight.copy_(own.stored("scale")[run])
            normalization.bias.copy_(linear.bias)
            normalization.running_mean.copy_(own.running_mean[run])
            normalization.running_var.copy_(own.running_variance[run])
            linear.bias.zero_()
        network.insert(3 * place + 1, normalization)
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


def _perceptron(layers: list[tuple[Tensor, Tensor]], activation: str) -> nn.Sequential:
    """Build from (weight [I, O], bias [O])."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(*weight.shape, dtype=weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias)
        modules += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])
