"""The reference of settings is complete and agrees with the schema."""

import json

import pytest

from moevae.__main__ import main
from moevae.config import reference
from moevae.config.objectives import MEMBERS
from moevae.config.overrides import fingerprint, keys, lookup, override
from moevae.config.registry import ROUTINGS
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError

SETTINGS = {setting.key: setting for setting in reference.settings()}


def test_the_reference_has_every_setting_and_no_other():
    assert set(SETTINGS) == {key for key in keys() if key != "seed"} | {"objective"}


@pytest.mark.parametrize("key", SETTINGS)
def test_each_has_a_meaning_that_explains_its_values(key):
    setting = SETTINGS[key]
    assert setting.meaning.endswith(".")
    if key != "objective":  # the page on objectives describes its members
        unexplained = [name for name in setting.choices if f"`{name}`" not in setting.meaning]
        assert not unexplained


@pytest.mark.parametrize("key", SETTINGS)
def test_defaults_are_those_of_a_run(key):
    given = override(RunConfig(), {key: SETTINGS[key].default})
    assert fingerprint(given) == fingerprint(RunConfig())


@pytest.mark.parametrize(
    ("key", "name"),
    [(key, name) for key, setting in SETTINGS.items() for name in setting.choices if ":" not in name],
)
def test_every_choice_is_accepted_and_changes_what_it_names(key, name):
    value = [name] if isinstance(SETTINGS[key].default, list) else name
    if key == "model.deformations" and name not in ("affine", "displacement"):
        value = ["affine", name]
    needed = {"model.gate_input": "target"} if name == "posterior" else {}
    found = lookup(override(RunConfig(), needed | {key: value}), key)
    assert found == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("key", [key for key, setting in SETTINGS.items() if setting.choices])
def test_no_other_name_is_accepted(key):
    value = ["no such name"] if isinstance(SETTINGS[key].default, list) else "no such name"
    with pytest.raises(ConfigError):
        override(RunConfig(), {key: value})


def test_bounds_are_those_that_are_checked():
    assert SETTINGS["data.imbalance"].values == "number > 0 and ≤ 1"
    for value, good in ((0, False), (1e-3, True), (1, True), (1.1, False)):
        if good:
            override(RunConfig(), {"data.imbalance": value})
        else:
            with pytest.raises(ConfigError):
                override(RunConfig(), {"data.imbalance": value})


def test_an_entry_of_another_package_is_among_the_values():
    ROUTINGS.register("of-a-test")(lambda log_probs, uniform=None: log_probs.exp())
    try:
        (kind,) = [each for each in reference.settings() if each.key == "routing.kind"]
        assert kind.choices[-1] == "of-a-test"
    finally:
        ROUTINGS.unregister("of-a-test")


def test_citations_are_read_from_meanings():
    assert "Shazeer et al., 2017" in SETTINGS["routing.kind"].papers
    assert SETTINGS["objective.consistency"].papers == (
        "Miyato et al., 2018",
        "Hu et al., 2017",
        "Ji et al., 2019",
    )
    assert not SETTINGS["train.epochs"].papers


def test_info_prints_every_setting(capsys):
    assert main(["info", "--settings", "--json"]) == 0
    settings = {each["key"]: each for each in json.loads(capsys.readouterr().out)}
    assert settings.keys() == SETTINGS.keys()
    assert settings["objective"]["choices"] == [*MEMBERS]
    assert main(["info", "--settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert set(SETTINGS) <= set(lines)
    assert max(map(len, lines)) < 80
