"""The objective family J, in nats per image; a loss, so it goes down.

J = mean_x sum_k w(k|x) L_k(x)  +  alpha I(x;k)  +  lambda balancing

with L_k = -ELBO_k, w the routed weights of the experts, I(x;k) = mean_x KL(q(k|x) || q_bar). At alpha =
lambda = 1 with soft routing and KL balancing, J is the negative mixture ELBO, because
E_x KL(q || pi) = I(x;k) + KL(q_bar || pi) whatever the prior pi over experts is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moevae.balancing import BALANCINGS, BIAS_MOVES, BIAS_STEP, log_importance, log_priors
from moevae.config import RunConfig
from moevae.densities import kl_categorical
from moevae.model import SparseTerms, Terms
from moevae.routing import ROUTINGS, sampled_cost, soft


def gate_information(log_probs: Tensor) -> Tensor:
    """Return I(x;k) = mean_x KL(q(k|x) || q_bar) in nats, [R], between 0 and ln K; log_probs [R, K, B]."""
    mean = log_importance(log_probs).unsqueeze(1)  # [R, 1, K]
    return kl_categorical(log_probs.transpose(1, 2), mean).mean(-1)


class Objective:
    """J for a population: the kinds are shared, the weights belong to each run."""

    def __init__(self, configs: Sequence[RunConfig], device: torch.device | str = "cpu") -> None:
        # Terms of all experts under sparse routing come from given assignments: their weights are given too.
        self.route = ROUTINGS.get(configs[0].routing.kind, soft)
        self.balance = BALANCINGS[configs[0].objective.balancing]
        self.bias_move = BIAS_MOVES.get(configs[0].objective.balancing)
        self.log_prior = log_priors(configs).to(device, torch.float32)
        self.experts_steer_gate = configs[0].objective.experts_steer_gate
        self.information_weight = torch.tensor(
            [config.objective.information_weight for config in configs], device=device
        )
        self.balance_weight = torch.tensor(
            [config.objective.balance_weight for config in configs], device=device
        )

    def __call__(self, terms: Terms, uniform: Tensor | None = None) -> Tensor:
        """Return J of each run, [R]; `uniform`, [R, K, B], is what a random routing draws by."""
        log_probs = terms.gate_log_probs
        weighing = log_probs if self.experts_steer_gate else log_probs.detach()
        if isinstance(terms, SparseTerms):
            cost = sampled_cost(weighing, terms.chosen, terms.expert_elbo)  # [R, B]
        else:
            cost = -(self.route(weighing, uniform) * terms.expert_elbo).sum(1)
        return (
            cost.mean(-1)
            + self.information_weight * gate_information(log_probs)
            + self.balance_weight * self.balance(log_probs, self.log_prior)
        )

    @torch.no_grad()
    def move_bias(self, bias: Tensor, terms: Terms) -> None:
        """Move the gates' biases of experts, [R, K], after a training step, where balancing does it so."""
        if self.bias_move:
            speed = BIAS_STEP * self.balance_weight.unsqueeze(-1)
            bias += speed * self.bias_move(terms.gate_log_probs, self.log_prior)
