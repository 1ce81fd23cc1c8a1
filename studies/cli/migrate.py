"""`migrate`: a study of schema 1, in the names of schema 2."""

from __future__ import annotations

from pathlib import Path

from studies.cli.options import Migrate
from studies.records import migration
from studies.storage.connection import FILES
from studies.utils.formatting import count


def migrate(options: Migrate, folder: Path) -> int:
    """Migrate a study; print what was migrated, and what stays. Return 1 if a file cannot be trusted."""
    made = migration.migrate(folder, FILES)
    print(f"{folder.name}: {count(made.records, 'record')} migrated")
    for name in made.storages:
        print(f"{name} set aside as {name}.schema-1; the next command makes it from the records")
    for line in made.refused:
        print(line)
    return 1 if made.refused else 0
