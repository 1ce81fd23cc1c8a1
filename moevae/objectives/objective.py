"""The objective family J, in nats per image; a loss, so it goes down.

J = mean_x sum_k w(k|x) L_k(x)  +  alpha I(x;k)  +  lambda balancing

with L_k = -ELBO_k, w the routed weights of the experts, I(x;k) = mean_x KL(q(k|x) || q_bar). At alpha =
lambda = 1 with soft routing and KL balancing, J is the negative mixture ELBO, because
E_x KL(q || pi) = I(x;k) + KL(q_bar || pi) whatever the prior pi over experts is.

Where the posterior weighs the experts, the first term is mean_x -log sum_k pi_k exp(-L_k) + KL(r || q), with
r proportional to pi_k exp(-L_k) and held fixed in the divergence. Experts then train as in the EM of a
mixture, each by its share r in every image, and the gate alone learns by the divergence: it predicts r, as
the wake phase of Hinton, Dayan, Frey, Neal (1995), the wake-sleep algorithm, would have it. Alpha and lambda
add to what the gate learns. With one sample of z this J is a stochastic objective whose negative is not a
bound on log p(x): the log-sum-exp of noisy ELBOs leans upward.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moevae.config.registry import BALANCINGS, BIAS_MOVES, ROUTINGS
from moevae.config.schema import RunConfig
from moevae.distributions import kl_categorical
from moevae.models.mixture import MixtureTerms, SparseMixtureTerms
from moevae.objectives.bounds import log_responsibilities, tight_elbo
from moevae.objectives.load_balancing import BIAS_STEP, log_importance, log_priors, none
from moevae.objectives.routing import sampled_cost


def gate_information(log_probs: Tensor) -> Tensor:
    """Return I(x;k) = mean_x KL(q(k|x) || q_bar) in nats, [R], between 0 and ln K; log_probs [R, K, B]."""
    mean = log_importance(log_probs).unsqueeze(1)  # [R, 1, K]
    return kl_categorical(log_probs.transpose(1, 2), mean).mean(-1)


def tight_cost(log_probs: Tensor, expert_elbo: Tensor, log_prior: Tensor) -> Tensor:
    """Return -tight_elbo + KL(r || q) of images, [R, B], where r has no gradient.

    With one sample of z, -tight_elbo is on average below its value at the exact ELBOs: a training objective,
    and not a bound.

    Args:
        log_probs: log q(k|x), [R, K, B].
        expert_elbo: -L_k, [R, K, B].
        log_prior: log pi, [R, K].
    """
    target = log_responsibilities(expert_elbo.detach(), log_prior)
    missed = kl_categorical(target.transpose(1, 2), log_probs.transpose(1, 2))
    return missed - tight_elbo(expert_elbo, log_prior)


class Objective:
    """J for a population: the kinds are shared, the weights belong to each run."""

    def __init__(
        self, configs: Sequence[RunConfig], device: torch.device | str = "cpu", experts: int | None = None
    ) -> None:
        """Take the weights of each run.

        Args:
            configs: one a run.
            device: where the terms are.
            experts: how many there are at present; None: as many as configured.
        """
        self.route = ROUTINGS[configs[0].routing.kind]
        self.by_posterior = configs[0].objective.responsibilities == "posterior"
        self.balance = BALANCINGS.get(configs[0].objective.balancing, none)
        self.bias_move = BIAS_MOVES.get(configs[0].objective.balancing)
        self.log_prior = log_priors(configs, experts).to(device, torch.float32)
        self.experts_steer_gate = configs[0].objective.experts_steer_gate
        self.information_weight = torch.tensor(
            [config.objective.information_weight for config in configs], device=device
        )
        self.balance_weight = torch.tensor(
            [config.objective.balance_weight for config in configs], device=device
        )

    def __call__(self, terms: MixtureTerms, uniform: Tensor | None = None) -> Tensor:
        """Return J of each run, [R]; `uniform`, [R, K, B], is what a random routing draws by."""
        log_probs = terms.gate_log_probs
        weighing = log_probs if self.experts_steer_gate else log_probs.detach()
        if isinstance(terms, SparseMixtureTerms):
            cost = sampled_cost(weighing, terms.chosen, terms.expert_elbo)  # [R, B]
        elif self.by_posterior:
            cost = tight_cost(weighing, terms.expert_elbo, self.log_prior)
        else:
            cost = -(self.route(weighing, uniform) * terms.expert_elbo).sum(1)
        return (
            cost.mean(-1)
            + self.information_weight * gate_information(log_probs)
            + self.balance_weight * self.balance(log_probs, self.log_prior)
        )

    @torch.no_grad()
    def expert_weights(self, terms: MixtureTerms, uniform: Tensor | None = None) -> Tensor:
        """Return the weights of the experts' losses, [R, K, B], or [R, C, B] of drawn ones."""
        if isinstance(terms, SparseMixtureTerms):
            return torch.full_like(terms.expert_elbo, 1 / terms.expert_elbo.shape[1])
        if self.by_posterior:
            return log_responsibilities(terms.expert_elbo, self.log_prior).exp()
        return self.route(terms.gate_log_probs, uniform)

    @torch.no_grad()
    def gate_only_loss(self, terms: MixtureTerms) -> Tensor:
        """Return the part of J that does not depend on the experts, of each run, [R]."""
        log_probs = terms.gate_log_probs
        balance = self.balance_weight * self.balance(log_probs, self.log_prior)
        return self.information_weight * gate_information(log_probs) + balance

    @torch.no_grad()
    def update_expert_bias(self, bias: Tensor, terms: MixtureTerms) -> None:
        """Move the gates' biases of experts, [R, K], after a training step, where balancing does it so."""
        if self.bias_move:
            speed = BIAS_STEP * self.balance_weight.unsqueeze(-1)
            bias += speed * self.bias_move(terms.gate_log_probs, self.log_prior)
