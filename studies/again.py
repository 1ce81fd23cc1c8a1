"""Runs trained anew from their records, and whether the same came of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moevae import config as configs
from studies.records import Record
from studies.site import Site, train

OF_THE_OCCASION = {
    *("throughput", "seconds", "energy_joules"),
    *("hardware", "versions", "commit", "dirty", "started"),
}
"""What a record says of clock, place and code, and not of its run."""


@dataclass(frozen=True)
class Repeat:
    """A run that was trained again."""

    fingerprint: str
    commit: str | None
    """Of the code that wrote the record."""
    differ: tuple[str, ...]
    """What came out otherwise, such as `metrics.test.nmi`; nothing if the record is repeated bit for bit."""


def chosen(records: Sequence[Record], number: int) -> list[Record]:
    """Return that many of the complete records, or all there are, by lot."""
    complete = [record for record in records if record.status == "complete"]
    return random.sample(complete, min(number, len(complete)))


def repeat(record: Record, site: Site) -> Repeat:
    """Train a record's run again, alone and with as many threads, and compare all that it keeps.

    On the record's own kind of device, where the site leaves it open.

    Raises:
        MoevaeError: no such data, or no such device.
    """
    config = configs.from_dict(record.config)
    method = record.method and record.method.model_copy(update={"derived": {}})  # as it was asked for
    device = record.hardware.device if site.device == "auto" else site.device
    place = replace(site, device=device, threads=record.hardware.threads)
    (outcome,) = train([config], on_epoch=None, site=place, method=method)
    # What a later version keeps beside it is not held against an older record.
    kept = record.model_dump(mode="json", exclude_unset=True, exclude=OF_THE_OCCASION)
    found = outcome.record.model_dump(mode="json")
    return Repeat(record.fingerprint, record.commit, tuple(differences(kept, found)))


def differences(kept: Any, found: Any, name: str = "") -> Iterator[str]:
    """Name what `kept` holds and `found` does not hold as it is, by its path."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for key, value in kept.items():
            yield from differences(value, found.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from differences(one, other, f"{name}.{index}")
    elif kept != found:
        yield name
