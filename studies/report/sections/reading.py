"""Section: how to read the numbers."""

from __future__ import annotations

from studies.analysis import paired, simultaneous, stats
from studies.analysis.study import Study
from studies.report.page import Page


def reading(study: Study, page: Page) -> None:
    """How the numbers were made, and what so many seeds can show."""
    n = len(study.seeds)
    exact = f"exact up to {paired.EXACT} pairs" if n > paired.EXACT else "exact"
    least = f"with n = {n} it cannot fall below {paired.smallest_p(n):.2g}" if n > 1 else "one pair has none"
    sight = (
        "training never sees labels, but labels of the validation split chose these cells (oracle)"
        if study.oracle
        else "training and the choice of runs never see labels"
    )
    points = (
        "All numbers are of the test split, unless they say validation. NMI, ARI and ACC (one-to-one, "
        f"Hungarian) compare assignments with labels; {sight}.",
        "ECE and Brier: the gate's calibration, experts matched with classes on one half of the split and "
        "scored on the other; the halves are fixed by data.split_seed, the matching is part of the metric. "
        "Lower is better.",
        "ELBO is the mixture bound on log p(x), in nats per image: higher is better. Training speed is that "
        "of the whole population that a run trained in.",
        "A run that failed or is missing lowers n and is listed; nothing is put in its place.",
        "`mean ± standard deviation [interval]`: ddof = 1. The interval is Student's 95 % interval of the "
        "mean over seeds, the same in summary, tables and figures, left out where n = 1 or all runs agree"
        f"{_coverage(n)}. Intervals of differences in tables hold one at a time.",
        "Sentences of the summary rest on adjusted p: the share of rearrangements of the cells within each "
        "seed whose largest statistic reaches the observed one (max-T, Westfall & Young 1993; all of them or "
        f"{simultaneous.DRAWN:,} drawn at random). Where cells do not differ, whatever the distribution of "
        "their numbers, the chance of any false sentence is at most 5 % for the best cell (against the best "
        "of the sample, as in Hsu 1984; over cells and measures), for each axis (against a reference level, "
        "as in Dunnett 1955; over levels and measures), for interactions (and F tests with Bonferroni's "
        "correction besides; over pairs and measures), and for choosing without labels (by sign flips; over "
        "cells and rules). Where some cells differ and others only spread more, it is approximate. What does "
        "not differ significantly need not be equal.",
        "p: sign-flip permutation test of the paired differences over shared seeds, two-sided, "
        f"{exact}; {least}. Holm corrects for all rows of a table.",
        "P(better): chance that a run of this row is better than one of the baseline, ties half. Effect g: "
        "difference in standard deviations of runs (Hedges). Detectable: the minimum detectable effect, the "
        "smallest true difference of normal pairs of this spread that p (Holm) shows at 0.05 with "
        'probability 0.8 if no other row of the table differs; "none at this n" where no difference could.',
    )
    page.head("How to read the numbers")
    page.add("\n".join(f"- {point}" for point in points))


def _coverage(n: int) -> str:
    """Return how often the interval of n runs holds the mean, in words."""
    if n < 2:
        return ""
    known = stats.simulated(n)
    skewed, collapsing = stats.COVERAGE[known]
    return (
        f". At n = {known} it covers the mean of normal values 95 % of the time, of exponential (skewed) "
        f"values {skewed:.0%}, and of values of which one in five collapses {collapsing:.0%} (simulated)"
    )
