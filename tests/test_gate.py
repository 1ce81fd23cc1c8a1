"""The gate: a softmax at each run's own temperature."""

import pytest
import torch
from small import config, normal
from torch.nn import functional

from moevae.gate import Gate, gate_log_probs

LOGITS = normal(3, 5, 20)


def test_probabilities_are_the_softmax_of_logits_over_temperature():
    temperature = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
    log_probs = gate_log_probs(LOGITS, temperature)
    for run, heat in enumerate(temperature.tolist()):
        weights = (LOGITS[run] / heat).exp()
        torch.testing.assert_close(log_probs[run].exp(), weights / weights.sum(0))


def test_a_cold_gate_chooses_and_a_hot_one_does_not_care():
    cold = gate_log_probs(LOGITS, torch.full((3,), 1e-6)).exp()
    assert torch.equal(cold.round(), functional.one_hot(LOGITS.argmax(1), 5).transpose(1, 2).double())
    hot = gate_log_probs(LOGITS, torch.full((3,), 1e6)).exp()
    torch.testing.assert_close(hot, torch.full_like(hot, 0.2), rtol=0, atol=1e-5)


def test_entropy_rises_with_temperature_and_assignments_stay():
    looks = [gate_log_probs(LOGITS, torch.full((3,), heat)) for heat in (0.1, 0.5, 1.0, 2.0, 10.0)]
    entropy = torch.stack([-(look.exp() * look).sum(1) for look in looks])
    assert (entropy.diff(dim=0) > 0).all()
    assert all(torch.equal(look.argmax(1), LOGITS.argmax(1)) for look in looks)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_gate_is_one_network_a_run(hidden):
    gate = Gate(config({"model.gate_hidden": hidden, "model.num_experts": 3}).model, 2, 8)
    assert [(layer.inputs, layer.outputs) for layer in gate.network.layers] == [
        *zip((8, *hidden), (*hidden, 3), strict=True)
    ]
    assert gate(torch.zeros(2, 11, 8)).shape == (2, 3, 11)
