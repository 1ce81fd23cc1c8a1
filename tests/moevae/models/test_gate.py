"""The gate: a softmax at each run's own temperature."""

import plain
import pytest
import torch
from small import ODD, config, drawn, images, mixture, normal
from torch import distributions
from torch.nn import functional

from moevae.data.binarization import target_images
from moevae.evaluation.evaluate import evaluate
from moevae.models.gate import Gate, gate_log_probs
from moevae.training.fit import fit
from moevae.training.trainer import Trainer
from moevae.visualization import samples

GRAY = {"model.gate_input": "grayscale"}

LOGITS = normal(3, 5, 20)


def test_probabilities_are_the_softmax_of_logits_over_temperature():
    temperature = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
    log_probs = gate_log_probs(LOGITS, temperature)
    for run, heat in enumerate(temperature.tolist()):
        weights = (LOGITS[run] / heat).exp()
        torch.testing.assert_close(log_probs[run].exp(), weights / weights.sum(0))


def test_low_temperatures_give_one_hot_gates_and_high_ones_uniform_gates():
    cold = gate_log_probs(LOGITS, torch.full((3,), 1e-6)).exp()
    assert torch.equal(cold.round(), functional.one_hot(LOGITS.argmax(1), 5).transpose(1, 2).double())
    hot = gate_log_probs(LOGITS, torch.full((3,), 1e6)).exp()
    torch.testing.assert_close(hot, torch.full_like(hot, 0.2), rtol=0, atol=1e-5)


def test_entropy_rises_with_temperature_and_assignments_stay():
    outputs = [gate_log_probs(LOGITS, torch.full((3,), heat)) for heat in (0.1, 0.5, 1.0, 2.0, 10.0)]
    entropy = torch.stack([-(output.exp() * output).sum(1) for output in outputs])
    assert (entropy.diff(dim=0) > 0).all()
    assert all(torch.equal(output.argmax(1), LOGITS.argmax(1)) for output in outputs)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_gate_is_one_network_a_run(hidden):
    gate = Gate(config({"model.gate_hidden": hidden, "model.num_experts": 3}).model, 2, (2, 4))
    assert [(layer.inputs, layer.outputs) for layer in gate.network.layers] == [
        *zip((8, *hidden), (*hidden, 3), strict=True)
    ]
    assert gate(torch.zeros(2, 11, 8)).shape == (2, 3, 11)


@pytest.mark.parametrize("kind", ["soft", "sampled"])
def test_a_gate_that_reads_grayscale_does_not_change_the_pixels_of_the_likelihood(kind):
    model = mixture(config(ODD | GRAY), seeds=(0, 1))
    x, grayscale = (normal(2, 9, 30, seed=1) > 0).double(), normal(2, 9, 30, seed=2).sigmoid()
    noise, heat = normal(2, 7, 9, 3, seed=3), torch.ones(2, dtype=torch.float64)
    if kind == "soft":
        terms = model(x, noise, heat, grayscale)
        recon, _ = plain.expert(model, 1, 4).terms(x[1], noise[1, 4])
        torch.testing.assert_close(terms.recon_log_prob[1, 4], recon)
    else:
        uniform = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0)).double()
        terms = model.sparse(x, noise, heat, drawn(uniform), grayscale)
    for run in range(2):
        q = distributions.Categorical(logits=plain.gate(model, run)(grayscale[run]))
        torch.testing.assert_close(terms.gate_log_probs[run].T, q.logits)
    with pytest.raises(ValueError, match="reads grayscale images"):
        model(x, noise, heat)


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_a_batch_has_the_same_images_gray_and_as_seen(binarization):
    run, data = config({"data.binarization": binarization}), images()
    for batch in Trainer([run], data, torch.device("cpu")).batches.epoch():
        assert torch.equal(batch.gray[0], data.train[batch.rows[0]])
        expected = target_images(data.train, run.data, "train")[batch.rows[0]]
        assert torch.equal(batch.target[0], expected) == (binarization == "static")


def test_without_binarization_both_gate_inputs_agree():
    data, left = images(), {"data.binarization": "none", "routing.kind": "sampled"}
    seen, gray = (config(left | changes) for changes in ({}, GRAY))
    first, second = (evaluate(fit([run], data).model, [run], data)[0].metrics for run in (seen, gray))
    assert first == second


def test_measures_and_pictures_are_of_what_the_gate_reads():
    run, data = config(ODD | GRAY), images(test=40)
    model = mixture(run).float()
    expected = plain.gate(model, 0)(data.test).argmax(1)
    assert evaluate(model, [run], data)[0].assignments.tolist() == expected.tolist()
    seen = target_images(data.test, run.data, "test")
    found = samples.reconstructions(model, seen, data.test)[0]
    vae = plain.expert(model, 0, int(expected[3]))
    torch.testing.assert_close(found[3], vae.decoder(vae.encoder(seen[3])[:3]).sigmoid())
    assert (plain.gate(model, 0)(seen).argmax(1) != expected).any()
