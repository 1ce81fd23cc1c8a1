"""`rebuild-storage`: rebuild the storage of a study from its records."""

from __future__ import annotations

from pathlib import Path

from studies.cli.options import RebuildStorage
from studies.storage import connection as storage
from studies.utils.formatting import count
from studies.verify import rebuild


def rebuild_storage(options: RebuildStorage, folder: Path) -> int:
    """Rebuild the storage and print its number of trials.

    Args:
        options: options of the command.
        folder: folder of the study.
    """
    url = storage.given(options.storage)
    if url:
        storage.check(url)
    trials = count(rebuild.rebuild(folder, url), "trial")
    print(f"{folder.name}: {trials} rebuilt from the records")
    return 0
