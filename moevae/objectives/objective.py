"""The objective family J, a loss in nats per image.

J = mean_x sum_k w(k|x) L_k(x)  +  alpha I(x;k)  +  lambda balancing

with L_k = -ELBO_k, the weights w of the experts after routing, and I(x;k) = mean_x KL(q(k|x) || q_bar). At
alpha = lambda = 1 with soft routing and KL balancing, J is the negative mixture ELBO, because E_x KL(q || pi)
= I(x;k) + KL(q_bar || pi) for every prior pi over experts.

If the posterior weights the experts, the first term is mean_x -log sum_k pi_k exp(-L_k) + KL(r || q), with
r proportional to pi_k exp(-L_k) and fixed in the divergence. Experts then train as in the EM algorithm of a
mixture, with the weight r in each image. Only the gate has a gradient from the divergence: it learns to
predict r, as in the wake phase of the wake-sleep algorithm. The terms of alpha and lambda are added to the
loss of the gate. With one sample of z this J is a stochastic objective whose negative is not a bound on
log p(x), because the log-sum-exp of noisy ELBOs is biased upward.

If the maximum of the posterior weights the experts (`map`), the first term is mean_x L_k* - log pi_k* +
KL(r || q), with k* = argmax_k r: each image trains the expert that explains it best. This is the
classification EM algorithm. Here r compares the ELBOs at the mean latent, so that the choice is free of the
noise of z.

References:
    Hinton, Dayan, Frey, Neal (1995), the wake-sleep algorithm.
    Celeux, Govaert (1992), a classification EM algorithm for clustering and two stochastic versions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moevae.config.registry import BALANCINGS, BIAS_UPDATES, ROUTINGS
from moevae.config.schema import RunConfig
from moevae.distributions import kl_categorical
from moevae.models.mixture import MixtureTerms, SparseMixtureTerms
from moevae.objectives.bounds import marginal_elbo, posterior_log_probs
from moevae.objectives.load_balancing import BIAS_STEP, log_importance, log_priors, none
from moevae.objectives.routing import sampled_cost


def mutual_information(log_probs: Tensor) -> Tensor:
    """Return I(x;k) = mean_x KL(q(k|x) || q_bar) in nats, between 0 and ln K, [R].

    Args:
        log_probs: log q(k|x), [R, K, B].
    """
    mean = log_importance(log_probs).unsqueeze(1)  # [R, 1, K]
    return kl_categorical(log_probs.transpose(1, 2), mean).mean(-1)


def marginal_cost(log_probs: Tensor, expert_elbo: Tensor, log_prior: Tensor) -> Tensor:
    """Return -marginal_elbo + KL(r || q) of images in nats, without a gradient of r, [R, B].

    With one sample of z, the mean of -marginal_elbo is below its value for exact ELBOs: it is a training
    objective, not a bound.

    Args:
        log_probs: log q(k|x), [R, K, B].
        expert_elbo: -L_k, [R, K, B].
        log_prior: log pi, [R, K].
    """
    target = posterior_log_probs(expert_elbo.detach(), log_prior)
    missed = kl_categorical(target.transpose(1, 2), log_probs.transpose(1, 2))
    return missed - marginal_elbo(expert_elbo, log_prior)


def map_cost(log_probs: Tensor, terms: SparseMixtureTerms, log_prior: Tensor) -> Tensor:
    """Return -map_elbo of the chosen expert + KL(r || q) of images in nats, [R, B].

    Args:
        log_probs: log q(k|x), [R, K, B].
        terms: the terms of the expert with the highest posterior probability, C = 1.
        log_prior: log pi, [R, K].
    """
    prior = log_prior.unsqueeze(-1).expand_as(log_probs).gather(1, terms.chosen)
    cost = -(terms.expert_elbo + prior).squeeze(1)
    if terms.posterior_log_probs is None:
        return cost
    return cost + kl_categorical(terms.posterior_log_probs.transpose(1, 2), log_probs.transpose(1, 2))


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return torch.where(factor > 0, gradient * factor, 0), None


class Objective:
    """The objective J of a population: runs share the kinds of terms and have separate weights."""

    def __init__(
        self, configs: Sequence[RunConfig], device: torch.device | str = "cpu", experts: int | None = None
    ) -> None:
        """Set the weights of each run.

        Args:
            configs: one configuration per run.
            device: the device of the terms.
            experts: current number of experts; None uses the configured number.
        """
        kind, traits = configs[0].routing.kind, ROUTINGS.traits(configs[0].routing.kind)
        settings = traits["settings"](configs[0].routing) if "settings" in traits else {}
        self.route = functools.partial(ROUTINGS[kind], **settings)
        self.sampled = traits.get("sampled", False)
        self.by_posterior = configs[0].objective.expert_weights == "posterior"
        self.by_map = configs[0].objective.expert_weights == "map"
        self.balance = BALANCINGS.get(configs[0].objective.balancing, none)
        self.bias_update = BIAS_UPDATES.get(configs[0].objective.balancing)
        self.log_prior = log_priors(configs, experts).to(device, torch.float32)
        gradients = [config.objective.expert_gradient for config in configs]
        self.reaches_gate, self.has_followers = any(gradients), not all(gradients)
        self.expert_gradient = torch.tensor(gradients, device=device)
        self.information_weight = torch.tensor(
            [config.objective.information_weight for config in configs], device=device
        )
        self.balance_weight = torch.tensor(
            [config.objective.balance_weight for config in configs], device=device
        )

    def __call__(self, terms: MixtureTerms, uniform: Tensor | None = None) -> Tensor:
        """Return J of each run, in nats per image, [R].

        Args:
            terms: the terms of the mixture for a batch.
            uniform: uniform random numbers of a random routing, [R, K, B]; for sparse terms, those that the
                experts were chosen with.
        """
        log_probs = terms.gate_log_probs
        weighing = log_probs.detach()
        if self.reaches_gate:
            weighing = _ScaledGradient.apply(log_probs, self.expert_gradient.view(-1, 1, 1))
        if isinstance(terms, SparseMixtureTerms):
            if self.by_map:
                cost = map_cost(weighing, terms, self.log_prior)
            elif self.sampled:
                cost = sampled_cost(weighing, terms.chosen, terms.expert_elbo)  # [R, B]
            else:
                weights = self.route(weighing, uniform).gather(1, terms.chosen)  # [R, C, B]
                cost = -(weights * terms.expert_elbo).sum(1)
        elif self.by_posterior:
            cost = marginal_cost(weighing, terms.expert_elbo, self.log_prior)
        else:
            cost = -(self.route(weighing, uniform) * terms.expert_elbo).sum(1)
        return (
            cost.mean(-1)
            + self.information_weight * mutual_information(log_probs)
            + self.balance_weight * self.balance(log_probs, self.log_prior)
        )

    @torch.no_grad()
    def expert_weights(self, terms: MixtureTerms, uniform: Tensor | None = None) -> Tensor:
        """Return the weights of the losses of experts, [R, K, B], or of chosen experts, [R, C, B].

        Args:
            terms: terms of the mixture ELBO of a batch.
            uniform: draws uniform on [0, 1), of a random routing; otherwise None.
        """
        if isinstance(terms, SparseMixtureTerms) and (self.sampled or self.by_map):
            return torch.full_like(terms.expert_elbo, 1 / terms.expert_elbo.shape[1])
        if self.by_posterior:
            return posterior_log_probs(terms.expert_elbo, self.log_prior).exp()
        weights = self.route(terms.gate_log_probs, uniform)
        return weights.gather(1, terms.chosen) if isinstance(terms, SparseMixtureTerms) else weights

    @torch.no_grad()
    def gate_loss(self, terms: MixtureTerms, consistency: Tensor, total: Tensor) -> Tensor:
        """Return the loss of the gate in nats per image, [R]: the total where experts' losses reach the gate.

        Args:
            terms: the terms of the mixture for a batch.
            consistency: the consistency loss of each run, [R].
            total: J with the consistency loss, [R].
        """
        follows = self.expert_gradient == 0
        alone = self._gate_only(terms) + consistency if self.has_followers else total
        return torch.where(follows, alone, total)

    def _gate_only(self, terms: MixtureTerms) -> Tensor:
        """Return the part of J that does not depend on the experts, in nats per image, [R]."""
        log_probs = terms.gate_log_probs
        balance = self.balance_weight * self.balance(log_probs, self.log_prior)
        return self.information_weight * mutual_information(log_probs) + balance

    @torch.no_grad()
    def update_expert_bias(self, bias: Tensor, terms: MixtureTerms) -> None:
        """Update the biases of experts, [R, K], in place after a training step, if balancing uses them.

        Args:
            bias: biases of the experts in the gate, [R, K].
            terms: terms of the mixture ELBO of a batch.
        """
        if self.bias_update:
            speed = BIAS_STEP * self.balance_weight.unsqueeze(-1)
            bias += speed * self.bias_update(terms.gate_log_probs, self.log_prior)
