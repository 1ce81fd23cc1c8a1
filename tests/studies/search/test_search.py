"""What a search is: its space, its objectives, its folder, and the profile that its best becomes."""

import json

import optuna
import pytest

from moevae.config import overrides
from moevae.errors import ConfigError, RecordError
from studies.analysis import selection
from studies.design import design as designs
from studies.search import export, objectives, spaces
from studies.search import search as searches
from studies.search.registry import SPACES
from studies.storage import connection as storage
from studies.testing.toy_searches import FAST, Climb, go


@pytest.fixture
def climb(tmp_path):
    (tmp_path / "run_log").mkdir()
    return Climb(tmp_path / "run_log")


@pytest.mark.parametrize(
    "other",
    [
        {"space": "training"},
        {"objective": "marginal_elbo"},
        {"seeds": "3"},
        {"changes": ("train.epochs=11",)},
        {"preset": "mnist"},
    ],
)
def test_a_folder_holds_one_search(other, tmp_path, climb):
    search = searches.load_search("gate", name="s", **FAST)
    go(search, tmp_path / "s", climb, trials=1)
    asked = searches.load_search(other.pop("space", "gate"), name="s", **{**FAST, **other})
    with pytest.raises(RecordError, match="--name"):
        go(asked, tmp_path / "s", climb, trials=2)


def test_a_search_is_refused_in_the_folder_of_an_ablation(tmp_path, climb):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.json").write_text(json.dumps(designs.load_design("quick").to_dict()))
    with pytest.raises(RecordError, match=r"study\.json"):
        go(searches.load_search("gate"), tmp_path / "s", climb)


def test_a_search_reads_back_as_itself(tmp_path, climb):
    search = searches.load_search("all", objective="nmi", seeds="3,5", changes=("train.epochs=10",))
    go(search, tmp_path / "s", climb, trials=2)
    assert searches.read(tmp_path / "s") == search


def test_the_best_becomes_a_profile_that_gives_its_very_runs(tmp_path, climb):
    search = searches.load_search("all", changes=("train.epochs=10", "model.variance_floor=0.001"))
    found = go(search, tmp_path / "s", climb, trials=6, pruner="none")
    (best,) = found.best
    export.write_profile(tmp_path / "best.toml", search, search.cell(best.params), best.number)
    design = designs.load_design(str(tmp_path / "best.toml"), seeds="20")
    (cell,) = design.cells
    assert cell.config == search.cell(best.params).config
    assert len(design.seeds) == 20
    assert overrides.fingerprint(cell.run(0)) in {
        path.stem for path in (tmp_path / "s" / "records").glob("*.json")
    }
    unseen = designs.load_design(str(tmp_path / "best.toml")).seeds
    assert len(unseen) == 20
    assert not set(unseen) & set(search.seeds)


def test_labels_are_marked_wherever_they_decide(tmp_path, climb):
    search = searches.load_search("gate", objective="mixture_elbo,nmi", name="mine", **FAST)
    assert search.name == "mine-oracle"
    assert search.oracle
    assert "oracle" in search.title
    tree = search.to_dict([])
    assert "oracle" in tree["description"]
    assert tree["search"]["oracle"] is True
    go(search, tmp_path / "s", climb, trials=1)
    with storage.opened(storage.default_url(tmp_path / "s")) as opened:
        study = optuna.load_study(study_name=search.name, storage=opened)
        assert study.user_attrs["oracle"] is True
        assert study.metric_names == ["mixture ELBO (nats per image, validation)", "NMI (validation, oracle)"]
    free = searches.load_search("gate")
    assert "oracle" not in free.name + free.title + json.dumps(free.to_dict([])["description"])


def test_objectives_are_named_as_the_reports_rules_are():
    rules = {rule.name for rule in selection.RULES}
    named = {each.rule for each in objectives.OBJECTIVES.values() if not each.oracle and each.by_epoch}
    assert named <= rules
    assert all(each.oracle == (each.name in ("acc", "nmi", "ari")) for each in objectives.OBJECTIVES.values())


@pytest.mark.parametrize("name", SPACES)
def test_every_corner_of_a_space_is_a_configuration(name):
    """Both ends of every range and all choices, one key at a time."""
    search = searches.load_search(name)
    for key, kept in search.space.items():
        ends = getattr(kept, "choices", None) or (kept.low, kept.high)
        for value in ends:
            params = {**(search.start or {}), key: value}
            cell = search.cell(params)
            assert spaces.params(cell.config, search.space) == params
    assert search.start is not None, f"the default preset is not in {name}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "gates"}, "did you mean gate"),
        ({"objective": "nmy"}, "did you mean nmi"),
        ({"objective": "nmi,nmi"}, "--objective nmi,nmi: nmi "),
        ({"preset": "digit"}, "did you mean digits"),
        ({"profile": "quik"}, "did you mean quick"),
        ({"name": "a/b"}, "a/b"),
        ({"changes": ["train.epochs=0"]}, "train.epochs = 0"),
        ({"changes": ["routing.kind=soft", "routing.temperature=1", "objective=elbo"]}, "nothing is left"),
        ({"changes": ["data.validation_size=0"]}, "validation"),
        ({"seeds": "0"}, "--seeds '0'"),
    ],
)
def test_unsearchable_settings_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        searches.load_search(options.pop("space", "gate"), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
