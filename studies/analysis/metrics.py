"""Measures of a run: keys, labels, units and directions, shared by tables and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """One number of a run and its presentation."""

    key: str
    """Key among the metrics of a run: `split.metric`, `load.*`, `throughput.*` or `seconds.*`."""
    label: str
    unit: str = ""
    better: Literal[1, -1, 0] = 1
    """1: higher is better; -1: lower is better; 0: neither."""
    digits: int = 3
    """Decimal places in tables."""
    spread: bool = True
    """Whether it varies between seeds; all runs of a population have the same speed."""
    nats: bool = False
    """Whether it is a bound on the likelihood, comparable only between cells of the same likelihood."""
    ends: tuple[float, float] = (-math.inf, math.inf)
    """Lower and upper limit of its values."""

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float) -> str:
        """Return the number as text; a dash for NaN."""
        if value != value:
            return "–"
        return f"{value:.2e}" if abs(value) >= HUGE else f"{value:z,.{self.digits}f}"


HUGE = 1e7
"""Numbers from this size on are shown in scientific notation."""

NMI = Measure("test.nmi", "NMI", ends=(0.0, 1.0))
ARI = Measure("test.ari", "ARI", ends=(-1.0, 1.0))
ACC = Measure("test.acc", "ACC", ends=(0.0, 1.0))
ECE = Measure("test.ece", "ECE", better=-1, ends=(0.0, 1.0))
BRIER = Measure("test.brier", "Brier", better=-1, ends=(0.0, 2.0))
ELBO = Measure("test.mixture_elbo", "ELBO", "nats", digits=2, nats=True)
MARGINAL = Measure("test.marginal_elbo", "marginal ELBO", "nats", digits=2, nats=True)
IWAE = Measure("test.iwae_bound", "IWAE bound", "nats", digits=2, nats=True)
GAP = Measure("test.gate_gap", "gate gap", "nats", better=-1)
RECONSTRUCTION = Measure("test.recon_log_prob", "reconstruction", "nats", digits=2, nats=True)
KL_Z = Measure("test.kl_z", "kl_z", "nats", better=0, digits=2, ends=(0.0, math.inf))
KL_GATE = Measure("test.kl_gate", "kl_gate", "nats", better=0, ends=(0.0, math.inf))
MUTUAL_INFORMATION = Measure(
    "test.mutual_information", "mutual information", "nats", better=0, ends=(0.0, math.inf)
)
EFFECTIVE = Measure("test.effective_experts", "effective experts", better=0, digits=2, ends=(1.0, math.inf))
MARGINAL_KL = Measure("test.marginal_kl", "marginal_kl", "nats", better=0, ends=(0.0, math.inf))
DEAD = Measure("test.dead_experts", "dead experts", better=-1, digits=2, ends=(0.0, math.inf))
LARGEST = Measure("load.largest", "largest load", better=0, ends=(0.0, 1.0))
ENTROPY = Measure("load.entropy", "load entropy", "nats", better=0, ends=(0.0, math.inf))
SPEED = Measure("throughput.train", "training speed", "images/s", digits=0, spread=False)

LEADING = (NMI, ARI, ACC, ELBO, SPEED)
"""The columns of the main table."""

ROUTING = (EFFECTIVE, DEAD, LARGEST, ENTROPY, MUTUAL_INFORMATION)
"""Use of the experts and information of the gate."""

ELBO_TERMS = (ELBO, RECONSTRUCTION, KL_Z, MUTUAL_INFORMATION, MARGINAL_KL)
"""The mixture ELBO and its terms."""

BOUNDS = (MARGINAL, GAP, IWAE)
"""Other bounds on log p(x), and the gap between the marginal ELBO and the mixture ELBO."""

MARGINAL_SAMPLES = "test.marginal_samples"
"""Number of samples of z per image and expert for the marginal ELBO and the gate gap."""

RETIRED = frozenset({"tight_elbo", "amortization_gap"})
"""Metrics of older records that are not shown: computed from one sample of z, they are not bounds."""

DIAGNOSTICS = (ECE, BRIER, *BOUNDS, RECONSTRUCTION, KL_Z, KL_GATE, MARGINAL_KL, *ROUTING)
"""Further columns of `table.csv`."""
