"""Evaluation of a trained population on a split: bounds in nats per image, and statistics of the gates."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.binarization import target_images, to_float
from moevae.data.datasets import Images, check_images
from moevae.distributions import kl_categorical
from moevae.errors import DataError
from moevae.evaluation import memory as budget
from moevae.evaluation.iwae import iwae_bounds
from moevae.evaluation.log_weights import BLOCK, SAMPLE_CHUNK
from moevae.evaluation.marginal import marginal_bounds, marginal_samples
from moevae.evaluation.results import SPLITS, Evaluation, Split, evaluation_of
from moevae.models.mixture import Mixture, MixtureTerms
from moevae.objectives.bounds import log_joint, map_elbo, mixture_elbo
from moevae.objectives.load_balancing import log_priors
from moevae.training.checks import check_assignments, check_population
from moevae.training.mixed_precision import in_precision
from moevae.training.schedules import temperatures
from moevae.utils import devices
from moevae.utils.rng import RunGenerators

ELBO_TERMS = ("recon_log_prob", "kl_z")
"""Metrics that are also reported by expert."""


@torch.no_grad()
@devices.cpu_settings()
def evaluate(
    model: Mixture,
    configs: Sequence[RunConfig],
    images: Images,
    split: Split = "test",
    *,
    chunk: int = 1024,
    memory: int | None = None,
    assignments: Tensor | None = None,
    importance: bool = True,
    on_images: Callable[[int, int], None] | None = None,
) -> list[Evaluation]:
    """Evaluate each run on a split. The noise has its own random stream, so that results are reproducible.

    All kinds of routing are evaluated by the same bounds. The probabilities of the gate weight the experts,
    and `map_elbo` is the bound of a one-hot gate. `recon_log_prob` and `kl_z` are averages over the experts,
    weighted by the gate. `marginal_kl` is KL(q_bar || pi). The expectation over z is the mean of
    `evaluation.num_samples` draws.

    `marginal_elbo` is log sum_k pi_k exp(ELBO_k), the bound with the expert index marginalized. `gate_gap` is
    KL(q || r), its difference from the mixture ELBO. The log-sum-exp of noisy ELBOs is biased upwards;
    therefore both are estimated from `marginal_samples` separate draws, with a bias correction. See
    `moevae.evaluation.marginal.marginal_bound`.

    Binarized pixels are sampled once, by `data.split_seed`. With `data.binarization = static`, training uses
    the same kind of images, as for the statically binarized MNIST of the literature. The sample differs from
    the file of Larochelle and Murray (2011), so that results are comparable on average, but not per image.
    With `dynamic`, training sees many samples, which reduces overfitting; it is a different protocol.

    Args:
        model: the trained population.
        configs: its configurations, one per run.
        images: the data set.
        split: the split to evaluate.
        chunk: number of images per forward pass, rounded up to whole blocks. It affects memory, but no
            number. If the memory of the device is too small, the chunk is halved, with a warning.
        memory: memory limit for one forward pass, in bytes; see `moevae.evaluation.memory.image_bytes`. The
            chunk is reduced as needed; if that is not enough, the runs are evaluated one after the other.
            None sets no limit.
        assignments: expert of each image of the split, [R, N] int64; they replace the gate. None uses it.
        importance: whether to compute the bounds that need many samples: `marginal_elbo`, `gate_gap`, and
            `iwae_bound` if `evaluation.iwae_samples` is not 0.
        on_images: called during the computation of `iwae_bound` with the number of images so far and of all,
            over all runs.

    Returns:
        One evaluation per run, in order.

    Raises:
        DataError: the split is empty.
        ConfigError: the memory limit is below the memory of one block of images.
        TypeError: `configs` is not a list of configurations, or `images` are not `Images`.
        ValueError: the number of configurations is not that of the runs, there is no such split, or the
            assignments have another shape or invalid values.

    Examples:
        >>> import moevae
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
        >>> images = moevae.load_images(config.data)
        >>> fit = moevae.fit([config], images)
        >>> (evaluation,) = moevae.evaluate(fit.model, fit.configs, images, "validation")
        >>> evaluation.metrics["mixture_elbo"] < 0
        True
    """
    check_population(configs)
    check_images(images)
    if len(configs) != len(model.seeds):
        raise ValueError(f"{len(configs)} configs for a model of {len(model.seeds)} runs; expected as many")
    if split not in SPLITS:
        raise ValueError(f"split = {split!r}; expected one of {', '.join(SPLITS)}")
    pixels: Tensor = getattr(images, split)
    if not len(pixels):
        raise DataError(f"{images.name}: the {split} split has no images")
    if assignments is not None:
        check_assignments(assignments, (len(configs), len(pixels)), model.config.num_experts)
    step = math.ceil(chunk / BLOCK) * BLOCK
    if memory is not None:
        fit = budget.images(memory, configs[0], model.size) // len(configs) // BLOCK * BLOCK
        if not fit:
            return [
                evaluate(
                    model.select_run(run),
                    [config],
                    images,
                    split,
                    chunk=chunk,
                    memory=memory,
                    assignments=None if assignments is None else assignments[run : run + 1],
                    importance=importance,
                    on_images=on_images,
                )[0]
                for run, config in enumerate(configs)
            ]
        step = min(step, fit)
    while True:
        try:
            return _evaluate(model, configs, pixels, split, step, assignments, importance, on_images)
        except torch.OutOfMemoryError:
            if step == BLOCK:
                raise
            smaller = math.ceil(step / 2 / BLOCK) * BLOCK
            warnings.warn(
                f"{step} images do not fit in memory together; evaluating {smaller} at a time", stacklevel=2
            )
            step = smaller


def _evaluate(
    model: Mixture,
    configs: Sequence[RunConfig],
    images: Tensor,
    split: Split,
    step: int,
    assignments: Tensor | None,
    importance: bool,
    on_images: Callable[[int, int], None] | None,
) -> list[Evaluation]:
    """Evaluate each run on stored images, [N, D], `step` images at a time."""
    stored = images.to(model.device)
    seen = target_images(images, configs[0].data, split).to(model.device)
    temperature = temperatures(configs, 1.0, model.gate)
    log_prior = log_priors(configs, model.config.num_experts).to(next(model.parameters()))
    noise = RunGenerators([config.seed for config in configs], f"evaluation of {split}", model.device)
    parts: dict[str, list[Tensor]] = defaultdict(list)
    samples = configs[0].evaluation.num_samples
    width = step if samples <= SAMPLE_CHUNK else BLOCK  # so that the noise of an image is drawn contiguously
    fixed = itertools.repeat(None) if assignments is None else assignments.to(model.device).split(width, 1)
    for x, kept, chosen in zip(seen.split(width), stored.split(width), fixed, strict=False):
        shape = len(configs), *x.shape  # [R, B, D]
        views = x.expand(shape), to_float(kept).expand(shape)
        terms = _sampled_terms(model, views, noise, temperature, samples)
        terms = terms if chosen is None else terms.assigned(chosen)
        for name, value in _per_image(terms, log_prior).items():
            parts[name].append(value)
    log_probs = torch.cat(parts.pop("gate_log_probs"), -1)  # [R, K, N]
    posterior_assignments = torch.cat(parts.pop("posterior_assignments"), -1).cpu().numpy()  # [R, N]
    elbo_terms = {
        name: torch.cat(parts.pop(f"expert_{name}"), -1).double().mean(-1) for name in ELBO_TERMS
    }  # [R, K]
    joint = torch.cat(parts.pop("log_joint"), -1)  # [R, K, N]
    means = {name: torch.cat(values, -1).double().mean(-1) for name, values in parts.items()}  # [R]
    means["temperature"] = temperature
    if importance:
        room = step * len(configs) * joint.shape[1]
        means |= _sampled_bounds(model, configs, seen, joint, log_probs, log_prior, split, room, on_images)
    return [
        evaluation_of(
            log_probs[run],
            log_prior[run],
            posterior_assignments[run],
            {name: float(mean[run]) for name, mean in means.items()},
            {name: values[run].cpu().numpy() for name, values in elbo_terms.items()},
        )
        for run in range(len(configs))
    ]


def _sampled_bounds(
    model: Mixture,
    configs: Sequence[RunConfig],
    seen: Tensor,
    joint: Tensor,
    log_probs: Tensor,
    log_prior: Tensor,
    split: Split,
    room: int,
    on_images: Callable[[int, int], None] | None,
) -> dict[str, Tensor]:
    """Return the bounds that need many samples of z, [R] each; joint and log_probs [R, K, N]."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    counts = [len(seen[: config.evaluation.iwae_images]) for config in configs]
    for run, config in enumerate(configs):
        experts, prior = model.select_run(run).experts, log_prior[run]
        kept = slice(config.evaluation.marginal_images)
        marginal = marginal_bounds(experts, config, seen[kept], log_probs[run][:, kept], prior, split, room)
        found["marginal_elbo"].append(marginal.bound.mean())
        found["gate_gap"].append(marginal.gap.mean())
        found["marginal_samples"].append(torch.tensor(float(marginal_samples(config))))
        if config.evaluation.iwae_samples:
            # Of many samples: by one sample, some images would have the wrong expert.
            likely = joint[run].to(torch.float64, copy=True)
            likely[:, kept] = marginal.log_joint
            networks = in_precision(experts, config.evaluation.iwae_precision)
            note = partial(_note, on_images, sum(counts[:run]), sum(counts)) if on_images else None
            weighed = iwae_bounds(networks, config, seen, likely, prior, split, room, note)
            for name, value in weighed.metrics().items():
                found[name].append(value)
    return {name: torch.stack(values) for name, values in found.items()}


def _note(on_images: Callable[[int, int], None], before: int, total: int, count: int) -> None:
    """Report images of one run, after those of the runs before it."""
    on_images(before + count, total)


def _sampled_terms(
    model: Mixture, views: tuple[Tensor, Tensor], noise: RunGenerators, temperature: Tensor, samples: int
) -> MixtureTerms:
    """Return the terms of a batch, with the reconstruction averaged over the samples of z."""
    x, grayscale = views
    shape = (model.config.num_experts, BLOCK, model.latent_size)
    total = kl_z = torch.zeros((), device=x.device)
    for start in range(0, samples, SAMPLE_CHUNK):
        count = min(SAMPLE_CHUNK, samples - start)
        blocks = [noise.normal(count, *shape) for _ in range(0, x.shape[1], BLOCK)]
        draws = torch.cat(blocks, dim=3)[:, :, :, : x.shape[1]]  # [R, S, K, B, Z]
        recon = []
        for draw in draws.unbind(1):
            terms = model(x, draw, temperature, grayscale)
            recon.append(terms.recon_log_prob)
            kl_z = kl_z + terms.kl_z
        total = total + torch.stack(recon).sum(0)
    learned = model.experts.latent_prior is not None  # then kl_z is an estimate, too
    return MixtureTerms(terms.gate_log_probs, total / samples, kl_z / samples if learned else terms.kl_z)


def _per_image(terms: MixtureTerms, log_prior: Tensor) -> dict[str, Tensor]:
    """Return each quantity per image, [R, B], or per expert and image, [R, K, B]; log_prior [R, K]."""
    log_q = terms.gate_log_probs
    q = log_q.exp()
    joint = log_joint(terms.expert_elbo, log_prior)
    return {
        "gate_log_probs": log_q,
        "log_joint": joint,
        "posterior_assignments": joint.argmax(1),
        "expert_recon_log_prob": q * terms.recon_log_prob,
        "expert_kl_z": q * terms.kl_z,
        "mixture_elbo": mixture_elbo(terms.expert_elbo, log_q, log_prior),
        "map_elbo": map_elbo(terms.expert_elbo, log_q.argmax(1), log_prior),
        "recon_log_prob": (q * terms.recon_log_prob).sum(1),
        "kl_z": (q * terms.kl_z).sum(1),
        "kl_gate": kl_categorical(log_q.transpose(1, 2), log_prior.unsqueeze(1)),
    }
