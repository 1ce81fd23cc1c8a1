from __future__ import annotations

import re

import numpy as np
import pytest

from moevae.config.schema import RunConfig
from studies.analysis.analyze import analyze
from studies.analysis.load import load_study
from studies.report import summary
from studies.testing import synthetic

AXES = {"objective.balance_weight": [0.0, 5.0, 20.0], "routing.kind": ["soft", "hard"]}
NUMBER = r"-?[\d,.]+"
P = r"adjusted p (= 0\.\d{3}|\\< 0\.001)"


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

    return summary.sentences(
        analyze(load_study(synthetic.write(folder, synthetic.plan(axes, seeds=seeds), make)))
    )


def test_a_planted_effect_is_reported_with_its_size_p_and_n(tmp_path) -> None:
    sentences = [each for each in say(tmp_path, effect=0.2) if "lowers NMI" in each]
    assert len(sentences) == 1
    found = re.fullmatch(
        rf"\*\*Balance weight\*\* 0 in place of 20 lowers NMI by ({NUMBER}) "
        rf"\({P}; n = 5, over 2 settings of the other axes\)\.",
        sentences[0],
    )
    assert found
    assert float(found[1]) == pytest.approx(0.2, abs=0.05)


def test_settings_that_do_not_move_with_their_mean_are_counted(tmp_path) -> None:
    axes = {"objective.balance_weight": [0.0, 20.0], "routing.temperature": [0.5, 1.0, 2.0]}

    def make(config: RunConfig):
        strength, temperature = int(config.objective.balance_weight), int(4 * config.routing.temperature)
        draw = np.random.default_rng([config.seed, strength, temperature])
        turn = 0.1 if temperature == 8 else -0.3
        nmi = 0.5 + turn * (strength == 0) + draw.normal(0, 0.01)
        return synthetic.record(config, pictures=False, metrics={"mixture_elbo": -20.0, "nmi": nmi})

    sentences = summary.sentences(
        analyze(load_study(synthetic.write(tmp_path, synthetic.plan(axes, range(6)), make)))
    )
    found = [each for each in sentences if "**Balance weight** 0 in place of 20 lowers NMI" in each]
    assert len(found) == 1
    assert found[0].endswith("n = 6, over 3 settings of the other axes, 2 of which move that way).")


def test_every_sentence_has_n_and_a_difference_its_p(tmp_path) -> None:
    sentences = say(tmp_path, effect=0.2)
    assert len(sentences) >= 4
    for sentence in sentences:
        assert re.search(r"n = \d+", sentence)
        assert "p " in sentence or "does not differ significantly" in sentence or "No other cell" in sentence


def test_one_seed_gives_no_sentence(tmp_path) -> None:
    assert say(tmp_path, seeds=[0], effect=0.4) == []


def test_significance_is_mentioned_only_with_a_test(tmp_path) -> None:
    for seeds in ([0], [0, 1, 2]):
        plan = synthetic.plan(AXES, seeds=seeds)
        folder = tmp_path / str(len(seeds))
        synthetic.write(folder, plan, lambda config: synthetic.record(config, pictures=False))
        sentence = summary.silence(analyze(load_study(folder)))
        assert ("significant" in sentence) == (len(seeds) > 1)


def test_equal_seeds_give_no_sentence(tmp_path) -> None:
    def make(config: RunConfig):
        return synthetic.record(config, pictures=False, metrics={"mixture_elbo": -20.0, "nmi": 0.5})

    study = load_study(synthetic.write(tmp_path, synthetic.plan(AXES), make))
    assert summary.sentences(analyze(study)) == []


def test_an_effect_without_significance_is_stated_as_such(tmp_path) -> None:
    sentences = [each for each in say(tmp_path, seeds=range(3)) if each.startswith("**Balance weight**")]
    assert len(sentences) == 1
    assert "no level differs significantly from 20 in NMI or ELBO (least adjusted p = " in sentences[0]


def test_the_cells_that_are_not_distinguished_from_the_best_are_named(tmp_path) -> None:
    sentence = say(tmp_path, effect=0.4)[0]
    pattern = r"3 other cells \(([\d, ]+)\) do not differ significantly from it; 2 are below"
    found = re.search(pattern, sentence)
    assert found
    best = re.search(r"that of cell (\d)", sentence)
    assert best
    assert {best[1], *found[1].split(", ")} == {"3", "4", "5", "6"}


def test_the_best_of_equal_cells_is_called_biased_upward(tmp_path) -> None:
    sentence = say(tmp_path, seeds=range(3))[0]
    assert sentence.startswith("The highest mean NMI is that of cell ")
    assert "the highest of 6 means, so biased upward" in sentence
    assert sentence.endswith("No other cell differs significantly from it.")


def test_one_other_cell_is_named_in_the_singular(tmp_path) -> None:
    axes = {"objective.balance_weight": [0.0, 20.0]}
    same, far = (say(tmp_path / name, axes, range(6), effect)[0] for name, effect in (("a", 0), ("b", 0.4)))
    assert same.endswith("The other cell does not differ significantly from it.")
    assert far.endswith("The other cell is below it (adjusted p ≤ 0.05).")


def test_few_seeds_are_cautioned_of(tmp_path) -> None:
    for n, message in ((1, ""), (3, "p below 0.25."), (5, "p below 0.062."), (6, "")):
        plan = synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=range(n))
        study = load_study(synthetic.write(tmp_path / str(n), plan))
        caution = summary.caution(study)
        assert message in caution
        assert bool(caution) == bool(message)


def test_an_undetectable_difference_is_neither_claimed_nor_denied(tmp_path) -> None:
    def make(config: RunConfig):
        nmi = 0.5 + 1e-5 * (config.objective.balance_weight == 0) + 1e-9 * config.seed
        return synthetic.record(config, pictures=False, metrics={"mixture_elbo": -20.0, "nmi": nmi})

    plan = synthetic.plan({"objective.balance_weight": [0.0, 20.0]}, range(7))
    sentences = summary.sentences(analyze(load_study(synthetic.write(tmp_path, plan, make))))
    assert not any(each.startswith("**Balance weight**") for each in sentences)


def test_the_only_cell_has_its_means_and_its_worst_run(tmp_path) -> None:
    plan = synthetic.plan({"routing.kind": ["soft"]}, seeds=[0, 1, 2, 3])
    study = load_study(synthetic.write(tmp_path, plan))
    found = " ".join(summary.single_cell(analyze(study)))
    nmi = study.matrix("test.nmi")[:, 0]
    assert f"The mean NMI is {nmi.mean():.3f} (95 % interval" in found
    assert f"the lowest of 4 runs is {nmi.min():.3f}" in found
    dead = int((study.matrix("test.dead_experts") >= 1).sum())
    assert (f"{dead} of 4 runs have dead experts" if dead else "No run has dead experts") in found
