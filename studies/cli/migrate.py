"""`migrate`: migrate a study from schema 1 to schema 2."""

from __future__ import annotations

from pathlib import Path

from studies.cli.options import Migrate
from studies.records import migration
from studies.storage.connection import FILES
from studies.utils.formatting import count


def migrate(options: Migrate, folder: Path) -> int:
    """Migrate a study and print the result.

    Args:
        options: options of the command.
        folder: folder of the study.

    Returns:
        The exit code: 1 if a file is invalid.
    """
    made = migration.migrate(folder, FILES)
    print(f"{folder.name}: {count(made.records, 'record')} migrated")
    for name in made.storages:
        print(f"{name} set aside as {name}.schema-1; the next command rebuilds it from the records")
    for line in made.refused:
        print(line)
    return 1 if made.refused else 0
