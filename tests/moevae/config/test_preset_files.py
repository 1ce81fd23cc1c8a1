"""Presets in files: a round trip, and errors in one line."""

import pytest

from moevae.config import preset_files
from moevae.config.overrides import override
from moevae.config.presets import preset
from moevae.config.registry import PRESETS
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError


@pytest.mark.parametrize("name", [*PRESETS])
def test_every_preset_is_restored_from_a_file(name, tmp_path):
    config = override(preset(name), {"seed": 7, "train.start": "0" * 16})
    preset_files.write(tmp_path / "mine.toml", config)
    assert preset(str(tmp_path / "mine.toml")) == preset(name)


def test_settings_that_are_left_out_have_their_defaults(tmp_path):
    (tmp_path / "mine.toml").write_text("[train]\nepochs = 3\n[data]\nimage_size = [9, 8]\n")
    expected = override(RunConfig(), {"train.epochs": 3, "data.image_size": (9, 8)})
    assert preset(str(tmp_path / "mine.toml")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[train]\nepoch = 3", "did you mean train.epochs"),
        ("[train]\nepochs = 0", "train.epochs = 0"),
        ("train = 3", "train"),
        ("seed = 3", "no seed"),
        ("[axes]\nmodel.latent_dim = [2, 3]", "moevae ablate --profile"),
        ("[train", "preset"),
        ("a." * 5_000 + "b = 1", "preset"),
        ("x = " + "[" * 9_000, "preset"),
        ("\x00", "preset"),
        ("# " + "x" * (1 << 14), "more than"),
    ],
)
def test_a_mistake_in_a_file_is_a_line_that_names_it(text, expected, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        preset(str(tmp_path / "mine.toml"))
    message = str(caught.value)
    assert expected in message
    assert "mine.toml" in message
    assert len(message.splitlines()) == 1
    assert len(message) < 1000


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.toml").write_text("mine")
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        preset_files.write(tmp_path / "mine.toml", RunConfig())
    assert (tmp_path / "mine.toml").read_text() == "mine"
