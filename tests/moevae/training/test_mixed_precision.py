"""Training in bfloat16: near float32, kept and measured in float32, resumed bit for bit."""

import torch
from small import config, images, same, weights

from moevae.evaluation.evaluate import evaluate
from moevae.training.fit import fit
from moevae.training.mixed_precision import MasterWeights
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")
HALF = {"train.precision": "bfloat16", "train.epochs": 4}


def test_float32_works_on_the_kept_weights_themselves():
    training = Trainer([config()], images(), CPU)
    assert training.working.model is training.model


def test_master_weights_take_steps_below_the_resolution_of_bfloat16():
    run, data = config(HALF, **{"train.learning_rate": 1e-6}), images()
    training = Trainer([run], data, CPU)
    before = weights(training.model, 0)
    before = {name: value.clone() for name, value in before.items()}
    training.epoch()
    after = weights(training.model, 0)
    assert all(value.dtype == torch.float32 for value in after.values())
    moved = after["gate.network.layers.0._weight"] != before["gate.network.layers.0._weight"]
    assert moved.float().mean() > 0.9
    assert (
        after["gate.network.layers.0._weight"]
        .bfloat16()
        .ne(before["gate.network.layers.0._weight"].bfloat16())
        .float()
        .mean()
        < 0.1
    )


def test_a_step_has_float32s_gradient_but_for_rounding():
    data = images()
    gradients = []
    for precision in ("float32", "bfloat16"):
        training = Trainer([config({"train.precision": precision})], data, CPU)
        training.step(0, next(training.batches.epoch()))
        own = [each.grad.flatten() for each in training.model.parameters() if each.grad is not None]
        gradients.append(torch.cat(own))
    exact, short = gradients
    assert 0 < (short - exact).norm() < 0.02 * exact.norm()


def test_results_are_near_float32s():
    run, data = config(HALF), images()
    exact, short = config({"train.epochs": 4}), run
    found, expected = (
        evaluate(fit([each], data).model, [each], data)[0].metrics["mixture_elbo"] for each in (short, exact)
    )
    assert 0 < abs(found - expected) < 0.05


def test_a_restored_training_continues_bit_for_bit():
    run, data = config(HALF, **{"routing.kind": "sampled"}), images()
    whole, half, rest = (Trainer([run], data, CPU) for _ in range(3))
    for _ in range(2):
        half.epoch()
    rest.restore(*half.state())
    while not rest.done:
        rest.epoch()
    while not whole.done:
        whole.epoch()
    assert same(weights(whole.model, 0), weights(rest.model, 0))


def test_a_temperature_is_learned_in_bfloat16_too():
    run = config(HALF, **{"routing.temperature_schedule": "learned", "routing.temperature": 2.0})
    heats = []
    fit([run], images(), on_epoch=lambda progress: heats.append(progress.temperatures[0]))
    assert len(set(heats)) == 4
    assert all(1e-4 < abs(heat - 2) < 0.5 for heat in heats)


def test_working_weights_follow_the_master_weights():
    kept = Trainer([config()], images(), CPU).model
    working = MasterWeights(kept, "bfloat16")
    with torch.no_grad():
        for parameter in kept.parameters():
            parameter.fill_(2.0)
    working.refresh()
    assert all((parameter == 2).all() for parameter in working.model.parameters())
