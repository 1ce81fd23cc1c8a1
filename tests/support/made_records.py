"""Makers of records, by configuration: complete, failed, missing, or without some of their numbers."""

from __future__ import annotations

import numpy as np

from moevae.config.schema import RunConfig
from studies.testing import synthetic


def bare(config: RunConfig):
    return synthetic.record(config, pictures=False)


def same(config: RunConfig):
    return synthetic.record(
        config, pictures=False, metrics={"mixture_elbo": -20.0, "nmi": 0.5, "dead_experts": 1.0}
    )


def unlabeled(config: RunConfig):
    return synthetic.record(config, labels=False)


def one_class_missing(config: RunConfig):
    tree, files = bare(config)
    counts = np.array(tree["confusion"]["counts"])
    counts[:, 3] = 0
    tree["confusion"]["counts"] = counts.tolist()
    return tree, files


def bounded(config: RunConfig):
    tree, files = bare(config)
    test = tree["metrics"]["test"]
    test["iwae_bound"] = test["marginal_elbo"] + 0.1
    return tree, files


def whole_data(config: RunConfig):
    tree, files = bare(config)
    tree["metrics"]["test"] |= {"all_acc": 0.912, "all_nmi": 0.834, "all_images": 70000.0}
    return tree, files


def one_sample(config: RunConfig):
    """As records were written when the marginal bound was of one sample, and not a bound."""
    tree, files = bare(config)
    for part in tree["metrics"].values():
        part["tight_elbo"], part["amortization_gap"] = part.pop("marginal_elbo"), part.pop("gate_gap")
        del part["marginal_samples"]
    return tree, files


def without_elbo_terms(config: RunConfig):
    tree, files = bare(config)
    for part in tree["metrics"].values():
        del part["gate_gap"], part["marginal_kl"]
    return {**tree, "elbo_terms": {}}, files


def some_bounded(config: RunConfig):
    return (bounded if config.routing.kind == "hard" else without_elbo_terms)(config)


def lost_cell(config: RunConfig):
    return None if config.routing.kind == "hard" else bare(config)


def nothing(config: RunConfig) -> None:
    return None


def all_failed(config: RunConfig):
    return synthetic.failed(config), {}


def older_and_newer(config: RunConfig):
    tree, files = bare(config)
    return {**tree, "schema_version": config.seed % 2}, files
