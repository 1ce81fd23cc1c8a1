"""`info`: the installation, or the content of a checkpoint."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from moevae.cli.dry_run import settings_text
from moevae.cli.options import Info
from moevae.config import preset_files, reference
from moevae.config.overrides import fingerprint, to_dict
from moevae.config.registry import DATASETS, PRESETS, RELEASES
from moevae.data import idx
from moevae.errors import ConfigError, DataError
from moevae.nn.stacked import count_parameters
from moevae.training import checkpoint
from moevae.utils import devices, provenance


def info(options: Info) -> int:
    """Print the content of a checkpoint, or a description of this installation.

    Args:
        options: options of the command.

    Raises:
        ConfigError: options contradict each other.
    """
    if options.settings:
        return _settings(options)
    if options.checkpoint is not None:
        return _of_checkpoint(options.checkpoint, options.json, options.write_preset)
    if options.write_preset is not None:
        raise ConfigError(
            f"--write-preset {options.write_preset}: expected a CHECKPOINT, whose settings are written"
        )
    about = _installation(options.data_root)
    if options.json:
        print(json.dumps(about, indent=1))
        return 0
    for name, version in about["versions"].items():
        print(f"{name:14}{version}")
    if about["commit"]:
        print(f"{'commit':14}{about['commit'][:12]}{', with changes' if about['dirty'] else ''}")
    cpu = about["cpu"]
    print(f"\ncores         {cpu['cores']} (torch uses {cpu['threads']}), {cpu['memory_gib']} GiB of memory")
    for device in about["devices"]:
        auto = " (selected by auto)" if device["name"] == about["auto"] else ""
        print(f"device {device['name']:7}{device['description']}{auto}")
    print(f"\ndata root     {about['data_root']}")
    for name, state in about["data"].items():
        print(f"{name:14}{state}")
    print("npz:PATH      your own: np.savez(PATH, images=...), optionally labels=...")
    print("amat:PATH     a folder with the statically binarized MNIST of Larochelle and Murray (2011)")
    print("folder:PATH   your own: PNG, JPEG, BMP and TIFF files; subfolders, if any, are classes")
    print("\npresets")
    for name, text in about["presets"].items():
        print(f"  {name}")
        print(textwrap.fill(text, 79, initial_indent=" " * 4, subsequent_indent=" " * 4))
    return 0


def _settings(options: Info) -> int:
    """Print the reference of settings."""
    if options.checkpoint is not None or options.write_preset is not None:
        raise ConfigError(
            "--settings: shows the settings of every run; expected no CHECKPOINT and no --write-preset"
        )
    known = reference.settings()
    if options.json:
        print(json.dumps([asdict(each) for each in known], indent=1))
        return 0
    for each in known:
        print(each.key)
        lines = {"values": each.values, "default": each.default_text, "meaning": each.meaning}
        for name, text in lines.items():
            begin = f"  {name:9}"
            print(textwrap.fill(text, 79, initial_indent=begin, subsequent_indent=" " * 11))
        print()
    return 0


def _installation(root: Path | None) -> dict[str, Any]:
    commit, dirty = provenance.commit()
    place, unknown = None, ""
    try:
        place = idx.data_root(root)
    except DataError as error:
        unknown = f"unknown ({error})"
    here = {name: f"available (part of {source.comes_with})" for name, source in DATASETS.items()} | {
        name: "available"
        if place and idx.is_available(name, place)
        else "not available: downloaded when it is first used"
        for name in RELEASES
    }
    return {
        "versions": provenance.versions(),
        "commit": commit,
        "dirty": dirty,
        "devices": [
            {"name": str(device), "description": str(devices.describe(device)["device_name"])}
            for device in devices.available()
        ],
        "auto": str(devices.resolve("auto")),
        "cpu": devices.describe(torch.device("cpu")),
        "data_root": str(place or unknown),
        "data": here,
        "presets": {name: " ".join((make.__doc__ or "").split()) for name, make in PRESETS.items()},
    }


def _of_checkpoint(path: Path, as_json: bool, preset: Path | None) -> int:
    trained = checkpoint.load(path)
    if preset is not None:
        try:
            preset_files.write(preset, trained.config)
        except ConfigError as error:
            raise ConfigError(f"--write-preset {error}") from None
    config, model = trained.config, trained.model
    gate, experts = count_parameters(model.gate), count_parameters(model.experts)
    shared = count_parameters(model.experts.encoder.trunk)
    about = {
        "checkpoint": str(path),
        "fingerprint": fingerprint(config),
        "seed": config.seed,
        "height": trained.height,
        "width": trained.width,
        "parameters": {"gate": gate, "experts": experts, "all": gate + experts},
        "bytes": path.stat().st_size,
        "data_sha256": trained.sha256,
        "labels_sha256": trained.labels_sha256,
        "config": to_dict(config),
    }
    if as_json:
        print(json.dumps(about, indent=1))
        return 0
    print(f"{path}")
    print(f"fingerprint  {about['fingerprint']}, seed {config.seed}")
    print(f"images       {trained.height} x {trained.width} pixels of {config.data.name}")
    each = (experts - shared) // config.model.num_experts
    parts = f"gate {gate:,}, {config.model.num_experts} experts of {each:,}"
    print(f"parameters   {gate + experts:,}: {parts}{f', shared {shared:,}' if shared else ''}")
    print(f"file         {path.stat().st_size:,} bytes\n")
    print(settings_text(config))
    if preset is not None:
        print(f"\n{preset}")
    return 0
