"""Settings of the data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from moevae.config.registry import DATASETS, FILE_FORMATS, RELEASES, Choices
from moevae.config.types import NUMBER, STRICT, Count, CountOrZero
from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name, is_text


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """The data set, its splits, and how grayscale pixels become the target of the likelihood.

    Examples:
        >>> import moevae
        >>> moevae.DataConfig(name="mnist", train_size=10_000).binarization
        'dynamic'
    """

    name: Annotated[str, Choices((DATASETS, RELEASES), formats=FILE_FORMATS)] = "digits"
    """The data set: `digits`, which is part of scikit-learn; `mnist` (LeCun et al., 1998) and `fashion-mnist`
    (Xiao et al., 2017), which are downloaded when they are first used; images of your own in an archive,
    `npz:PATH`, or a folder of image files, `folder:PATH`; or the binary images of the files of Larochelle and
    Murray (2011) in a folder, `amat:PATH`, which `binarization` leaves as they are."""
    train_size: Count | None = None
    """Number of training images, a subset fixed by `split_seed`; null uses all."""
    validation_size: CountOrZero | None = None
    """Number of images held out of training for validation; null holds out a tenth."""
    split_seed: CountOrZero = 0
    """Seed of the splits and of the static binarization; it must be the same for all runs that are
    compared."""
    imbalance: Annotated[float, NUMBER, Field(gt=0, le=1)] = 1.0
    """Factor from the size of a class to that of the next smaller one, in an order of classes fixed by
    `split_seed`, before `validation_size` and `train_size` are applied; the test set is not changed.
    Labels choose the images but do not enter training."""
    binarization: Literal["dynamic", "static", "none"] = "dynamic"
    """Whether binary pixels are drawn, with the gray value as probability, each time an image is used
    (`dynamic`), once (`static`), or not at all (`none`)."""
    image_size: Count | tuple[Count, Count] | None = None
    """Height and width, or the side of a square, to which the images of a folder are cropped and resized.
    Null requires images of one size. Unused by other data sets."""
    bad_images: Literal["refuse", "skip"] = "refuse"
    """Whether image files of a folder that cannot be read are an error (`refuse`) or left out (`skip`).
    Unused by other data sets."""

    @model_validator(mode="after")
    def _known(self) -> DataConfig:
        kind, colon, path = self.name.partition(":")
        if colon and kind in FILE_FORMATS and not path:
            raise ConfigError(f"{self.name} names no file; expected {kind}:PATH")
        if not is_text(self.name):
            raise ConfigError(f"{self.name!a}: not UTF-8, and no record can hold such a name")
        if not (colon and kind in FILE_FORMATS) and self.name not in DATASETS and self.name not in RELEASES:
            if self.name.endswith(".npz"):
                raise ConfigError(f"unknown data set {self.name!r}: did you mean npz:{self.name}?")
            if "/" in self.name or "\\" in self.name:
                raise ConfigError(f"{self.name}: no data set, and no folder of this name")
            own = (f"{each}:PATH" for each in FILE_FORMATS)
            closest_name("data set", self.name, (*DATASETS, *RELEASES, *own))
        return self
