"""The catalogue of metrics: label, unit and direction of each number of a run.

Tables, figures, searches and the dashboard use it. An entry of your own needs `compute`; it then appears in
the metrics of every run, and on the pages in `pages`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from moevae.config.registry import METRICS

if TYPE_CHECKING:
    from moevae.evaluation.results import Evaluation

Page = Literal["leading", "routing", "decomposition", "bounds", "diagnostics"]
"""Where reports show a metric: the main table, the use of experts, the ELBO decomposition, other bounds, and
further columns of `table.csv`."""


@dataclass(frozen=True)
class Metric:
    """One number of a run, and its presentation."""

    label: str
    unit: str = ""
    better: Literal[1, -1, 0] = 1
    """1: higher is better; -1: lower is better; 0: neither."""
    digits: int = 3
    """Decimal places in tables."""
    ends: tuple[float, float] = (-math.inf, math.inf)
    """Lower and upper limit of its values."""
    pages: tuple[Page, ...] = ()
    key: str = ""
    """Key among the numbers of a report, if it is not a metric of a split: `load.*` or `throughput.*`."""
    scale: str = ""
    """Unit or range on a terminal; empty if it is not shown there."""
    nats: bool = False
    """Whether it is a bound on the likelihood, comparable only between cells of the same likelihood."""
    spread: bool = True
    """Whether it varies between the seeds of a population, unlike the training speed."""
    labels: bool = False
    """Whether it uses labels."""
    compute: Callable[[Evaluation], float] | None = None
    """Computes it from the evaluation of a split; None for a metric that the evaluation has already."""


_POSITIVE = (0.0, math.inf)
_SHARE = (0.0, 1.0)
_IMAGE = "nats/image"


def _distance(label: str) -> Metric:
    """Return a metric of distances from the nearest training image."""
    return Metric(label, "pixels", better=0, digits=1, ends=_POSITIVE, pages=("diagnostics",), scale="pixels")


# Pages show metrics in this order.
METRICS.register("nmi")(
    Metric("NMI", ends=_SHARE, pages=("leading",), scale="0 to 1", labels=True),
)
METRICS.register("ari")(
    Metric("ARI", ends=(-1.0, 1.0), pages=("leading",), scale="up to 1", labels=True),
)
METRICS.register("acc")(
    Metric("ACC", ends=_SHARE, pages=("leading",), scale="0 to 1", labels=True),
)
METRICS.register("all_nmi")(
    Metric("NMI of all images", ends=_SHARE, pages=("leading",), scale="0 to 1", labels=True),
)
METRICS.register("all_acc")(
    Metric("ACC of all images", ends=_SHARE, pages=("leading",), scale="0 to 1", labels=True),
)
METRICS.register("mixture_elbo")(
    Metric("ELBO", "nats", digits=2, pages=("leading", "decomposition"), scale=_IMAGE, nats=True),
)
METRICS.register("iwae_bound")(
    Metric("IWAE bound", "nats", digits=2, pages=("leading", "bounds"), scale=_IMAGE, nats=True),
)
METRICS.register("throughput")(
    Metric(
        "training speed",
        "images/s",
        digits=0,
        pages=("leading",),
        key="throughput.train",
        spread=False,
    )
)
METRICS.register("ece")(
    Metric("ECE", better=-1, ends=_SHARE, pages=("diagnostics",), scale="0 to 1", labels=True),
)
METRICS.register("brier")(
    Metric("Brier", better=-1, ends=(0.0, 2.0), pages=("diagnostics",), scale="0 to 2", labels=True),
)
METRICS.register("marginal_elbo")(
    Metric("marginal ELBO", "nats", digits=2, pages=("bounds", "diagnostics"), scale=_IMAGE, nats=True),
)
METRICS.register("gate_gap")(
    Metric("gate gap", "nats", better=-1, pages=("bounds", "diagnostics"), scale=_IMAGE),
)
for _name, _share in {"hundredth": "S/100", "tenth": "S/10"}.items():
    METRICS.register(f"iwae_bound_{_name}")(
        Metric(f"IWAE bound, {_share}", "nats", digits=2, pages=("diagnostics",), scale=_IMAGE, nats=True),
    )
METRICS.register("iwae_ess")(
    Metric("IWAE effective samples", digits=1, ends=(1.0, math.inf), pages=("diagnostics",), scale="samples"),
)
METRICS.register("iwae_ess_tail")(
    Metric(
        "IWAE effective samples, lowest 1 %",
        digits=1,
        ends=(1.0, math.inf),
        pages=("diagnostics",),
        scale="samples",
    ),
)
METRICS.register("sample_distance")(_distance("median distance of samples"))
METRICS.register("test_distance")(_distance("median distance of test images"))
METRICS.register("sample_distance_lowest")(_distance("lowest distance of samples"))
METRICS.register("test_distance_lowest")(_distance("lowest distance of test images"))
METRICS.register("map_elbo")(
    Metric("hard ELBO", "nats", digits=2, scale=_IMAGE, nats=True),
)
METRICS.register("recon_log_prob")(
    Metric(
        "reconstruction", "nats", digits=2, pages=("decomposition", "diagnostics"), scale=_IMAGE, nats=True
    ),
)
METRICS.register("kl_z")(
    Metric(
        "kl_z",
        "nats",
        better=0,
        digits=2,
        ends=_POSITIVE,
        pages=("decomposition", "diagnostics"),
        scale=_IMAGE,
    ),
)
METRICS.register("kl_gate")(
    Metric("kl_gate", "nats", better=0, ends=_POSITIVE, pages=("diagnostics",), scale=_IMAGE),
)
METRICS.register("temperature")(
    Metric("gate temperature", better=0, ends=_POSITIVE, scale="above 0"),
)
METRICS.register("posterior_nmi")(
    Metric("NMI of the posterior", ends=_SHARE, pages=("routing",), scale="0 to 1", labels=True),
)
METRICS.register("posterior_acc")(
    Metric("ACC of the posterior", ends=_SHARE, pages=("routing",), scale="0 to 1", labels=True),
)
METRICS.register("effective_experts")(
    Metric(
        "effective experts", better=0, digits=2, ends=(1.0, math.inf), pages=("routing",), scale="experts"
    ),
)
METRICS.register("dead_experts")(
    Metric("dead experts", better=-1, digits=2, ends=_POSITIVE, pages=("routing",), scale="experts"),
)
METRICS.register("revived_experts")(
    Metric("revived experts", better=0, digits=2, ends=_POSITIVE, pages=("routing",), scale="experts"),
)
METRICS.register("largest_load")(
    Metric("largest load", better=0, ends=_SHARE, pages=("routing",), key="load.largest"),
)
METRICS.register("load_entropy")(
    Metric("load entropy", "nats", better=0, ends=_POSITIVE, pages=("routing",), key="load.entropy"),
)
METRICS.register("mutual_information")(
    Metric(
        "mutual information",
        "nats",
        better=0,
        ends=_POSITIVE,
        pages=("routing", "decomposition"),
        scale="nats",
    ),
)
METRICS.register("marginal_kl")(
    Metric(
        "marginal_kl",
        "nats",
        better=0,
        ends=_POSITIVE,
        pages=("decomposition", "diagnostics"),
        scale="nats",
    ),
)
