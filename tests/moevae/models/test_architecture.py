"""Every architecture against plain torch.nn, one run and expert at a time, and the laws that all share."""

import itertools

import plain
import pytest
import torch
from small import HEIGHT, WIDTH, config, drawn, images, mixture, normal, same, weights
from torch import distributions
from torch.nn import functional

from moevae.config.overrides import override
from moevae.config.schema import ModelConfig
from moevae.evaluation.evaluate import evaluate
from moevae.models import architecture
from moevae.models.mixture import Mixture
from moevae.nn.batch_norm import batch_statistics
from moevae.nn.conv import TransposedConvolution, _Gather, _gather, _scatter, halved
from moevae.nn.stacked import count_parameters
from moevae.training.fit import fit
from moevae.training.trainer import Trainer

CPU = torch.device("cpu")
CONV = {
    "model.expert_network": "conv",
    "model.expert_hidden": (8, 16),
    "model.gate_network": "conv",
    "model.gate_hidden": (16,),
}
SHARED = {"model.encoder": "shared"}
DEEP = {"model.expert_hidden": (32, 16, 16), "model.gate_hidden": (16, 32, 16)}
NAMED = {
    "deep": DEEP,
    "linear": {"model.expert_hidden": (), "model.gate_hidden": ()},
    "one hidden layer, shared": SHARED,
    "deep, shared": DEEP | SHARED,
    "linear, shared": {"model.expert_hidden": (), "model.gate_hidden": ()} | SHARED,
    "conv": CONV,
    "conv of odd widths": CONV | {"model.expert_hidden": (3, 5), "model.gate_hidden": (3, 7)},
    "conv without a layer": CONV | {"model.expert_hidden": (), "model.gate_hidden": ()},
    "conv, shared": CONV | SHARED,
    "conv gate": {"model.gate_network": "conv", "model.gate_hidden": (4, 3)},
}
ARCHITECTURES = pytest.mark.parametrize("changes", NAMED.values(), ids=NAMED)
SIZES = [(8, 8), (28, 28), (5, 6), (7, 3), (1, 1), (2, 1), (9, 4)]
ONE_GROUP = [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
HEAT = torch.tensor([0.5, 2.0], dtype=torch.float64)


def seen(runs=2, count=9):
    return (normal(runs, count, HEIGHT * WIDTH, seed=1) > 0).double()


@ARCHITECTURES
def test_stacking_is_a_loop_over_runs_and_experts(changes):
    model, x = mixture(config(changes), seeds=(0, 1)), seen()
    noise = normal(2, 4, 9, 4, seed=2)
    terms = model(x, noise, HEAT)
    for run, k in itertools.product(range(2), range(4)):
        recon_log_prob, kl_z = plain.expert(model, run, k).terms(x[run], noise[run, k])
        torch.testing.assert_close(terms.recon_log_prob[run, k], recon_log_prob)
        torch.testing.assert_close(terms.kl_z[run, k], kl_z)
    for run, heat in enumerate(HEAT):
        q = distributions.Categorical(logits=plain.gate(model, run)(x[run]) / heat)
        torch.testing.assert_close(terms.gate_log_probs[run].T, q.logits)


@ARCHITECTURES
def test_sparse_terms_and_gradients_are_the_dense_ones_of_the_chosen_experts(changes):
    model, x = mixture(config(changes), seeds=(0, 1)), seen()
    noise = normal(2, 3, 9, 4, seed=2)
    uniform = torch.rand(2, 3, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sparse = model.sparse(x, noise, HEAT, drawn(uniform))
    dense = torch.stack(
        [
            model(x, noise[:, draw].unsqueeze(1).expand(-1, 4, -1, -1), HEAT)
            .expert_elbo.gather(1, sparse.chosen[:, draw].unsqueeze(1))
            .squeeze(1)
            for draw in range(3)
        ],
        1,
    )
    torch.testing.assert_close(sparse.expert_elbo, dense)
    learned, slopes = list(model.experts.parameters()), normal(2, 3, 9, seed=3)
    for found, expected in zip(
        torch.autograd.grad((sparse.expert_elbo * slopes).sum(), learned),
        torch.autograd.grad((dense * slopes).sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@ARCHITECTURES
@pytest.mark.parametrize("kind", [pytest.param("soft", marks=pytest.mark.slow), "sampled"])
def test_other_runs_change_no_bit(changes, kind):
    sizes = {"routing.kind": kind, "routing.num_sampled": 2, "train.batch_size": 16}
    base, data = config(changes | sizes, **{"train.epochs": 1}), images(train=64)
    runs = [override(base, {"seed": seed, "objective.balance_weight": 5.0 * seed}) for seed in range(3)]
    together = fit(runs, data).model
    for run, own in enumerate(runs):
        alone = fit([own], data).model
        assert same(weights(alone, 0), weights(together, run))
        assert evaluate(alone, [own], data)[0].metrics == evaluate(together, runs, data)[run].metrics


@ARCHITECTURES
@pytest.mark.parametrize("kind", ["soft", "sampled"])
def test_every_parameter_gets_a_gradient(changes, kind):
    run = config(changes | {"model.activation": "tanh", "routing.kind": kind, "routing.num_sampled": 3})
    training = Trainer([run], images(), CPU)
    training.step(0, next(training.batches.epoch()))
    for layer in training.model.modules():
        for name in getattr(layer, "shapes", ()):
            gradient = getattr(layer, f"_{name}").grad
            size = layer.unpadded(name)[0].numel()
            assert (gradient[0, :size] != 0).float().mean() > 0.9
            assert not gradient[0, size:].any()


@ARCHITECTURES
def test_renaming_experts_renames_their_terms(changes):
    model, x = mixture(config(changes), seeds=(0,)), seen(runs=1)
    order, noise = torch.tensor([2, 0, 3, 1]), normal(1, 4, 9, 4, seed=2)
    before = model(x, noise, HEAT[:1]).expert_elbo
    encoder = model.experts.encoder
    with torch.no_grad():
        for tensor in (encoder.first.weight, encoder.first.bias):
            by_expert = tensor.unflatten(-1, (4, encoder.width))
            tensor.copy_(by_expert[..., order, :].flatten(-2))
        for layer in (*encoder.rest.layers, *model.experts.decoder.layers):
            layer.weight.copy_(layer.weight[:, order].clone())
            layer.bias.copy_(layer.bias[:, order].clone())
    torch.testing.assert_close(model(x, noise[:, order], HEAT[:1]).expert_elbo, before[:, order])


@ARCHITECTURES
def test_one_expert_is_a_plain_vae(changes):
    run = config(changes | {"model.num_experts": 1})
    model, x, noise = mixture(run), seen(runs=1), normal(1, 1, 9, 4, seed=2)
    terms = model(x, noise, HEAT[:1])
    recon_log_prob, kl_z = plain.expert(model, 0, 0).terms(x[0], noise[0, 0])
    torch.testing.assert_close(terms.expert_elbo[0, 0], recon_log_prob - kl_z)
    assert not terms.gate_log_probs.any()


LIKELIHOODS = {
    f"{prior}, {network}": {
        "model.latent_prior": prior,
        "model.prior_components": 16,
        "model.likelihood": "autoregressive",
        "model.pixel_network": network,
        "model.pixel_layers": "shared",
        "model.encoder": "shared",
        "model.activation": "silu",
        "routing.kind": "sampled",
        "objective.bound": "iwae",
        "train.num_samples": 5,
    }
    for prior, network in [("vamp", "conv"), ("hierarchical", "made"), ("mixture", "window")]
}


@pytest.mark.parametrize("changes", [*NAMED.values(), *LIKELIHOODS.values()], ids=[*NAMED, *LIKELIHOODS])
def test_bfloat16_has_float32s_gradient_but_for_rounding(changes):
    gradients = []
    for precision in ("float32", "bfloat16"):
        training = Trainer([config(changes | {"train.precision": precision})], images(), CPU)
        training.step(0, next(training.batches.epoch()))
        # The temperature has none unless it is learned.
        found = [each.grad for each in training.model.parameters() if each.grad is not None]
        gradients.append(torch.cat([each.flatten() for each in found]))
    exact, short = gradients
    assert 0 < (short - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("hidden", [(), (3,), (4, 3, 2)])
def test_images_of_any_size_are_restored_in_their_size(size, network, hidden):
    run = config({"model.expert_network": network, "model.expert_hidden": hidden})
    model = mixture(override(run, {"model.gate_network": network, "model.gate_hidden": hidden}), size)
    pixels = size[0] * size[1]
    assert model.decode_prior_samples(normal(1, 4, 2, 4)).shape == (1, 4, 2, pixels)
    assert model.gate(normal(1, 2, pixels)).shape == (1, 4, 2)
    vae = plain.expert(model, 0, 1)
    x = normal(1, 2, pixels)
    torch.testing.assert_close(torch.cat(model.experts.encode(x), -1)[0, 1], vae.encoder(x[0]))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_patches_are_what_torch_unfolds_and_folds(size):
    pictures = normal(3, *size, 2)
    expected = functional.unfold(pictures.movedim(-1, 1), 3, padding=1, stride=2)  # [N, C 9, h w]
    patches = _gather(pictures)
    torch.testing.assert_close(patches.flatten(1, 2), expected.unflatten(1, (2, 9)).permute(0, 3, 2, 1))
    laid = normal(*patches.shape, seed=1)
    columns = laid.flatten(1, 2).permute(0, 3, 2, 1).flatten(1, 2)
    folded = functional.fold(columns, size, 3, padding=1, stride=2)
    torch.testing.assert_close(_scatter(laid, size).movedim(-1, 1), folded)
    assert torch.autograd.gradcheck(_Gather.apply, pictures.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_transposed_convolution_is_that_of_torch(size, monkeypatch):
    layer, (height, width) = TransposedConvolution((2, 2), size, 3, 5).double(), halved(size)
    with torch.no_grad():
        for number, weight in enumerate(layer.parameters()):
            weight.copy_(normal(*weight.shape, seed=number))
    ends = [4, 4, 5, 9]
    x = normal(9, height * width * 3, seed=7).requires_grad_()
    plain_x = x.detach().clone().requires_grad_()
    found, expected = layer.sparse(x, ends), []
    rows = zip(plain_x.split([4, 0, 1, 4]), layer.weight.flatten(0, 1), layer.bias.flatten(0, 1), strict=True)
    for own, weight, bias in rows:
        kernel = weight.view(3, 3, 3, 5).permute(0, 3, 1, 2)
        maps = own.view(-1, height, width, 3).permute(0, 3, 1, 2)
        extra = size[0] - 2 * height + 1, size[1] - 2 * width + 1
        whole = functional.conv_transpose2d(maps, kernel, bias, 2, 1, extra)
        expected.append(whole.permute(0, 2, 3, 1).flatten(1))
    torch.testing.assert_close(found, torch.cat(expected))
    slope = normal(*found.shape, seed=8)
    wanted = [x, *layer.parameters()]
    own = torch.autograd.grad(found, wanted, slope)
    theirs = torch.autograd.grad(torch.cat(expected), [plain_x, *wanted[1:]], slope)
    torch.testing.assert_close(own, theirs)
    dense = layer(x[:1].expand(2, 2, 1, -1)).flatten(0, 1)
    torch.testing.assert_close(dense, torch.stack([layer.sparse(x[:1], each) for each in ONE_GROUP]))

    def on_a_gpu(rows, _, kernels, biases, ends, padding):
        return layer._by_products(rows, torch.stack(kernels), torch.stack(biases), ends)

    monkeypatch.setattr("moevae.nn.conv.grouped_convolution", on_a_gpu)
    batched = layer.sparse(x, ends)
    torch.testing.assert_close(batched, found)
    torch.testing.assert_close(torch.autograd.grad(batched, wanted, slope), own)


def test_a_gate_of_convolutions_is_normalized_channel_by_channel():
    changes = {"model.gate_normalization": "batch", "model.gate_network": "conv", "model.gate_hidden": (4, 3)}
    model, x = mixture(config(changes), seeds=(0, 1)), seen()
    with batch_statistics(model, update=True):
        found = model.gate(x)
    for run in range(2):
        torch.testing.assert_close(found[run].T, plain.gate(model, run).train()(x[run]))


def test_counts_are_those_of_torchs_own_layers():
    for changes in NAMED.values():
        model = mixture(config(changes))
        vaes = [plain.expert(model, 0, k) for k in range(4)]
        each = sum(weight.numel() for weight in vaes[0].parameters())
        common = sum(
            weight.numel()
            for layer in model.experts.encoder.trunk.layers
            for weight in (layer.weight[0], layer.bias[0])
        )
        assert count_parameters(model.experts) == 4 * (each - common) + common
        gate = sum(weight.numel() for weight in plain.gate(model, 0).parameters())
        assert count_parameters(model.gate) == gate


def test_kernels_start_glorot_uniform():
    sizes = ModelConfig(expert_network="conv", expert_hidden=(32, 64), gate_hidden=())
    model = Mixture(sizes, (28, 28), (0,))
    for layer, inputs, outputs in (
        (model.experts.encoder.first, 1, 32),
        (model.experts.encoder.rest.layers[0], 32, 64),
        (model.experts.decoder.layers[1], 64, 32),
        (model.experts.decoder.layers[2], 32, 1),
    ):
        bound = (6 / (9 * (inputs + outputs))) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def test_products_of_a_plan_by_hand():
    sizes = ModelConfig(expert_network="conv", expert_hidden=(2, 3), latent_dim=5)
    assert [each.products for each in architecture.encoder(sizes, (5, 6))] == [
        9 * 9 * 2,
        4 * 9 * 2 * 3,
        12 * 10,
    ]
    assert [each.products for each in architecture.decoder(sizes, (5, 6))] == [
        5 * 12,
        4 * 9 * 3 * 2,
        9 * 9 * 2,
    ]
