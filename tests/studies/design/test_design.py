import itertools
import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevae.config import overrides
from moevae.config.overrides import lookup
from moevae.errors import ConfigError, MoevaeError
from studies.design import design as designs
from studies.design import profile
from studies.records import study_file
from studies.testing.toys import PROFILE


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> str:
        path = tmp_path / "toy.toml"
        path.write_text(text)
        return str(path)

    return _write


def test_grid_is_the_product_of_the_axes_and_configs_have_their_values(write):
    design = designs.load_design(write(PROFILE))
    assert design.axes == {"objective.balance_weight": (0.0, 20.0), "routing.temperature": (0.5, 1.0)}
    points = {tuple(cell.values.values()) for cell in design.cells}
    assert points == set(itertools.product([0.0, 20.0], [0.5, 1.0]))
    for cell in design.cells:
        assert cell.config.train.epochs == 2
        assert all(lookup(cell.config, key) == value for key, value in cell.values.items())
    assert design.seeds == (0, 1, 2)
    assert design.reference == {"objective.balance_weight": 20.0, "routing.temperature": 1.0}


def test_one_at_a_time_varies_one_axis_around_the_reference_cell(write):
    text = PROFILE.replace("seeds = 3", 'seeds = [4]\ndesign = "one-at-a-time"')
    text += "model.num_experts = [2, 5, 10]\n[reference]\nobjective.balance_weight = 0\n"
    design = designs.load_design(write(text))
    reference = design.reference
    assert dict(design.cells[0].values) == reference
    changes = [sum(cell.values[key] != reference[key] for key in reference) for cell in design.cells]
    assert changes == [0] + [1] * (1 + 1 + 2)
    assert design.seeds == (4,)


def test_one_at_a_time_surrounds_a_reference_cell_on_each_data_set(write):
    text = PROFILE.replace("seeds = 3", 'seeds = 3\ndesign = "one-at-a-time"')
    text += 'data.name = ["mnist", "digits"]\n'
    text += '[reference]\nobjective.balance_weight = 0\ndata.name = "digits"\n'
    design = designs.load_design(write(text))
    assert dict(design.cells[0].values) == design.reference
    stars = {name: [] for name in ("mnist", "digits")}
    for cell in design.cells:
        stars[cell.values["data.name"]].append({k: v for k, v in cell.values.items() if k != "data.name"})
    assert stars["mnist"] == stars["digits"]
    assert len(stars["mnist"]) == 1 + 1 + 1


def test_a_profile_may_name_the_reference_cell_baseline(write):
    reference = "[reference]\nobjective.balance_weight = 0\n"
    baseline = reference.replace("reference", "baseline")
    assert designs.load_design(write(PROFILE + baseline)) == designs.load_design(write(PROFILE + reference))
    with pytest.raises(ConfigError, match="baseline"):
        designs.load_design(write(PROFILE + reference + baseline))


EXCLUDED = """
[[exclude]]
objective.balance_weight = [20]
routing.temperature = [0.5]
[reference]
objective.balance_weight = 20
routing.temperature = 1
"""


def test_excluded_combinations_are_no_cells(write):
    whole, some = designs.load_design(write(PROFILE)), designs.load_design(write(PROFILE + EXCLUDED))
    lost = {cell.key for cell in whole.cells} - {cell.key for cell in some.cells}
    assert lost == {cell.key for cell in whole.cells if set(cell.values.values()) == {20.0, 0.5}}
    assert len(lost) == 1
    assert some.axes == whole.axes
    assert some.reference == {"objective.balance_weight": 20.0, "routing.temperature": 1.0}
    narrowed = designs.load_design(write(PROFILE + EXCLUDED), changes=["objective.balance_weight=20"])
    assert [dict(cell.values) for cell in narrowed.cells] == [some.reference]


LISTED = """
[[cell]]
objective.balance_weight = 0
routing.temperature = 0.5
[reference]
objective.balance_weight = 20
routing.temperature = 1
"""


def test_listed_cells_change_several_axes_at_once(write):
    for kind, count in (("listed", 2), ("one-at-a-time", 4), ("grid", 4)):
        text = PROFILE.replace("seeds = 3", f'seeds = 3\ndesign = "{kind}"') + LISTED
        design = designs.load_design(write(text))
        found = [tuple(cell.values.values()) for cell in design.cells]
        assert len(found) == len(set(found)) == count
        assert {(20.0, 1.0), (0.0, 0.5)} <= {*found}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        (["routing.temperature=1"], [(20.0, 1.0)]),
        (["routing.temperature=0.5"], [(0.0, 0.5)]),
        (["objective.balance_weight=0"], [(0.0, 0.5)]),
        (["objective.balance_weight=7"], [(7.0, 1.0), (7.0, 0.5)]),
        (["objective.balance_weight=7", "routing.temperature=3"], [(7.0, 3.0)]),
        (["train.epochs=1"], [(20.0, 1.0), (0.0, 0.5)]),
    ],
)
def test_settings_leave_listed_cells_that_have_them(write, changes, left):
    text = PROFILE.replace("seeds = 3", 'seeds = 3\ndesign = "listed"') + LISTED
    design = designs.load_design(write(text), changes=changes)
    assert [tuple(cell.values.values()) for cell in design.cells] == left
    assert tuple(design.reference.values()) == left[0]


def test_settings_that_no_listed_cell_has_are_an_error(write):
    text = PROFILE.replace("seeds = 3", 'seeds = 3\ndesign = "listed"') + LISTED
    with pytest.raises(ConfigError, match="no cell of profile"):
        designs.load_design(write(text), changes=["routing.temperature=1", "objective.balance_weight=0"])


@pytest.mark.parametrize(
    "name",
    [
        "likelihood-experts",
        "likelihood-experts-autoregressive",
        "likelihood-pixels",
        "likelihood-independent",
    ],
)
def test_a_level_of_a_built_in_profile_leaves_cells_of_the_profile(name):
    whole = designs.load_design(name)
    for key, levels in whole.axes.items():
        for level in levels:
            some = designs.load_design(name, changes=[f"{key}={json.dumps(level)}"])
            assert {cell.config for cell in some.cells} == {
                cell.config for cell in whole.cells if hashed(cell.values[key]) == hashed(level)
            }


@pytest.mark.parametrize("name", profile.names())
def test_a_study_of_one_level_can_be_read_again(name, tmp_path):
    for key, levels in designs.load_design(name).axes.items():
        for place, level in enumerate(levels):
            with suppress(ConfigError):  # the profile excludes this level beside the reference cell
                some = designs.load_design(name, changes=[f"{key}={json.dumps(level)}"])
                study_file.write(tmp_path / f"{key}-{place}", some.to_dict())
                assert len(study_file.read(tmp_path / f"{key}-{place}").cells) == len(some.cells)


def hashed(value):
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("0.5", "7", "cell routing.temperature = 7 is not on its axis [0.5, 1]"),
        ("0.5", "[0.5]", "cell routing.temperature = [0.5] is not on its axis [0.5, 1]"),
        ("objective.balance_weight = 0", "routing.kind = 'hard'", "cell routing.kind is not an axis"),
        ("objective.balance_weight = 0\nrouting.temperature = 0.5", "", r"entry of [[cell]] names no axis"),
        ("[[cell]]", "[cell]", "expected tables such as [[cell]]"),
    ],
)
def test_listed_cells_that_mean_nothing_are_errors(write, before, after, found):
    with pytest.raises(ConfigError, match=re.escape(found)):
        designs.load_design(write(PROFILE + LISTED.replace(before, after, 1)))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("[0.5]", "[1]", "the reference cell is excluded: balance_weight = 20, temperature = 1"),
        ("[0.5]", "[7]", "exclude routing.temperature = 7 is not on its axis [0.5, 1]"),
        ("[0.5]", "0.5", "exclude.0.routing.temperature: input should be a valid list"),
        ("objective.balance_weight = [20]", "routing.kind = ['hard']", "exclude routing.kind is not an axis"),
        ("objective.balance_weight = [20]\nrouting.temperature = [0.5]", "", "names no axis"),
    ],
)
def test_exclusions_that_mean_nothing_are_errors(write, before, after, found):
    text = EXCLUDED.replace(before, after, 1)
    assert text != EXCLUDED
    with pytest.raises(ConfigError) as caught:
        designs.load_design(write(PROFILE + text))
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("design", ["grid", "one-at-a-time"])
def test_levels_stand_in_the_order_in_which_they_are_written(write, design):
    text = PROFILE.replace("seeds = 3", f'seeds = 3\ndesign = "{design}"')
    text += "model.num_experts = [2, 10, 5]\n[reference]\nmodel.num_experts = 5\nrouting.temperature = 1\n"
    axes = designs.load_design(write(text)).axes
    assert axes["model.num_experts"] == (2, 10, 5)
    assert axes["routing.temperature"] == (0.5, 1.0)


@pytest.mark.parametrize("name", profile.names())
def test_built_in_profiles_are_sound(name):
    design = designs.load_design(name)
    assert design.name == name
    assert design.expected
    assert len({cell.key for cell in design.cells}) == len(design.cells)
    assert [dict(cell.values) for cell in design.cells].count(dict(design.reference)) == 1
    assert design.command == f"nox -s ablations -- --profile {name}"
    tree = design.to_dict()
    assert json.loads(json.dumps(tree)) == tree


def test_study_json_finds_the_runs_of_each_cell_again(write):
    design = designs.load_design(
        write(PROFILE + "model.expert_hidden = [[8], [8, 8]]\nobjective.balancing = ['kl', 'none']")
    )
    tree = json.loads(json.dumps(design.to_dict()))
    for cell, values in zip(design.cells, tree["cells"], strict=True):
        run = cell.run(7)
        assert run.seed == 7
        assert json.loads(json.dumps({key: lookup(run, key) for key in values})) == values


def test_settings_make_another_study_and_narrow_axes(write):
    path = write(PROFILE)
    plain, changed = designs.load_design(path), designs.load_design(path, changes=["train.epochs=7"])
    assert changed.name.startswith("toy-")
    assert changed.name == designs.load_design(path, changes=["train.epochs=7"]).name
    assert changed.name != designs.load_design(path, changes=["train.epochs=8"]).name
    assert {cell.config.train.epochs for cell in changed.cells} == {7}
    assert designs.load_design(path, changes=["train.epochs=7"], name="mine").name == "mine"
    narrow = designs.load_design(path, changes=["routing.temperature=3"])
    assert [cell.values["routing.temperature"] for cell in narrow.cells] == [3.0, 3.0]
    assert len(narrow.cells) == len(plain.cells) / 2


def test_a_named_objective_is_that_of_all_cells_or_refused(write):
    path = write(PROFILE)
    named = "objective=elbo"
    with pytest.raises(ConfigError, match=r"in 4 of 4 cells; expected --set objective.balance_weight=1$"):
        designs.load_design(path, changes=[named])
    with pytest.raises(ConfigError, match=r"expected --set objective.balance_weight=1 --set objective.inf"):
        designs.load_design(
            path,
            changes=[named, "objective.information_weight=0.5", 'objective.consistency=["augmentation"]'],
        )
    for changes in ([named, "objective.balance_weight=1"], ["objective=competitive"]):
        design = designs.load_design(path, changes=changes)
        assert {lookup(cell.config, "objective") for cell in design.cells} == {changes[0].split("=")[1]}


def test_objectives_can_be_an_axis(write):
    text = PROFILE.replace("objective.balance_weight = [0, 20]", 'objective = ["elbo", "competitive"]')
    design = designs.load_design(write(text))
    assert {lookup(cell.config, "objective") for cell in design.cells} == {"elbo", "competitive"}


def test_values_are_json_where_they_can_be(write):
    path = write(PROFILE)
    changed = designs.load_design(
        path, changes=["model.expert_hidden=[3,4]", "data.name=mnist", "data.train_size=null"]
    )
    assert changed.base.model.expert_hidden == (3, 4)
    assert changed.base.data.name == "mnist"
    assert changed.base.data.train_size is None


def test_the_command_states_which_seeds(write):
    path = write(PROFILE)
    assert designs.load_design(path, seeds="3").command == f"nox -s ablations -- --profile {path}"
    assert designs.load_design(path, seeds="20").command.endswith("--seeds 20")
    assert designs.load_design(path, seeds="5,").command.endswith("--seeds 5,")


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8, unique=True))
def test_seeds_as_text_read_back(seeds):
    assert designs.parse_seeds(designs.seeds_as_text(seeds)) == tuple(seeds)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "3,3", "1,,2", "a", "1.5", "1,-2", ",", "99999999999", f"{2**63},"]
)
def test_wrong_seeds_are_named(text):
    with pytest.raises(ConfigError, match="--seeds"):
        designs.parse_seeds(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "', 'titel = "', "did you mean title"),
        ('preset = "digits"', 'preset = "digit"', "did you mean digits"),
        ("train.epochs = 2", "train.epoch = 2", "did you mean train.epochs"),
        ("train.epochs = 2", "train.epochs = 0", "train.epochs = 0"),
        ("train.epochs = 2", "seed = 2", "use seeds"),
        ("routing.temperature = [0.5, 1]", "routing.temperature = [0.0, 1]", "routing.temperature = 0.0"),
        (
            "routing.temperature = [0.5, 1]",
            "routing.temperature = []",
            "axis routing.temperature has no values",
        ),
        ("routing.temperature = [0.5, 1]", "routing.temperature = [1, 1.0]", "two cells are the same"),
        ("[set]", 'design = "listed"\n[set]', r"design = listed has no \[\[cell\]\]"),
        ("routing.temperature = [0.5, 1]", "data.image_size = [8, 16]", "data.image_size cannot be an axis"),
        ("routing.temperature = [0.5, 1]", "routing.temperature = 1", "axes.routing.temperature"),
        ("[axes]", "[reference]\nrouting.temperature = 2\n[axes]", "temperature = 2 is not on its axis"),
        ("seeds = 3", "seeds = []", "at least one seed"),
        ("seeds = 3", "seeds = [1, 1]", "seed 1 is given twice"),
        ("seeds = 3", "seeds = 0", "at least one seed"),
        ("seeds = 3", 'seeds = "3"', "seeds"),
        ("[axes]", "[reference]\nmodel.latent_dim = 3\n[axes]", "reference model.latent_dim is not an axis"),
        ('name = "toy"', 'name = "../toy"', "study name '../toy'"),
        ('name = "toy"', "name = ", "toy.toml"),
        ("seeds = 3", "", "seeds: field required; expected seeds = 5, or"),
        ("seeds = 3", 'seeds = [1, "a"]', "seeds.*expected seeds = 5, or"),
        ('title = "A study of toys"', "", "title: field required; expected title = "),
    ],
)
def test_errors_in_a_profile_are_named(write, old, new, message):
    assert old in PROFILE
    with pytest.raises(ConfigError, match=message) as caught:
        designs.load_design(write(PROFILE.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_axes_that_contradict_each_other_are_refused(write):
    axes = '"objective" = ["elbo", "competitive"]\n"objective.balance_weight" = [1, 5]'
    text = PROFILE.replace("objective.balance_weight = [0, 20]", axes)
    with pytest.raises(ConfigError, match=r"objective = elbo, .*balance_weight = 5"):
        designs.load_design(write(text))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "quik"}, "did you mean quick"),
        ({"profile": "./nowhere.toml"}, "nowhere.toml: no such file.*: balancing, competition"),
        ({"profile": "quick", "changes": ["train.epochs"]}, "KEY=VALUE"),
        ({"profile": "quick", "changes": ["train.epohcs=3"]}, "did you mean train.epochs"),
        ({"profile": "quick", "changes": ["train.epochs=0"]}, "--set: train.epochs = 0"),
        ({"profile": "quick", "changes": ["objective.balance_weight=NaN"]}, "objective.balance_weight"),
        ({"profile": "quick", "changes": ["objective=elbow"]}, "did you mean elbo"),
        ({"profile": "quick", "changes": ["seed=3"]}, "use seeds"),
        ({"profile": "quick", "name": "a/b"}, "study name 'a/b'"),
    ],
)
def test_errors_in_the_options_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        designs.load_design(**arguments)
    assert "\n" not in str(caught.value)


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
values = st.one_of(leaves, st.lists(leaves, max_size=3))


@given(key=st.sampled_from([*overrides.keys(), "objective", "routing"]), value=values)
def test_any_setting_gives_a_design_or_one_line(key: str, value: Any):
    try:
        design = designs.load_design("quick", changes=[f"{key}={json.dumps(value)}"])
    except MoevaeError as error:
        message = str(error)
    else:
        message = key
        assert all(replace(cell.config, seed=1) == cell.run(1) for cell in design.cells)
    assert "\n" not in message
    assert key.partition(".")[0] in message
