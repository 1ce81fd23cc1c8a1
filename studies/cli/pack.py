"""`pack` and `unpack`: store the records of a study in one file, or in one file per record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studies.analysis.load import load_study
from studies.cli.options import Pack, Unpack
from studies.records import pack as packing
from studies.records.packed import PICTURES, RECORDS
from studies.report.sections.runs.examples import shown_pictures
from studies.utils.formatting import count


def pack(options: Pack, folder: Path) -> int:
    """Pack a study; print the files that are packed, deleted and left.

    Args:
        options: options of the command.
        folder: folder of the study.
    """
    shown = [shown_pictures(part) for part in load_study(folder).by_data().values()]
    made = packing.pack(folder, set().union(*shown))
    print(f"{folder.name}: {count(made.records, 'record')} in {RECORDS}")
    print(f"{count(len(made.kept), 'picture')} kept in {PICTURES}: those of the report")
    if made.dropped:
        print(f"{count(len(made.dropped), 'picture')} dropped; {PICTURES} lists their digests:")
        _print_all(made.dropped)
    if made.replaced:
        print("Packed records that newer files replaced:")
        _print_all(made.replaced)
    if made.left:
        print("Not packed:")
        _print_all(made.left)
    return 0


def unpack(options: Unpack, folder: Path) -> int:
    """Unpack a study and print the number of files.

    Args:
        options: options of the command.
        folder: folder of the study.
    """
    made = packing.unpack(folder)
    print(f"{folder.name}: {count(made.records, 'record')} and {count(len(made.kept), 'picture')} unpacked")
    if made.dropped:
        print(
            f"{count(len(made.dropped), 'picture')} dropped when the study was packed; "
            f"{PICTURES} lists their digests"
        )
    if made.replaced:
        print("Packed records that newer files replaced:")
        _print_all(made.replaced)
    return 0


def _print_all(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  {line}")
