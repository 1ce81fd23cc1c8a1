"""Section: ELBO decomposition, by cell and by expert."""

from __future__ import annotations

from functools import partial

import pandas as pd

from studies.analysis import cell_stats, criteria, metrics
from studies.analysis.analyze import Analysis
from studies.analysis.criteria import RankingCriterion
from studies.analysis.runs import StudyRun, median_minutes
from studies.analysis.study import Study
from studies.report import tables
from studies.report.markdown import escape
from studies.report.page import FOLDED, Page

SHOWN_ROWS = 12
"""Number of table rows that are not collapsed."""


def elbo_decomposition(analysis: Analysis, page: Page) -> None:
    """Add the terms of the mixture ELBO by cell, and by expert for the best run of the reference cell."""
    study, table = analysis.study, analysis.table
    if metrics.MARGINAL_KL.key not in study.keys:
        return
    chosen = cell_stats.measured(study, metrics.shown_on("decomposition", "bounds"))
    known = int(table[f"{metrics.ELBO.key} mean"].notna().sum())
    page.head("ELBO decomposition")
    page.add(
        "ELBO = reconstruction - kl_z - mutual information - marginal_kl. kl_z is the KL divergence of the "
        "latent posterior from its prior. The mutual information is that of image and "
        "expert. marginal_kl is the KL divergence of the mean gate probabilities from the prior over "
        "experts."
        + (f" {_marginal(study)}" if metrics.MARGINAL in chosen else "")
        + (f" {_importance_weighted(study)}" if metrics.IWAE in chosen else "")
    )
    rows = tables.result_rows(study, table, chosen, most=min(known, SHOWN_ROWS + FOLDED))
    page.rows(rows, SHOWN_ROWS, "[table.csv](table.csv)", total=known)
    _rise(study, table, page)
    found = [run for run in study.of_cell(study.reference or 0) if run.record.elbo_terms]
    if criterion := criteria.ranking_criterion(found):
        _by_expert(study, max(filter(criterion.has, found), key=criterion.score), criterion, page)
    elif found:
        page.add(criteria.REFUSAL)


def _marginal(study: Study) -> str:
    """Describe how the marginal ELBO and the gate gap are estimated."""
    key = metrics.MARGINAL_SAMPLES
    counts = sorted({round(run.metrics[key]) for run in study.runs if key in run.metrics})
    limits = {run.record.config["evaluation"].get("marginal_images") for run in study.runs} - {None}
    first = f" on the first {' or '.join(f'{limit:,}' for limit in sorted(limits))} images" if limits else ""
    return (
        "The marginal ELBO is log sum_k pi_k exp(ELBO_k), the bound with the expert index marginalized. The "
        "gate gap KL(q || r) is its distance from the ELBO of the gate q, where r is the posterior over "
        f"experts. Both are estimated from {' or '.join(f'{count:,}' for count in counts)} samples of z per "
        f"image and expert (fewer where r is negligible){first}, and the delta method corrects the upward "
        f"bias of the log-sum-exp. Other columns use different samples{' and images' if limits else ''}, so "
        f"that differences between columns include the noise of {'both' if limits else 'the samples'}."
    )


def _importance_weighted(study: Study) -> str:
    """Describe the samples and the images of the IWAE bounds."""
    settings = [run.record.config["evaluation"] for run in study.runs if metrics.IWAE.key in run.metrics]
    asked = {(each["iwae_samples"], each["iwae_experts"]) for each in settings}
    limits = {each["iwae_images"] for each in settings} - {None}
    first = f", on the first {' or '.join(f'{limit:,}' for limit in sorted(limits))} images" if limits else ""
    from_which = {None: "each expert", 1: "the most probable expert of an image"}
    parts = [
        f"{samples:,} samples of z from {from_which.get(experts, f'its {experts} most probable experts')}"
        for samples, experts in sorted(asked, key=str)
    ]
    return (
        f"The IWAE bound uses {' or '.join(parts)}{first}. Its distance from log p(x) depends on the model, "
        "so that a difference of two cells includes a difference of these distances, which falls with the "
        "number of samples."
    )


def _rise(study: Study, table: pd.DataFrame, page: Page) -> None:
    """Add the IWAE bounds from fewer samples, and the effective numbers of samples, if they were measured."""
    chosen = cell_stats.measured(study, (*metrics.RISING, metrics.ESS, metrics.ESS_TAIL))
    if metrics.ESS not in chosen:
        return
    page.add(
        "The IWAE bound rises with S, its number of samples of z. The table compares the bounds from parts "
        "of the samples, each averaged over groups of the same samples. The effective number of samples is "
        "(sum w)^2 / sum w^2 over the weights w of an image: its mean over the images, and its quantile of "
        "1 %. Where it is near 1, a single sample dominates the bound of an image. Minutes of a core are the "
        "medians over the runs."
    )
    known = int(table[f"{metrics.ESS.key} mean"].notna().sum())
    minutes = partial(_minutes, study)
    rows = tables.result_rows(study, table, chosen, min(known, SHOWN_ROWS + FOLDED), minutes)
    page.rows(rows, SHOWN_ROWS, "[table.csv](table.csv)", total=known)


def _minutes(study: Study, cell: int) -> dict[str, str]:
    """Return the columns of the times of a cell, or of the baselines after the cells."""
    of_baselines = [baseline.runs for baseline in study.baselines]
    runs = study.of_cell(cell) if cell < len(study.cells) else of_baselines[cell - len(study.cells)]
    medians = median_minutes([run for run in runs if run.complete])
    shown = (f"{median:,.1f}" for median in medians) if medians else ("–", "–")
    return dict(zip(("training (minutes of a core)", "evaluation (minutes of a core)"), shown, strict=True))


def _by_expert(study: Study, best: StudyRun, criterion: RankingCriterion, page: Page) -> None:
    parts = {name: best.record.elbo_terms[name] for name in ("recon_log_prob", "kl_z")}
    frame = pd.DataFrame({"importance": best.record.importance, **parts})
    share = frame["importance"].where(frame["importance"] > 0)
    frame["own_elbo"] = (frame["recon_log_prob"] - frame["kl_z"]) / share
    ordered = frame.sort_values("importance", ascending=False, kind="stable")
    rows = [
        {
            "expert": str(expert),
            "importance": f"{importance:.3f}",
            metrics.RECONSTRUCTION.heading: metrics.RECONSTRUCTION.show(reconstruction),
            metrics.KL_Z.heading: metrics.KL_Z.show(kl_z),
            "reconstruction - kl_z of its images (nats)": metrics.ELBO.show(own),
        }
        for expert, (importance, reconstruction, kl_z, own) in zip(
            ordered.index, ordered.to_numpy(), strict=True
        )
    ]
    page.add(
        f"The table splits the ELBO by expert for the run of cell {cell_stats.label(study, best.cell)} "
        f"({escape(tables.describe(study, best.cell))}) with {criterion.words}, seed {best.seed}. The gate "
        "probabilities weight the parts, which sum to the values of the run. The last column is a mean over "
        "the images, weighted by the gate probability of the expert."
    )
    page.rows(rows, SHOWN_ROWS, file="elbo-terms")
