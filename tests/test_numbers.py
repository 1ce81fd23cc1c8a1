"""The numbers of the README and of the other pages agree with the records."""

import json
import re
from collections import Counter
from statistics import mean, median, stdev

import numpy as np
import pytest
from written import RESULTS, ROOT, complete, findings, measured, readme, short, shorter, text_of

from studies.analysis import metrics
from studies.analysis.analyze import analyze
from studies.analysis.load import load_study
from studies.design import design as designs

STRETCHED, UNCHANGED = ["vat", "knn-stretch"], ["vat", "knn"]
GATE = {"objective.expert_weights": "gate", "objective.expert_gradient": 1}
POSTERIOR = {"objective.expert_weights": "posterior"}


@pytest.mark.parametrize(
    ("row", "study", "settings"),
    [
        ("preset `iic-mnist`", "iic-mnist", {}),
        ("preset `iic-fashion-mnist`, on Fashion-MNIST", "iic-fashion-mnist", {}),
        ("preset `deformable-mnist`", "deformable-mnist", {}),
        ("preset `imsat-mnist`", "imsat-mnist", {"objective.balance_weight": 1.0}),
        ("`imsat-mnist`, balancing strength 0.3", "imsat-mnist", {"objective.balance_weight": 0.3}),
        ("preset `imsat-fashion-mnist`, on Fashion-MNIST", "imsat-fashion-mnist", {}),
        (
            "`imsat-fashion-mnist`, temperature 1 from the start",
            "consistency-fashion-mnist",
            {"objective.consistency": STRETCHED},
        ),
        (
            "`imsat-fashion-mnist`, temperature 1, neighbors not stretched",
            "consistency-fashion-mnist",
            {"objective.consistency": UNCHANGED},
        ),
    ],
)
def test_the_headline_agrees_with_the_records(row, study, settings):
    columns = [measured(study, name, settings) for name in ("acc", "nmi", "ari")]
    cells = [f"{short(mean(each))} ± {short(stdev(each))} ({short(min(each))})" for each in columns]
    line = f"| {row} | {len(columns[0])} | {' | '.join(cells)} | {minutes(study, settings):.0f} |"
    assert line in findings()
    assert (line in readme()) == row.startswith("preset")


def test_the_tutorial_on_mnist_agrees_with_the_records():
    settings = {"objective.balance_weight": 1.0}
    notebook = json.loads((ROOT / "docs" / "tutorial" / "mnist.ipynb").read_text(encoding="utf-8"))
    page = " ".join("".join(line for cell in notebook["cells"] for line in cell["source"]).split())
    acc = measured("imsat-mnist", "acc", settings)
    assert f"the same preset reaches ACC {short(mean(acc))} (mean of {len(acc)} seeds;" in page
    assert f"takes {minutes('imsat-mnist', settings):.0f} minutes on one core" in page


def test_seeds_that_labels_did_not_see_are_reported_apart():
    unseen = [
        record["metrics"]["test"]["acc"]
        for record in complete("imsat-mnist", {"objective.balance_weight": 1.0})
        if record["config"]["seed"] >= 10
    ]
    assert len(unseen) == 10
    sentence = f"have ACC {short(min(unseen))} to {short(max(unseen))}."
    assert sentence in readme()
    assert sentence in findings()


def test_the_minutes_of_the_graph_are_those_of_its_baseline():
    taken = []
    for study in ("iic-mnist", "iic-fashion-mnist"):
        found = complete(study, {}, "graph of neighbors")
        assert len(found) == 20
        assert all(record["hardware"]["device"] == "cpu" for record in found)
        taken.append(
            median(record["seconds"]["train"] * record["hardware"]["threads"] / 60 for record in found)
        )
    mnist, fashion = (f"{each:.1f}" for each in taken)
    assert f"The graph and its clusters take {mnist} minutes more ({fashion} on Fashion-MNIST)" in readme()
    sentence = f"The graph and its clusters take {mnist} minutes of a core on MNIST and {fashion} on"
    assert sentence in findings()


def test_the_clusters_of_the_graph_alone_agree_with_the_records():
    scores = [
        short(mean(measured(study, "nmi", {}, "graph of neighbors")))
        for study in ("iic-mnist", "iic-fashion-mnist")
    ]
    assert "These clusters alone, without a network, have NMI {} and {} (n = 20)".format(*scores) in readme()


@pytest.mark.parametrize(
    ("row", "decoder", "settings"),
    [
        ("networks, 3 %", "network", {"objective.expert_gradient": 0.03}),
        ("networks, all", "network", GATE),
        ("networks weighted by their posterior, all", "network", POSTERIOR),
        ("deformable experts, 3 %", "deformable", {"objective.expert_gradient": 0.03}),
        ("deformable experts, all", "deformable", GATE),
        ("deformable experts weighted by their posterior, all", "deformable", POSTERIOR),
    ],
)
def test_the_table_of_competition_agrees_with_its_records(row, decoder, settings):
    cells = []
    for data in ("mnist", "fashion-mnist"):
        found = [
            measured(
                "competition",
                "nmi",
                settings | {"data.name": data, "model.decoder": decoder, "model.latent_dim": capacity},
            )
            for capacity in (2, 16)
        ]
        assert [len(each) for each in found] == [10, 10]
        cells.append(" and ".join(short(mean(each)) for each in found))
    assert f"| {row} | {cells[0]} | {cells[1]} |" in findings()


def test_the_table_of_shared_experts_agrees_with_the_records():
    pairs = [(3, 5), (3, 8), (5, 8), (4, 7), (4, 9), (7, 9), (0, 6)]
    for row, decoder, settings in [
        ("networks, all", "network", GATE),
        ("deformable experts weighted by their posterior, all", "deformable", POSTERIOR),
    ]:
        counts = [
            np.array(record["confusion"]["counts"])
            for record in complete("competition", settings | {"data.name": "mnist", "model.decoder": decoder})
        ]
        won = [each > each.sum(0) / 2 for each in counts]
        cells = [str(sum(bool((each[:, a] & each[:, b]).any()) for each in won)) for a, b in pairs]
        assert f"| {row} | {' | '.join(cells)} |" in findings()


def test_the_first_study_takes_what_its_profile_expects():
    design = designs.load_design("quick")
    assert design.expected
    assert f"about {design.expected.time} on two cores" in readme()
    assert f"the study `quick`: {len(design.cells) * len(design.seeds)} small mixtures" in readme()


def test_the_page_counts_classes_that_gates_divide():
    counts = [
        divisions("imsat-fashion-mnist", {}),
        divisions("consistency-fashion-mnist", {"objective.consistency": STRETCHED}),
        divisions("consistency-fashion-mnist", {"objective.consistency": UNCHANGED}),
    ]
    words = {5: "five", 10: "ten", 12: "twelve"}
    first, second, third = (words[count["Bag"]] for count in counts)
    assert f"{first.capitalize()} of twenty gates divide the class *Bag* between two experts" in findings()
    assert f"at temperature 1 {second} do, and without the stretch {third}." in findings()
    assert "have {}, {} and {} such divisions".format(*(count.total() for count in counts)) in findings()
    assert f"*Coat* is divided in {sum(count['Coat'] for count in counts)} of these 60 runs" in findings()


def test_the_effect_of_the_stretch_agrees_with_its_page():
    page = (RESULTS / "consistency-fashion-mnist" / "report.md").read_text(encoding="utf-8")
    change = f"{'+'.join(UNCHANGED)} in place of {'+'.join(STRETCHED)} lowers NMI by"
    rise, p = re.search(rf"{re.escape(change)} 0(\.\d+) \(adjusted p (.*?);", page).groups()
    assert f"NMI is {rise} higher with the stretch than without it (adjusted p {_plain(p)};" in findings()


def test_the_reference_study_agrees_with_the_records():
    nmi, dead = around_the_reference_cell("nmi"), around_the_reference_cell("dead_experts")
    assert "The NMI of the reference cell is {} and {}.".format(*map(short, nmi())) in findings()
    pca, vae = nmi("PCA + Gaussian mixture"), nmi("one VAE + Gaussian mixture")
    assert "a Gaussian mixture reaches {} and {} on principal".format(*map(short, pca)) in findings()
    assert "and {} and {} on the latents of one VAE of equal size".format(*map(short, vae)) in findings()

    vade, dec = nmi("VaDE (ClustPy)"), nmi("DEC (ClustPy)")
    assert (
        "VaDE of ClustPy has {} and {}, and DEC {} and {} (n = 6;".format(*map(short, vade + dec))
        in findings()
    )

    page = (RESULTS / "reference" / "report.md").read_text(encoding="utf-8")
    changes = {
        "no balancing": {"objective.balance_weight": 0.0},
        "hard routing (straight-through)": {"routing.kind": "hard"},
    }
    for row, change in changes.items():
        falls = less(nmi(), nmi(**change))
        found = [re.search(rf"lowers NMI by {fall:.3f} \(adjusted p (.*?);", page) for fall in falls]
        cells = [f"-{short(fall)} (p {_plain(match[1])})" for fall, match in zip(falls, found, strict=True)]
        cells.append("{:.1f} and {:.1f}".format(*less(dead(**change), dead())))
        assert f"| {row} | {' | '.join(cells)} |" in findings()

    same = re.findall(r"\*\*Temperature\*\*: no level differs significantly from 1 in NMI", page)
    cells = ["does not differ significantly"] * len(same)
    cells.append("at 0.5: {:.1f} and {:.1f}".format(*less(dead(**{"routing.temperature": 0.5}), dead())))
    assert f"| temperature 0.5 or 2 | {' | '.join(cells)} |" in findings()


def test_the_page_of_presets_agrees_with_the_records():
    page, nmi = text_of(ROOT / "docs" / "how-to" / "presets.md"), around_the_reference_cell("nmi")
    settings = {"iic-mnist": {}, "deformable-mnist": {}, "imsat-mnist": {"objective.balance_weight": 1.0}}
    own = [mean(measured(study, "nmi", change)) for study, change in settings.items()]
    plain, pca = nmi(), nmi("PCA + Gaussian mixture")
    deformed = mean(measured("deformable-fashion-mnist", "nmi", {}))
    assert "have NMI {} to {}, trained on 60,000".format(*map(shorter, (min(own), max(own)))) in page
    assert f"trained on 10,000, have {shorter(plain[0])} and" in page
    assert f"principal components ({shorter(pca[0])})" in page
    sentence = "({}) is no better than plain mixtures ({}) and that Gaussian mixture ({})"
    assert sentence.format(*map(shorter, (deformed, plain[1], pca[1]))) in page


def test_the_2019_model_agrees_with_the_records():
    acc, nmi = (measured("zeldes2019", name, {"train.epochs": 100}) for name in ("acc", "nmi"))
    acc_cell, nmi_cell = (f"{short(mean(each))} ± {short(stdev(each))}" for each in (acc, nmi))
    sentence = f"has ACC {acc_cell} and NMI {nmi_cell} after 100 epochs"
    assert f"{sentence} (n = {len(acc)})" in readme()
    assert f"{sentence} ([n = {len(acc)}]" in findings()
    baseline = [mean(measured("zeldes2019", name, {}, "PCA + Gaussian mixture")) for name in ("acc", "nmi")]
    assert "components of the same images has {} and {};".format(*map(short, baseline)) in findings()


def test_the_interaction_of_balancing_and_routing_agrees_with_the_records():
    study = "reference-factorial"
    lost = [
        shorter(
            mean(measured(study, "nmi", cell | {"routing.kind": "soft"}))
            - mean(measured(study, "nmi", cell | {"routing.kind": "hard"}))
        )
        for balance in (20, 80)
        for cell in (
            {"data.name": data, "objective.balance_weight": balance} for data in ("mnist", "fashion-mnist")
        )
    ]
    assert (
        "hard routing lowers NMI by {} on MNIST and {} on Fashion-MNIST with the balancing strength 20,"
        " and by {} and {} with 80"
    ).format(*lost) in findings()
    p = [
        analyze(part).interaction_p[metrics.NMI][0, 2]
        for part in load_study(RESULTS / study).by_data().values()
    ]
    assert f"p = {short(p[0])} and p < .001" in findings()
    assert p[1] < 0.001


def test_speeds_on_a_gpu_agree_with_the_benchmarks():
    page = text_of(ROOT / "docs" / "how-to" / "gpu.md")
    rows = json.loads((RESULTS / "throughput-cuda.json").read_text())["benchmarks"]
    cells = {row["name"]: row["stats"]["median"] for row in rows if "test_cell" in row["name"]}
    alone, together = (
        row["extra_info"] for runs in (1, 20) for row in rows if row["name"] == f"test_mixture[{runs}]"
    )
    step, of_one = (1e3 * each["seconds"]["median"] for each in (together, alone))
    assert f"take {step:.0f} ms a step together, where one takes {of_one:.0f}" in page
    assert f"{together['ratio_to_naive']['median']:.0f} times the speed of the naive loop" in page
    whole, half = cells["test_cell[soft]"], cells["test_cell[soft, bfloat16]"]
    assert f"take {whole:.0f} s in float32 and {half:.0f} s in bfloat16" in page
    sparse = [row["extra_info"] for row in rows if "test_sparse_against_soft" in row["name"]]
    assert sparse
    assert all(row["ratio_to_beside"]["q3"] < 1 for row in sparse)


def _plain(p):
    """Return a p-value of a page in the format of the README."""
    return p.replace("\\", "").replace("0.", ".", 1)


def divisions(study, settings):
    """Count, by class, the runs in which two experts hold at least a quarter of the class each."""
    return Counter(
        name
        for record in complete(study, settings)
        for name, column in zip(
            record["confusion"]["classes"], np.array(record["confusion"]["counts"]).T, strict=True
        )
        if np.sort(column)[-2] >= column.sum() / 4
    )


def minutes(study, settings):
    """Training time of a run on one core: its images by the speed of its population, by the median run."""
    found = complete(study, settings)
    assert all(record["hardware"]["threads"] == 1 for record in found)
    images = [60_000 * record["config"]["train"]["epochs"] for record in found]
    speeds = [record["throughput"]["train_images_per_second"] for record in found]
    return median(count / speed for count, speed in zip(images, speeds, strict=True)) / 60


def around_the_reference_cell(metric):
    """A function that gives means over seeds, of MNIST and of Fashion-MNIST."""
    base = {"objective.balance_weight": 20.0, "routing.temperature": 1.0, "routing.kind": "soft"}

    def means(method=None, **change):
        return [
            mean(measured("reference", metric, base | change | {"data.name": name}, method))
            for name in ("mnist", "fashion-mnist")
        ]

    return means


def less(first, second):
    return [one - other for one, other in zip(first, second, strict=True)]
