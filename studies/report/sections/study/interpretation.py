"""Section: how to read the numbers."""

from __future__ import annotations

import numpy as np

from studies.analysis.study import Study
from studies.report.page import Page
from studies.statistics import paired, permutations, stats


def interpretation(study: Study, page: Page) -> None:
    """Explain the terms, metrics, intervals and tests of the page."""
    n = len(study.seeds)
    exact = f"exact up to {paired.MAX_EXACT_PAIRS} pairs" if n > paired.MAX_EXACT_PAIRS else "exact"
    least = f"with n = {n} it is at least {paired.smallest_p(n):.2g}" if n > 1 else "one pair has no p"
    fewest = min((len(baseline.runs) for baseline in study.baselines), default=n)
    if 1 < fewest < n:
        least += f", and for a baseline of n = {fewest} at least {paired.smallest_p(fewest):.2g}"
    labels = (
        "training uses no labels, but labels of the validation split selected these cells (oracle)"
        if study.oracle
        else "training and the selection of runs use no labels"
    )
    points = (
        "A run is a configuration with a seed. A cell is a configuration without a seed. An axis is a "
        "setting that varies between cells, and its values are levels. The reference cell is the cell that "
        "others are compared with. Baselines are other methods.",
        _terms(study),
        "Metrics refer to the test split unless stated otherwise. NMI, ARI and ACC (one-to-one, Hungarian) "
        f"compare cluster assignments with labels; {labels}.",
        "ECE and Brier measure the calibration of the gate; lower is better. Experts are matched with "
        "classes on one half of the split and scored on the other. data.split_seed determines the halves, "
        "and the matching is part of the metric.",
        "ELBO is the mixture bound on log p(x), in nats per image; higher is better. Training speed is the "
        "speed of the population in which a run was trained.",
        "Failed and missing runs reduce n and are listed. No value is imputed.",
        "`mean ± standard deviation [interval]`: the standard deviation has ddof = 1. The interval is "
        "Student's 95 % interval of the mean over seeds, in the summary, tables and figures; there is none "
        f"where n = 1 or all runs have the same value{_coverage(n)}. Intervals of differences in tables are "
        "not simultaneous. The sign † marks a cell with an outlier among its runs, by the modified z-score "
        "(Iglewicz and Hoaglin, 1993).",
        "Sentences of the summary use adjusted p-values: the share of permutations of the cells within each "
        "seed whose largest statistic reaches the observed one (max-T, Westfall & Young 1993; all "
        f"permutations or {permutations.MAX_PERMUTATIONS:,} random ones). If cells have the same "
        "distribution, whatever "
        "it is, each of the following families has a false sentence with probability at most 5 %: the best "
        "cell (compared with the best of the sample, as in Hsu 1984; over cells and measures), each axis "
        "(compared with a reference level, as in Dunnett 1955; over levels and measures), interactions "
        "(which must also pass F tests with Bonferroni's correction; over pairs and measures), and selection "
        "without labels (sign flips; over cells and rules). A cell is compared with the best among all cells "
        "and among those with the highest means, and the largest p counts. The rate is approximate if cells "
        "tied for the best differ in spread, above all if n is small. The statistic divides a difference by "
        "the larger of its own standard error and that of all cells pooled: cells whose runs vary widely, "
        "such as cells that diverge, can hide the differences of others, which p (Holm) in a table may show. "
        "Cells that do not differ significantly are not necessarily equal.",
        "p: two-sided sign-flip permutation test of the paired differences over shared seeds, "
        f"{exact}; {least}. p (Holm) is corrected for all rows of a table.",
        "P(better): probability that a run of this row is better than a run of the reference, where a tie "
        "counts half. Effect g: difference in units of the standard deviation of runs (Hedges). Detectable: "
        "the minimum detectable effect, which is the smallest true difference of normal pairs of this spread "
        "that "
        'p (Holm) shows at 0.05 with probability 0.8 if no other row of the table differs; "none at this n" '
        "if no difference can be shown.",
    )
    page.head("How to read the numbers")
    page.add("\n".join(f"- {point}" for point in (*points, *_of_all_images(study)) if point))


def _of_all_images(study: Study) -> tuple[str, ...]:
    """Return the number of images behind the scores of all images, if there are such scores."""
    values = study.matrix("test.all_images")
    counts = np.unique(values[np.isfinite(values)]).astype(int)
    if not counts.size:
        return ()
    return (
        "NMI and ACC of all images refer to the training, validation and test images together: "
        f"{' or '.join(f'{count:,}' for count in counts)} images, as in the literature of clustering. "
        "Labels are used for scoring only.",
    )


TERMS = {
    "test.acc": "ACC: share of images whose expert is matched with their class, by the best one-to-one "
    "matching (0 to 1)",
    "test.nmi": "NMI: mutual information of experts and classes, divided by the mean of their entropies "
    "(0 to 1)",
    "test.ari": "ARI: agreement of experts and classes over pairs of images; 0 on average for random "
    "clusters, 1 for equal ones",
    "test.mixture_elbo": "ELBO: a lower bound on log p(x)",
    "test.iwae_bound": "IWAE bound: a tighter one, from several samples of z",
    "test.effective_experts": "effective experts: exp of the entropy of their shares of images; K if the "
    "shares are equal",
    "test.dead_experts": "dead experts: those with less than a tenth of an equal share of images",
    "test.ece": "ECE: mean difference between confidence and accuracy",
}
"""Definitions by the key of the measure; the glossary of the documentation has the same terms."""


def _terms(study: Study) -> str:
    """Return the definitions of the measures that the study has."""
    found = [words for key, words in TERMS.items() if key in study.keys]
    return f"{'; '.join(found)}. The glossary, docs/reference/glossary.md, has more terms." if found else ""


def _coverage(n: int) -> str:
    """Return the simulated coverage of the interval of n runs as text, or ""."""
    if n < 2:
        return ""
    known = stats.simulated(n)
    skewed, collapsing = stats.COVERAGE[known]
    return (
        f". At n = {known} its simulated coverage is 95 % for normal values, {100 * skewed:.0f} % for "
        f"exponential (skewed) values, and {100 * collapsing:.0f} % for values of which one in five collapses"
    )
