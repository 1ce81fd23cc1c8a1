"""A registry: names without imports, entries from outside, and mistakes."""

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from moevae.config import registry as kinds
from moevae.config.overrides import fingerprint, override
from moevae.config.schema import RunConfig
from moevae.data.datasets import load_images, load_labels
from moevae.data.sources import DataSource
from moevae.errors import ConfigError
from moevae.utils import registry as machinery
from moevae.utils.registry import Registry
from studies.design import baselines
from studies.search import registry as search

ALL = [
    each
    for module in (kinds, baselines, search)
    for each in vars(module).values()
    if isinstance(each, Registry)
]


def by_symbol(registries):
    return pytest.mark.parametrize("registry", registries, ids=lambda each: each.symbol)


@by_symbol(ALL)
def test_names_read_from_the_source_are_those_that_the_modules_register(registry):
    names = list(registry)
    assert len(names) == len(set(names)) == len(registry) > 0
    for name in names:
        assert registry[name] is registry.find(name)
    assert set(registry._entries) == set(names)


def test_valid_values_are_known_without_torch():
    code = (
        "import sys\n"
        "from moevae.config import registry\n"
        "from moevae.config.overrides import from_dict\n"
        "from_dict({'data': {'name': 'mnist'}, 'model': {'activation': 'tanh'},\n"
        "           'routing': {'kind': 'gumbel', 'temperature_schedule': 'linear'},\n"
        "           'objective': {'balancing': 'loss-free', 'consistency': ['vat', 'augmentation']}})\n"
        "names = [list(each) for each in vars(registry).values() if isinstance(each, registry.Registry)]\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def letters(tmp_path, monkeypatch):
    """A kind whose entries are in a module of their own, and in a package that offers one by entry point."""
    (tmp_path / "alphabet.py").write_text(
        "from kinds_of_letters import LETTERS, NUMBERS\n"
        "@LETTERS.register('beta', vowel=False)\n"
        "def beta(): return 'b'\n"
        "alpha = LETTERS.register('alpha', vowel=True)(lambda: 'a')\n"
        "NUMBERS.register('one')(1)\n",
        encoding="utf-8",
    )
    (tmp_path / "kinds_of_letters.py").write_text(
        "from moevae.utils.registry import Registry\n"
        "LETTERS = Registry('LETTERS', 'letter', 'alphabet', group='tests.letters', traits=('vowel',))\n"
        "NUMBERS = Registry('NUMBERS', 'number', 'alphabet')\n",
        encoding="utf-8",
    )
    (tmp_path / "offered.py").write_text("def omega(): return 'o'\n", encoding="utf-8")
    info = tmp_path / "greek-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greek\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[tests.letters]\nomega = offered:omega\nbroken = offered:psi\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("alphabet", "kinds_of_letters", "offered")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    machinery._declarations.cache_clear()
    machinery._entry_points.cache_clear()
    yield __import__("kinds_of_letters").LETTERS
    for name in names:
        sys.modules.pop(name, None)
    machinery._declarations.cache_clear()
    machinery._entry_points.cache_clear()


def test_entries_are_imported_when_they_are_looked_up(letters):
    assert metadata.entry_points(group="tests.letters").names == {"omega", "broken"}
    assert list(letters) == ["beta", "alpha", "broken", "omega"]
    assert "gamma" not in letters
    assert "omega" in letters
    assert not {"alphabet", "offered"} & set(sys.modules)
    assert letters["alpha"]() == "a"
    assert letters.traits("alpha") == {"vowel": True}
    assert letters.find("omega")() == "o"
    assert letters.traits("omega") == {}


def test_entries_from_outside(letters):
    @letters.register("gamma")
    def gamma():
        return "g"

    assert list(letters) == ["beta", "alpha", "broken", "gamma", "omega"]
    assert letters["gamma"] is gamma
    letters.unregister("gamma")
    assert "gamma" not in letters


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda letters: letters.find("alpa"), r"letter 'alpa'.*\balpha\b"),
        (lambda letters: letters.register("beta")(len), r"letter 'beta' .*registered"),
        (lambda letters: letters.register("a+b"), r"letter 'a\+b': "),
        (lambda letters: letters.register("c", vowels=1), r"'vowels'.*\bvowel\b"),
        (lambda letters: letters.unregister("beta"), "letter 'beta' .*built in"),
        (lambda letters: letters["broken"], r"letter 'broken'.*offered:psi \(.*tests.letters"),
    ],
)
def test_mistakes(letters, mistake, message):
    with pytest.raises(ConfigError, match=message):
        mistake(letters)


def test_a_lookup_of_an_unknown_name_is_a_mappings(letters):
    assert letters.get("delta") is None
    with pytest.raises(KeyError):
        letters["delta"]


def test_a_setting_takes_what_is_registered():
    before = fingerprint(RunConfig())
    kinds.ROUTINGS.register("uniform")(lambda log_probs, uniform: log_probs.exp().mean(1, True))
    try:
        assert override(RunConfig(), {"routing.kind": "uniform"}).routing.kind == "uniform"
        assert fingerprint(RunConfig()) == before
    finally:
        kinds.ROUTINGS.unregister("uniform")
    with pytest.raises(ConfigError, match=r"^routing\.kind = 'uniform': .*\bsoft, hard,"):
        override(RunConfig(), {"routing.kind": "uniform"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("routing.kind", "sotf", "unknown routing: did you mean soft?"),
        ("routing.temperature_schedule", "learnd", "unknown schedule: did you mean learned?"),
        ("train.learning_rate_schedule", "learned", "unknown schedule: did you mean linear?"),
        ("model.activation", "rel", "unknown activation: did you mean relu?"),
        ("objective.balancing", "loss-fre", "unknown balancing loss: did you mean loss-free?"),
        ("objective.consistency", ["kn"], "unknown consistency term: did you mean knn?"),
        ("objective.consistency", ["vat", "vat"], "a consistency term is named twice"),
        ("objective.consistency", "vat", 'expected a list of terms, such as ["vat"]'),
    ],
)
def test_a_value_that_is_not_registered(key, value, message):
    with pytest.raises(ConfigError) as caught:
        override(RunConfig(), {key: value})
    assert str(caught.value) == f"{key} = {value!r}: {message}"


@pytest.mark.parametrize("names", [["augmentation", "knn"], ["vat", "augmentation", "knn"]])
def test_the_order_of_consistency_terms_is_not_a_difference(names):
    found = [
        override(RunConfig(), {"objective.consistency": order}).objective.consistency
        for order in (names, names[::-1])
    ]
    assert found == [tuple(names)] * 2


def test_a_data_set_from_outside():
    images = np.random.default_rng(0).random((40, 5, 4)).astype(np.float32)
    classes = ("odd", "even")
    kinds.DATASETS.register("noise")(
        DataSource(lambda root: images, lambda root: (np.arange(40) % 2, classes), num_test=10)
    )
    try:
        config = override(RunConfig(), {"data.name": "noise"}).data
        found, labels = load_images(config), load_labels(config)
        assert found.size == (5, 4)
        np.testing.assert_array_equal(found.test.numpy().reshape(10, 5, 4), images[30:])
        assert labels.classes == classes
        np.testing.assert_array_equal(labels.test, np.arange(30, 40) % 2)
    finally:
        kinds.DATASETS.unregister("noise")
