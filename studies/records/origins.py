"""The origins of a study's results: the identities of its data and its code."""

from __future__ import annotations

import logging
import shlex
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from moevae.config.registry import FILE_FORMATS
from moevae.config.schema import DataConfig
from moevae.errors import IdentityError
from moevae.utils.identity import (
    DIGEST_DIGITS,
    CodeIdentity,
    DataIdentity,
    changed_imports,
    code_differences,
    code_identity,
    differences,
    merged,
)
from studies.records.schema import Record

PACKAGES = ("moevae", "studies")
"""The packages whose code determines the numbers."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_SIDES = ("of the driver", "of the worker")


def code() -> CodeIdentity:
    """Return the identity of the code of this process, computed once."""
    from moevae.utils import provenance

    provenance.commit()  # cached now, in case the checkout changes later
    return code_identity(*PACKAGES)


def user_data_identities(sets: Iterable[DataConfig]) -> dict[str, DataIdentity]:
    """Return the identities of the user's own data sets, by name, for files and folders that exist.

    Other data sets are part of a package, or are verified by published checksums when they are read.

    Args:
        sets: data configurations.
    """
    whole = {
        each.name: DataConfig(name=each.name, image_size=each.image_size, bad_images=each.bad_images)
        for each in sorted(sets, key=lambda each: each.name)
    }
    found = {}
    for name, data in whole.items():
        kind, colon, path = name.partition(":")
        if colon and kind in FILE_FORMATS and Path(path).expanduser().exists():
            from moevae.data.datasets import identify, load_images, load_labels

            found[name] = identify(load_images(data), load_labels(data))
    return found


def data_identity(record: Record) -> DataIdentity:
    """Return the identity of the data of a record; older records identify the images only."""
    has_labels = "labels_sha256" in record.data.model_fields_set
    labels = (record.data.labels_sha256 or "") if has_labels else None
    return DataIdentity(record.data.sha256, labels, record.data.size)


def sources(records: Iterable[Record]) -> Counter[str]:
    """Count the records by the digest of their source code; early records have none."""
    return Counter(record.source for record in records if record.source is not None)


def with_other_data(records: Iterable[Record]) -> Iterator[tuple[Record, str]]:
    """Yield the records whose data differ from most records of the same data set, with the differences."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.data.name, []).append(record)
    for group in groups.values():
        known = _most_common(list(map(data_identity, group)))
        for record in group:
            if found := differences(known, data_identity(record), ("in most records", "in this one")):
                yield record, ", ".join(found)


@dataclass
class Origins:
    """The identities of the data and the code of a driver. Workers compare their own with them."""

    code: CodeIdentity | None = None
    """Identity of the driver's code; None accepts any code."""
    allow_mixed_code: bool = False
    """Whether different code of a worker causes a warning instead of an error."""
    files: Mapping[str, DataIdentity] = field(default_factory=dict)
    """Identities of data sets read by the driver, by name."""

    def __post_init__(self) -> None:
        self._known = dict(self.files)
        self._warned: set[CodeIdentity] = set()

    def begin(self, folder: Path, records: Sequence[Record]) -> None:
        """Compare the data files with the existing records; warn if other source code made some of these.

        Args:
            folder: the folder of the study, for messages.
            records: the existing records.

        Raises:
            IdentityError: a file differs from the records, or records with one name of a data set differ.
        """
        recorded: dict[str, DataIdentity] = {}
        for record in records:
            name, seen = record.data.name, data_identity(record)
            before = recorded.setdefault(name, seen)
            if found := differences(before, seen, ("in some", f"in {record.fingerprint}")):
                raise IdentityError(
                    f"{folder}: records of two data sets with the name {name} ({', '.join(found)}): "
                    "move the records of one of them, or choose another --name for this study"
                )
            recorded[name] = merged(before, seen)
        for name, seen in recorded.items():
            now = self.files.get(name, seen)
            if found := differences(seen, now, (f"in the records in {folder}", "in the file")):
                raise IdentityError(
                    f"{name} changed: {', '.join(found)}; restore the file, or choose another --name"
                )
            self._known[name] = merged(seen, now)
        if self.code and (others := {*sources(records)} - {self.code.source}):
            digests = ", ".join(sorted(source[:DIGEST_DIGITS] for source in others))
            _log.warning(
                "%s has runs of other source code (%s, and now %s); `moevae verify %s --rerun 1` repeats one "
                "with the code of now",
                *(folder, digests, self.code.source[:DIGEST_DIGITS], shlex.quote(str(folder))),
            )

    def check_code(self) -> None:
        """Compare the code of this process with the driver's, and with the files when they were imported.

        Raises:
            IdentityError: a file changed before this process imported it, or the code differs from the
                driver's and mixed code is not allowed.
        """
        if self.code is None:
            return
        if not self.allow_mixed_code:
            _same_code(self.code, code())
        if changed := changed_imports(*PACKAGES):
            raise IdentityError(
                f"the code changed while it runs ({', '.join(changed)}): no record has numbers of both "
                "versions; start again to use the new one"
            )

    def check_data(self, name: str, loaded: DataIdentity) -> None:
        """Compare the data loaded by a worker with the driver's.

        Args:
            name: name of the data set.
            loaded: identity of the data that the worker loaded.

        Raises:
            IdentityError: the data differ.
        """
        known = self._known.get(name, loaded)
        if found := differences(known, loaded, ("in this study", f"on {socket.gethostname()}")):
            raise IdentityError(
                f"{name} differs between machines, or changed during the study: {', '.join(found)}; "
                "every worker needs the same file"
            )

    def check_record(self, record: Record) -> None:
        """Compare the data and the code of a new record with those of the study.

        Args:
            record: the new record.

        Raises:
            IdentityError: the data differ, or the code differs and mixed code is not allowed.
        """
        name, seen = record.data.name, data_identity(record)
        self.check_data(name, seen)
        self._known[name] = merged(self._known.get(name, seen), seen)
        if self.code is None:
            return
        theirs = CodeIdentity(record.source or "", record.versions.get("torch", ""))
        if not self.allow_mixed_code:
            _same_code(self.code, theirs)
        elif theirs not in self._warned and (found := code_differences(self.code, theirs, _SIDES)):
            self._warned.add(theirs)
            _log.warning("a worker and this driver run different code: %s", ", ".join(found))


def _same_code(driver: CodeIdentity, worker: CodeIdentity) -> None:
    if found := code_differences(driver, worker, _SIDES):
        raise IdentityError(
            f"a worker and this driver run different code ({', '.join(found)}): "
            "install the same code on both, or allow the difference with --allow-mixed-code"
        )


def _most_common(seen: list[DataIdentity]) -> DataIdentity:
    """Return the most common identity; among equally common ones, the first in sorted order."""

    def most(values: Iterable[_T | None]) -> _T | None:
        counts = Counter(value for value in values if value is not None)
        return min(counts, key=lambda value: (-counts[value], str(value)), default=None)

    images = most(each.images for each in seen) or ""
    seen = [each for each in seen if each.images == images]
    size = most(each.size for each in seen)
    seen = [each for each in seen if each.size in (None, size)]
    return DataIdentity(images, most(each.labels for each in seen), size)
