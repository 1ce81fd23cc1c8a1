"""Migration of configurations of schema 1, against fingerprints and a checkpoint that schema 1 wrote."""

import json
import zipfile
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from moevae.config.migration import migrate_config, migrate_setting, old_fingerprint
from moevae.config.overrides import from_dict, keys
from moevae.errors import CheckpointError
from moevae.training.checkpoint import load

ARCHIVE = Path(__file__).parents[2] / "support" / "schema1.zip"


@pytest.fixture
def checkpoint(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        return Path(archive.extract("run.safetensors", tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("objective.smoothness", "none"), ("objective.consistency", [])),
        (("objective.smoothness", "both"), ("objective.consistency", ["vat", "augmentation"])),
        (
            ("objective.smoothness", "virtual-adversarial+stretched-neighbors"),
            ("objective.consistency", ["vat", "knn-stretch"]),
        ),
        (("objective.experts_steer_gate", False), ("objective.expert_gradient", 0.0)),
        (("routing.kind", "top-k"), ("routing.kind", "sampled")),
        (("routing.top_k", 2), ("routing.num_sampled", 2)),
        (("data.binarization", "fixed"), ("data.binarization", "static")),
        (("model.gate_input", "gray"), ("model.gate_input", "grayscale")),
        (("objective", "tight"), ("objective", "marginal")),
        (("objective.balance_prior", [1, 2]), ("model.expert_prior", [1, 2])),
        (("train.epochs", 3), ("train.epochs", 3)),
    ],
)
def test_a_setting_gets_its_new_name_and_value(old, new):
    assert migrate_setting(*old) == new


def test_a_checkpoint_of_schema_1_is_loaded(checkpoint):
    config = load(checkpoint).config
    assert (config.routing.kind, config.objective.consistency) == ("sampled", ("vat", "augmentation"))


def test_the_old_fingerprint_is_that_of_schema_1_and_every_key_has_a_place(checkpoint):
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    tree = json.loads(metadata["config"])
    assert old_fingerprint(tree) == metadata["fingerprint"] == "aa26bdca714dbaf5"
    new = migrate_config(tree)
    names = {
        f"{section}.{name}" for section, settings in new.items() if section != "seed" for name in settings
    }
    assert names <= set(keys())
    assert from_dict(new) == load(checkpoint).config


def test_a_modified_checkpoint_of_schema_1_is_refused(checkpoint):
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    metadata["config"] = metadata["config"].replace('"top_k": 1', '"top_k": 2')
    save_file(load_file(checkpoint), checkpoint, metadata)
    with pytest.raises(CheckpointError, match="checksum"):
        load(checkpoint)
