"""Migration of the files of a study from schema 1 to schema 2: new names, the same numbers."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moevae.config import migration, overrides
from moevae.errors import ConfigError, RecordError
from moevae.utils import content
from moevae.utils.io import write_atomically
from studies.records import lock, packed, store, study_file
from studies.records.schema import PICTURE_LIMIT, Method, name_of

_METRICS = {
    "hard_elbo": "map_elbo",
    "kl_importance": "marginal_kl",
    "gate_information": "mutual_information",
}
# `tight_elbo` and `amortization_gap`, one-sample estimates that are no longer computed, keep their names.

_STUDIES = {
    "sharp": "imsat-mnist",
    "sharp-fashion": "imsat-fashion-mnist",
    "seed2019": "zeldes2019",
    "smoothness": "consistency",
    "smoothness-fashion": "consistency-fashion-mnist",
}
"""Profiles that were renamed with schema 2."""


@dataclass(frozen=True)
class Migration:
    """The result of a migration."""

    records: int
    refused: tuple[str, ...] = ()
    """Invalid files, which are kept, one line each."""
    storages: tuple[str, ...] = ()
    """Files of Optuna's storage that were renamed; the next command rebuilds the storage from the records."""


def is_old(folder: Path) -> bool:
    """Return whether the `study.json` in a folder is of schema 1."""
    try:
        tree = content.parse_json(content.read(folder / study_file.NAME))
    except (OSError, ValueError):
        return False
    return isinstance(tree, Mapping) and tree.get("schema") == migration.FROM


def migrate(folder: Path, storages: tuple[str, ...] = ()) -> Migration:
    """Migrate a study; call it again to continue an interrupted migration.

    A new file is written before the old one is removed, and `study.json` is written last.

    Args:
        folder: the folder of the study.
        storages: names of the files of Optuna's storage in the folder.

    Raises:
        RecordError: the study is not of schema 1, or `study.json` cannot be migrated.
        StudyLockedError: a driver works on the study.
    """
    if not is_old(folder):
        raise RecordError(f"{folder}: not a study of schema {migration.FROM}; nothing to migrate")
    if (folder / packed.RECORDS).exists():
        raise RecordError(f"{folder}: packed in schema {migration.FROM}; expected one file per record")
    with lock.hold(folder):
        description = _study(content.parse_json(content.read(folder / study_file.NAME)))
        with content.parsing(f"{folder / study_file.NAME}: cannot be migrated", RecordError):
            study_file.StudyFile.model_validate(description)
        refused, count = [], 0
        for path in sorted((folder / "records").glob("*.json")):
            try:
                count += _record(path)
            except (RecordError, OSError) as error:
                refused.append(str(error))
        aside = [folder / name for name in storages if (folder / name).exists()]
        for path in aside:
            path.rename(path.with_name(f"{path.name}.schema-{migration.FROM}"))
        text = json.dumps(description, indent=1, allow_nan=False) + "\n"
        write_atomically(folder / study_file.NAME, text.encode())
    return Migration(count, tuple(refused), tuple(path.name for path in aside))


def _record(path: Path) -> bool:
    """Migrate one record with its pictures; return False if it is of schema 2."""
    refused = f"{path}: not a valid record of schema {migration.FROM}"
    with content.parsing(refused, RecordError):
        tree = content.parse_json(store.without_digest(content.read(path)))
        if tree["schema_version"] != migration.FROM:
            return False
        method = None if tree["method"] is None else Method.model_validate(tree["method"])
        if path.stem != tree["fingerprint"] or tree["fingerprint"] != _old_name(tree["config"], method):
            raise ValueError("the fingerprint of the configuration differs from the name of the record")
        try:
            config = overrides.from_dict(migration.migrate_config(tree["config"]))
        except ConfigError as error:
            raise ValueError(str(error)) from None
        new = _renamed(tree, name_of(config, method), overrides.to_dict(config))
    for old, picture in zip(tree["pictures"].values(), new["pictures"].values(), strict=True):
        drawn = content.read(path.parent / old["file"], PICTURE_LIMIT)
        if hashlib.sha256(drawn).hexdigest() != old["sha256"]:
            raise RecordError(f"{path}: the picture {old['file']} is missing or changed")
        write_atomically(path.parent / picture["file"], drawn)
    write_atomically(path.with_name(f"{new['fingerprint']}.json"), store.with_digest(new))
    store.read(path.with_name(f"{new['fingerprint']}.json"))
    path.unlink()
    for old in tree["pictures"].values():
        (path.parent / old["file"]).unlink(missing_ok=True)
    return True


def _renamed(tree: Mapping[str, Any], name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1 in schema 2."""
    new: dict[str, Any] = {}
    for key, value in tree.items():
        new["elbo_terms" if key == "ledger" else key] = value
        if key == "fingerprint":
            new["migrated_from"] = value
    pictures = {
        kind: {**picture, "file": picture["file"].replace(tree["fingerprint"], name)}
        for kind, picture in tree["pictures"].items()
    }
    curve = [{**point, "metrics": _metrics(point["metrics"])} for point in tree["curve"]]
    metrics = {split: _metrics(values) for split, values in tree["metrics"].items()}
    return new | {
        "schema_version": migration.FROM + 1, "fingerprint": name, "config": config,
        "metrics": metrics, "curve": curve, "pictures": pictures,
    }  # fmt: skip


def _metrics(values: Mapping[str, float]) -> dict[str, float]:
    return {_METRICS.get(name, name): value for name, value in values.items()}


def _old_name(config: Mapping[str, Any], method: Method | None) -> str:
    """Return the name that schema 1 gave to a record; see `name_of`."""
    bare = migration.old_fingerprint(config)
    if method is None:
        return bare
    chosen = method.model_dump(exclude={"derived"})
    text = json.dumps({"run": bare, "method": chosen}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _study(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `study.json` of schema 1 in schema 2."""
    new = dict(tree) | {"schema": study_file.SCHEMA, "name": _STUDIES.get(tree["name"], tree["name"])}
    new["command"] = _command(tree.get("command", ""))
    new["base"] = overrides.to_dict(overrides.from_dict(migration.migrate_config(tree["base"])))
    new["axes"] = dict(_axis(key, levels) for key, levels in tree["axes"].items())
    new["cells"] = [_cell(cell) for cell in tree["cells"]]
    if tree.get("baseline") is not None:
        new["baseline"] = _cell(tree["baseline"])
    if tree.get("search") is not None:
        new["search"] = _search(tree["search"])
    return new


def _command(text: str) -> str:
    """Return a command in the names of schema 2: of settings and of profiles."""
    words = shlex.split(text)
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        if before == "--profile":
            words[place] = _STUDIES.get(word, word)
        elif before == "--set" and "=" in word:
            key, _, value = word.partition("=")
            key, migrated = migration.migrate_setting(key, value)
            words[place] = f"{key}={migrated if isinstance(migrated, str) else json.dumps(migrated)}"
    return shlex.join(words)


def _axis(key: str, levels: list[Any]) -> tuple[str, list[Any]]:
    return migration.migrate_key(key), [migration.migrate_setting(key, level)[1] for level in levels]


def _cell(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(migration.migrate_setting(key, value) for key, value in values.items())


def _search(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition of a search in schema 2: names of settings, of choices and of objectives."""
    space = {}
    for key, text in tree["space"].items():
        distribution = json.loads(text)
        if "choices" in (inner := distribution["attributes"]):
            inner["choices"] = [migration.migrate_setting(key, choice)[1] for choice in inner["choices"]]
        space[migration.migrate_key(key)] = json.dumps(distribution)
    return {**tree, "space": space, "objectives": [_METRICS.get(name, name) for name in tree["objectives"]]}
