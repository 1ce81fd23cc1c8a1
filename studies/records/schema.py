"""The schema of records: one JSON file per run, named by the fingerprint of the run."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moevae.config import overrides
from moevae.config import schema as configs
from moevae.config.types import Count, MapMethod

SCHEMA = 3
"""Version of the schema of records. Those of schema 2 are read, too: their curves are lists of epochs."""

PICTURE_LIMIT = 64 << 20
"""Maximum size of a picture, in bytes; typical pictures have less than 50 kB."""


LARGEST = 1e39
"""Maximum magnitude of a value in a record; sums of larger squares would overflow."""

Value = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A metric."""
Amount = Annotated[float, Field(ge=0, le=LARGEST)]
"""A time or a throughput."""
Share = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]
"""A share of the images, with a tolerance for rounding."""
Images = Annotated[int, Field(ge=0, lt=10**15)]
"""A number of images."""
EpochNumber = Annotated[int, Field(gt=0, lt=10**15)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Failure(_Part):
    """Why a run has no metrics."""

    reason: str
    epoch: int | None = None
    step: int | None = None


class Epoch(_Part):
    """One point of a learning curve, see `Curve`."""

    epoch: EpochNumber
    loss: Value
    temperature: float
    metrics: dict[str, Value]
    confusion: str = ""


class Curve(_Part):
    """The learning curve, with a value per epoch; bounds are in nats per image, on the validation split.

    If the losses of the experts do not reach the gate, the metrics include `gate_loss`: the
    loss of the gate, averaged over the steps of the epoch, in nats per image.
    """

    epoch: list[EpochNumber] = []
    loss: list[Value] = []
    temperature: list[float] = []
    metrics: dict[str, list[Value | None]] = {}
    """By name; None in epochs without the metric."""
    confusion: list[str] = []
    """Counts of validation images as texts, such as `9 0;1 8` for two experts with the counts of two classes.
    A text is empty in an epoch without counts, and the list is empty if there are none at all."""

    @classmethod
    def of(cls, points: Sequence[Epoch]) -> Curve:
        """Return the curve with these points.

        Args:
            points: the points, in the order of the epochs.
        """
        names = dict.fromkeys(name for point in points for name in point.metrics)
        columns = {
            "epoch": [point.epoch for point in points],
            "loss": [point.loss for point in points],
            "temperature": [point.temperature for point in points],
            "metrics": {name: [point.metrics.get(name) for point in points] for name in names},
        }
        if any(point.confusion for point in points):
            columns["confusion"] = [point.confusion for point in points]
        return cls.model_validate(columns)

    def __len__(self) -> int:
        return len(self.epoch)

    def last(self) -> dict[str, float]:
        """Return the metrics of the last epoch, with its `loss`."""
        found = {name: values[-1] for name, values in self.metrics.items()}
        return {"loss": self.loss[-1], **{name: value for name, value in found.items() if value is not None}}

    def end(self) -> Curve:
        """Return the last epoch as a curve, or this curve if it has none."""
        columns = {name: getattr(self, name)[-1:] for name in ("epoch", "loss", "temperature", "confusion")}
        return self.model_copy(
            update={**columns, "metrics": {name: values[-1:] for name, values in self.metrics.items()}}
        )


class Confusion(_Part):
    """Counts of test images by expert (rows) and class (columns)."""

    classes: list[str]
    counts: list[list[Images]]


class Reliability(_Part):
    """Confidence and accuracy of the gate, by bins of confidence.

    Computed on the half of the test images that was not used to assign classes to experts.
    """

    images: list[Images]
    confidence: list[Share]
    accuracy: list[Share]


class Picture(_Part):
    """A PNG file of a record: a grid of tiles, such as samples by epoch (rows) and expert (columns).

    The picture `map` is a table: each row is a tile of one pixel per image, and its gray level is a number.
    """

    file: Annotated[str, Field(pattern=r"^[\w-][\w.-]*\.png$")]
    """Name of the file, in the folder of the record."""
    sha256: str
    rows: list[str] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)
    experts: list[int] | None = None
    """Expert that drew each column, if the columns are not experts; None in older records."""
    tile: tuple[Count, Count]
    method: MapMethod | None = None
    """Projection of a `map`; None in other pictures, and in older records, whose maps are by PCA."""


class Throughput(_Part):
    """Throughput of the population of this run in training and evaluation, in images per second."""

    train_images_per_second: Amount
    evaluation_images_per_second: Amount
    population: int


class Seconds(_Part):
    """Wall time of the population of this run."""

    train: Amount
    evaluation: Amount


class Hardware(_Part):
    """The hardware of the run."""

    device: str
    device_name: str
    precision: str
    threads: int
    cores: int
    memory_gib: float


class Data(_Part):
    """The data of the run."""

    name: str
    sha256: str
    """Digest of all pixels, before splitting."""
    labels_sha256: str | None = None
    """Digest of all labels and class names; None without labels. Older records omit it."""
    size: tuple[int, int] | None = None
    """Height and width of an image, in pixels."""
    train: int
    validation: int
    test: int


class Method(_Part):
    """A baseline, fitted to the data and with the seed of the configuration."""

    name: str
    """Name of the method, such as "k-means on pixels"."""
    settings: dict[str, Any] = {}
    oracle: bool = False
    """Whether it used labels, so that its metrics are an upper limit, not a result."""
    derived: dict[str, Any] = {}
    """Values derived from the settings and the data; not part of the fingerprint."""


class Record(_Part):
    """One run: its configuration and its results. Complete runs have metrics, failed runs a failure."""

    schema_version: int = SCHEMA
    fingerprint: str
    migrated_from: str | None = None
    """Fingerprint of the record in schema 1; None for records that were made in schema 2."""
    config: dict[str, Any]
    method: Method | None = None
    """The baseline; None is the model."""
    status: Literal["complete", "failed"]
    failure: Failure | None = None
    metrics: dict[str, dict[str, Value]] = {}
    """Metrics by split (`validation`, `test`) and name; bounds are in nats per image."""
    load: list[Share] = []
    """Share of test images assigned to each expert."""
    importance: list[Share] = []
    """Mean gate probability of each expert on the test split."""
    elbo_terms: dict[str, list[Value]] = {}
    """Contribution of each expert to the test split's mixture ELBO, in nats per image: recon_log_prob and
    kl_z, weighted by the gate. The mixture ELBO is the sum of these terms minus mutual_information and
    marginal_kl."""
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    curve: Curve = Curve()
    pictures: dict[str, Picture] = {}
    throughput: Throughput | None = None
    seconds: Seconds | None = None
    energy_joules: float | None = None
    """Energy of training the population, as reported by the device; None if not reported."""
    hardware: Hardware
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None
    source: str | None = None
    """SHA-256 of the source code that made the record."""
    data: Data
    started: str
    """Start time, UTC, in ISO 8601."""

    @functools.cached_property
    def run_config(self) -> configs.RunConfig:
        """The configuration, parsed once.

        Raises:
            ConfigError: a key is unknown, or a value is invalid.
        """
        return overrides.from_dict(self.config)

    def without_curve(self) -> Record:
        """Return the record without its curve and without the parsed configuration, to save memory."""
        bare = self.model_copy(update={"curve": Curve()})
        bare.__dict__.pop("run_config", None)
        return bare

    @property
    def precision(self) -> str:
        """Floating-point precision of training; float32 in older records."""
        measured = self.hardware.precision
        return measured if self.method else self.config["train"].get("precision", measured)


def in_columns(rows: Sequence[Mapping[str, Any]]) -> Curve:
    """Return the curve of a record of schema 2.

    Args:
        rows: points of the curve as JSON data, whose confusions are lists with a text per expert.
    """
    points = []
    for row in rows:
        experts = (" ".join(expert.split()) for expert in row.get("confusion", ()))
        points.append(Epoch.model_validate({**row, "confusion": ";".join(experts)}))
    return Curve.of(points)


class Outcome(BaseModel):
    """A record, its PNG files and its weights, as a picklable value."""

    model_config = ConfigDict(frozen=True)

    record: Record
    files: dict[str, bytes] = {}
    weights: bytes | None = None
    """Content of a checkpoint; None if it is not to be kept."""


def name_of(config: configs.RunConfig | Mapping[str, Any], method: Method | None = None) -> str:
    """Return the fingerprint of a run.

    Args:
        config: configuration of the run, or all of it as plain nested data.
        method: the baseline, which the fingerprint includes; None for a mixture of VAEs.

    Returns:
        Sixteen hexadecimal digits.
    """
    if method is None:
        return overrides.fingerprint(config)
    chosen = method.model_dump(exclude={"derived"})
    text = json.dumps({"run": overrides.fingerprint(config), "method": chosen}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
