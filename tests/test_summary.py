from __future__ import annotations

import re

import numpy as np
import synthetic

from moevae.config import RunConfig
from studies import summary
from studies.analysis import analyze
from studies.loading import load

AXES = {"objective.balance_weight": [0.0, 5.0, 20.0], "routing.kind": ["soft", "hard"]}
NUMBER = r"-?[\d,.]+"
INTERVAL = rf"{NUMBER} \[{NUMBER}, {NUMBER}\]"


def say(folder, axes=AXES, seeds=range(5), effect=0.0, noise=0.02) -> list[str]:
    """Sentences about a study in which balance 0 costs `effect` of NMI and nothing else does anything."""

    def make(config: RunConfig):
        draw = np.random.default_rng(
            [config.seed, config.routing.kind == "hard", int(config.objective.balance_weight)]
        )
        nmi = 0.5 - effect * (config.objective.balance_weight == 0) + draw.normal(0, noise)
        metrics = {
            "mixture_elbo": -20 + draw.normal(0, 0.1),
            "marginal_elbo": -19.0,
            "nmi": nmi,
            "ari": nmi,
            "acc": nmi,
        }
        return synthetic.record(config, pictures=False, metrics=metrics)

    return summary.sentences(analyze(load(synthetic.write(folder, synthetic.plan(axes, seeds=seeds), make))))


def test_a_planted_effect_is_told_with_its_interval_and_n(tmp_path) -> None:
    told = [each for each in say(tmp_path, effect=0.2) if "lowers NMI" in each]
    assert len(told) == 1
    found = re.fullmatch(
        rf"\*\*Balance weight\*\* 0 in place of 20 lowers NMI by ({NUMBER}) \[({NUMBER}), ({NUMBER})\] "
        r"\(n = 5, over 2 settings of the other axes\)\.",
        told[0],
    )
    assert found
    value, low, high = map(float, found.groups())
    assert low < value < high
    assert low < 0.2 < high


def test_settings_that_do_not_move_with_their_mean_are_counted(tmp_path) -> None:
    axes = {"objective.balance_weight": [0.0, 20.0], "routing.temperature": [0.5, 1.0, 2.0]}

    def make(config: RunConfig):
        strength, temperature = int(config.objective.balance_weight), int(4 * config.routing.temperature)
        draw = np.random.default_rng([config.seed, strength, temperature])
        turn = 0.1 if temperature == 8 else -0.3
        nmi = 0.5 + turn * (strength == 0) + draw.normal(0, 0.01)
        return synthetic.record(config, pictures=False, metrics={"mixture_elbo": -20.0, "nmi": nmi})

    told = summary.sentences(analyze(load(synthetic.write(tmp_path, synthetic.plan(axes), make))))
    found = [each for each in told if "**Balance weight** 0 in place of 20 lowers NMI" in each]
    assert len(found) == 1
    assert found[0].endswith("(n = 3, over 3 settings of the other axes, 2 of which move that way).")


def test_every_sentence_has_n_and_an_interval_or_a_bound(tmp_path) -> None:
    told = say(tmp_path, effect=0.2)
    assert len(told) >= 4
    for sentence in told:
        assert re.search(r"n = \d+", sentence)
        assert re.search(INTERVAL, sentence) or "by more than" in sentence


def test_one_seed_carries_no_sentence(tmp_path) -> None:
    assert say(tmp_path, seeds=[0], effect=0.4) == []


def test_seeds_that_all_agree_carry_no_sentence(tmp_path) -> None:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False, metrics={"mixture_elbo": -20.0, "nmi": 0.5})

    study = load(synthetic.write(tmp_path, synthetic.plan(AXES), make))
    assert summary.sentences(analyze(study)) == []


def test_what_is_not_there_is_seldom_claimed(tmp_path) -> None:
    claims = 0
    for trial in range(40):
        seeds = range(100 * trial, 100 * trial + 3)
        told = say(tmp_path / str(trial), {"objective.balance_weight": [0.0, 5.0, 20.0]}, seeds)
        claims += any("NMI by" in each and "in place of" in each for each in told)
    assert claims <= 6  # 0.05 of 40 are expected at most; more than 6 has a chance below 0.01


def test_a_cell_that_is_best_by_luck_is_told_to_be_so(tmp_path) -> None:
    told = say(tmp_path, seeds=range(3))[0]
    assert told.startswith("The highest mean NMI is that of cell ")
    assert "no mean of the other 5 cells can be told from it" in told


def test_one_other_cell_is_spoken_of_as_one(tmp_path) -> None:
    axes = {"objective.balance_weight": [0.0, 20.0]}
    assert "; the mean of the other cannot be told from it." in say(tmp_path / "same", axes, range(5))[0]
    assert "; the mean of the other is below it." in say(tmp_path / "far", axes, range(5), effect=0.4)[0]


def test_few_seeds_are_cautioned_of(tmp_path) -> None:
    for n, told in ((1, ""), (3, "p = 0.25."), (5, "p = 0.062."), (6, "")):
        plan = synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=range(n))
        study = load(synthetic.write(tmp_path / str(n), plan))
        caution = summary.caution(study)
        assert caution.endswith(told)
        assert bool(caution) == bool(told)


def test_an_interval_stays_where_means_can_lie(tmp_path) -> None:
    told = say(tmp_path, seeds=range(2), noise=0.2)[0]
    found = re.search(rf"balance.*: {NUMBER} \[({NUMBER}), ({NUMBER})\]", told)
    assert found
    assert found[2] == "1.000"
