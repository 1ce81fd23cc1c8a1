"""Metrics of a run on one split, as reports key them; the catalogue is `moevae.evaluation.metrics`."""

from __future__ import annotations

from dataclasses import dataclass

from moevae.config.registry import METRICS
from moevae.evaluation.metrics import Metric, Page

SCIENTIFIC_ABOVE = 1e7
"""Numbers from this size on are shown in scientific notation."""

RETIRED = frozenset({"tight_elbo", "amortization_gap"})
"""Metrics of older records that are not shown: computed from one sample of z, they are not bounds."""

MARGINAL_SAMPLES = "test.marginal_samples"
"""Number of samples of z per image and expert for the marginal ELBO and the gate gap."""


@dataclass(frozen=True)
class Measure(Metric):
    """One number of a run, with its key: `split.metric`, `load.*`, `throughput.*` or `seconds.*`."""

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float) -> str:
        """Return the number as text; a dash for NaN."""
        if value != value:
            return "–"
        return f"{value:.2e}" if abs(value) >= SCIENTIFIC_ABOVE else f"{value:z,.{self.digits}f}"


def measure(name: str, split: str = "test") -> Measure:
    """Return a metric of the catalogue as a measure of a split.

    Args:
        name: name of the metric.
        split: name of the split.
    """
    metric = METRICS[name]
    return Measure(**{**vars(metric), "key": metric.key or f"{split}.{name}"})


def shown_on(*pages: Page) -> tuple[Measure, ...]:
    """Return the metrics of each page, on the test split, in the order of the catalogue.

    Args:
        *pages: parts of the report.
    """
    return tuple(measure(name) for page in pages for name in METRICS if page in METRICS[name].pages)


NMI, ARI, ACC = measure("nmi"), measure("ari"), measure("acc")
ECE, BRIER = measure("ece"), measure("brier")
ELBO, MARGINAL, IWAE = measure("mixture_elbo"), measure("marginal_elbo"), measure("iwae_bound")
RISING = tuple(measure(f"iwae_bound{name}") for name in ("_hundredth", "_tenth", ""))
"""The IWAE bound from a hundredth, a tenth and all of its samples."""
ESS, ESS_TAIL = measure("iwae_ess"), measure("iwae_ess_tail")
DISTANCES = tuple(measure(f"{of}_distance{end}") for end in ("", "_lowest") for of in ("sample", "test"))
"""Distances of samples and of test images from the nearest training images."""
RECONSTRUCTION, KL_Z = measure("recon_log_prob"), measure("kl_z")
MARGINAL_KL = measure("marginal_kl")
EFFECTIVE, DEAD = measure("effective_experts"), measure("dead_experts")
SPEED = measure("throughput")
