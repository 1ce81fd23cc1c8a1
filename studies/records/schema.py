"""What a run left: one JSON record a run, named by its fingerprint, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moevae.config import overrides
from moevae.config import schema as configs
from moevae.config.types import Count

SCHEMA = 1
"""Version of the record's meaning."""

PICTURE_LIMIT = 64 << 20
"""Bytes of a picture: the largest that was ever written has 50 kB."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Failure(_Part):
    """Why a run has no metrics."""

    reason: str
    epoch: int | None = None
    step: int | None = None


class Epoch(_Part):
    """One point of the learning curve; bounds in nats per image, on the validation split.

    Beside them stands `gate_loss` where experts do not steer the gate: all that it learns by, the mean of the
    epoch's steps, in nats per image.
    """

    epoch: int
    loss: float
    temperature: float
    metrics: dict[str, float]
    confusion: list[str] = []
    """Validation images by expert, a text each, and class: numbers, one a line of JSON, would fill pages."""


class Confusion(_Part):
    """Test images counted by expert (rows) and class (columns)."""

    classes: list[str]
    counts: list[list[int]]


class Reliability(_Part):
    """The gate's confidence in a class, beside how often it was right, by bins of confidence.

    Of the half of the test images that did not name the experts.
    """

    images: list[int]
    confidence: list[float]
    accuracy: list[float]


class Picture(_Part):
    """A PNG beside the record. Samples: a grid of tiles, rows by epoch, columns by expert."""

    file: Annotated[str, Field(pattern=r"^[\w-][\w.-]*\.png$")]
    """A plain name: it lies in the folder of the record."""
    sha256: str
    rows: list[str] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)
    tile: tuple[Count, Count]


class Throughput(_Part):
    """Images per second of the whole population this run trained in, and of its evaluation."""

    train_images_per_second: float
    evaluation_images_per_second: float
    population: int


class Seconds(_Part):
    """Wall time of the whole population this run trained in."""

    train: float
    evaluation: float


class Hardware(_Part):
    """Where the run took place."""

    device: str
    device_name: str
    precision: str
    threads: int
    cores: int
    memory_gib: float


class Data(_Part):
    """What the run saw."""

    name: str
    sha256: str
    """Of all pixels, before splitting."""
    labels_sha256: str | None = None
    """Of all labels and the names of the classes; None where there are none. Older records do not tell."""
    size: tuple[int, int] | None = None
    """Height and width of an image, pixels."""
    train: int
    validation: int
    test: int


class Method(_Part):
    """What was fitted in place of the model, to the data and with the seed of the configuration."""

    name: str
    """Such as "k-means on pixels"."""
    settings: dict[str, Any] = {}
    oracle: bool = False
    """Whether it saw labels, so that its numbers are an upper line and no result."""
    derived: dict[str, Any] = {}
    """What the settings came to on this data; no part of the run's name."""


class Record(_Part):
    """One run: its configuration, and what came of it. Complete runs have metrics, failed ones a failure."""

    schema_version: int = SCHEMA
    fingerprint: str
    config: dict[str, Any]
    method: Method | None = None
    """None is the model itself."""
    status: Literal["complete", "failed"]
    failure: Failure | None = None
    metrics: dict[str, dict[str, float]] = {}
    """By split (`validation`, `test`) and name; bounds in nats per image."""
    load: list[float] = []
    """Share of test images won by each expert."""
    importance: list[float] = []
    """Mean gate probability of each expert on the test split."""
    ledger: dict[str, list[float]] = {}
    """Each expert's part in the test split's mixture ELBO, nats per image: recon_log_prob and kl_z, weighed
    by the gate. Their sums, less gate_information and kl_importance, are the mixture ELBO."""
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    curve: list[Epoch] = []
    pictures: dict[str, Picture] = {}
    throughput: Throughput | None = None
    seconds: Seconds | None = None
    energy_joules: float | None = None
    """Of training the whole population, as the device reports it; None where it reports none."""
    hardware: Hardware
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None
    source: str | None = None
    """SHA-256 of the code that made the record, whatever its commit."""
    data: Data
    started: str
    """UTC, ISO 8601."""

    @property
    def precision(self) -> str:
        """What the run was trained in; older records say float32 of all hardware."""
        told = self.hardware.precision
        return told if self.method else self.config["train"].get("precision", told)


class Outcome(BaseModel):
    """A record and the PNG bytes it names, as a value that travels between processes."""

    model_config = ConfigDict(frozen=True)

    record: Record
    files: dict[str, bytes] = {}


def name_of(config: configs.RunConfig, method: Method | None = None) -> str:
    """Return the fingerprint of a run: the configuration's, and for a baseline one of both."""
    if method is None:
        return overrides.fingerprint(config)
    chosen = method.model_dump(exclude={"derived"})
    text = json.dumps({"run": overrides.fingerprint(config), "method": chosen}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
