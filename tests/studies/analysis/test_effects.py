from __future__ import annotations

import numpy as np
import pytest

from moevae.config.schema import RunConfig
from studies.analysis import effects
from studies.analysis.load import load_study
from studies.analysis.metrics import ELBO, NMI
from studies.analysis.study import Study
from studies.statistics import simultaneous
from studies.testing import synthetic

AXES = {"objective.balance_weight": [0.0, 5.0, 20.0], "routing.kind": ["soft", "hard"]}


def make(lost: set[int] = frozenset()):  # type: ignore[assignment]
    made = 0

    def one(config: RunConfig):
        nonlocal made
        made += 1
        return None if made - 1 in lost else synthetic.record(config, pictures=False)

    return one


@pytest.fixture
def grid(tmp_path) -> Study:
    return load_study(synthetic.write(tmp_path, synthetic.plan(AXES, seeds=range(4)), make()))


def test_a_level_is_the_mean_over_the_other_axes_seed_by_seed(grid: Study) -> None:
    found = effects.effect(grid, "objective.balance_weight", NMI)
    assert found is not None
    by_seed = grid.matrix("test.nmi").reshape(4, 3, 2).mean(axis=2)
    np.testing.assert_allclose(found.summary.mean, by_seed.mean(axis=0))
    np.testing.assert_allclose(found.summary.std, by_seed.std(axis=0, ddof=1))
    assert found.contexts.reference == 2
    np.testing.assert_allclose(found.comparison.difference[:2], (by_seed - by_seed[:, [2]]).mean(axis=0)[:2])


def test_all_measures_of_an_axis_share_its_error(grid: Study) -> None:
    along = {measure: effects.effect(grid, "objective.balance_weight", measure) for measure in (NMI, ELBO)}
    alone = effects.adjusted({NMI: along[NMI]})[NMI]
    both = effects.adjusted(along)
    assert np.isnan(both[NMI][2])
    assert (both[NMI][:2] >= alone[:2]).all()
    by_seed = grid.matrix("test.nmi").reshape(4, 3, 2).mean(axis=2)
    np.testing.assert_allclose(alone, simultaneous.from_reference([by_seed], [2])[0])


def test_interactions_are_reported_by_pairs_of_the_axes_that_vary(grid: Study) -> None:
    found = effects.interactions(grid, [NMI])
    assert list(found[NMI]) == [(0, 1)]
    oracle = next(each.p for each in effects.variance(grid, NMI).effects if len(each.axes) == 2)
    assert found[NMI][0, 1] >= oracle * (1 - 1e-9)


@pytest.mark.parametrize(
    ("lost", "seeds", "settings"), [({4}, [1, 2, 3], [0, 1]), ({4, 5}, [0, 1, 2, 3], [0])]
)
def test_a_missing_run_takes_its_seed_or_its_setting_from_all_levels(
    tmp_path, lost: set[int], seeds: list[int], settings: list[int]
) -> None:
    # Runs are made cell by cell, so numbers 4 and 5 are the first seeds of balance 0, hard.
    study = load_study(synthetic.write(tmp_path, synthetic.plan(AXES, seeds=range(4)), make(lost)))
    found = effects.effect(study, "objective.balance_weight", NMI)
    assert found is not None
    kept = study.matrix("test.nmi").reshape(4, 3, 2)[np.ix_(seeds, range(3), settings)]
    np.testing.assert_allclose(found.summary.mean, kept.mean(axis=(0, 2)))
    assert (found.contexts.left_out, found.summary.n.tolist()) == (2 - len(settings), [len(seeds)] * 3)


def test_one_at_a_time_compares_around_the_baseline_alone(tmp_path) -> None:
    base = {"objective.balance_weight": 20.0, "routing.kind": "soft", "routing.temperature": 1.0}
    cells = [base, base | {"objective.balance_weight": 0.0}, base | {"routing.kind": "hard"}]
    axes = {
        "objective.balance_weight": [0.0, 20.0],
        "routing.kind": ["soft", "hard"],
        "routing.temperature": [1.0],
    }
    tree = synthetic.plan(axes, cells=cells, baseline=base)
    study = load_study(synthetic.write(tmp_path, tree, make()))
    found = effects.effect(study, "routing.kind", NMI)
    assert found is not None
    assert found.contexts.cells.tolist() == [[0, 2]]
    assert effects.variance(study, NMI) is None
    assert effects.effect(study, "routing.temperature", NMI) is None


def test_a_search_without_matching_cells_has_no_effects(tmp_path) -> None:
    cells = [{"objective.balance_weight": float(i), "routing.temperature": 1.0 + i} for i in range(4)]
    axes = {"objective.balance_weight": [], "routing.temperature": []}
    tree = synthetic.plan(axes, cells=cells, baseline=None)
    study = load_study(synthetic.write(tmp_path, tree, make()))
    assert len(study.axes["routing.temperature"]) == 4
    assert effects.effect(study, "routing.temperature", NMI) is None
