"""`verify` and `rebuild-storage`: look whether a study's files agree, and make its storage anew."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from studies import upkeep
from studies.arguments import RebuildStorage, Verify


def verify(options: Verify, folder: Path) -> int:
    """Print what was found in a study's folder; return 1 if anything there cannot be trusted."""
    verdict = upkeep.verify(folder, options.storage)
    if options.json:
        print(json.dumps({"folder": str(folder), **asdict(verdict)}, indent=1))
        return 1 if verdict.problems else 0
    for problem in verdict.problems:
        print(problem)
    failed = f", {verdict.failed} failed" if verdict.failed else ""
    found = f"{len(verdict.problems)} problems" if verdict.problems else "all records and the storage agree"
    print(f"{folder.name}: {verdict.complete} of {verdict.planned} runs complete{failed}; {found}")
    return 1 if verdict.problems else 0


def rebuild_storage(options: RebuildStorage, folder: Path) -> int:
    """Make the storage anew and say what it holds."""
    print(f"{folder.name}: {upkeep.rebuild(folder, options.storage)} trials, made from the records")
    return 0
