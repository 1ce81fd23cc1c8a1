"""Images and labels of a run, the same as those of the driver."""

from __future__ import annotations

import functools
from pathlib import Path

from moevae.config.schema import DataConfig
from moevae.data.datasets import Images, Labels, identify, load_images, load_labels
from moevae.errors import IdentityError
from studies.execution.config import ExecutionConfig


@functools.lru_cache(maxsize=2)
def load_data(data: DataConfig, root: str | None) -> tuple[Images, Labels | None]:
    """Return the images and labels of a data set, cached for the next run.

    Args:
        data: data configuration.
        root: folder of data sets; None for the default.

    Raises:
        DataError: files are missing or invalid.
    """
    place = Path(root) if root else None
    return load_images(data, place), load_labels(data, place)


def checked_data(data: DataConfig, execution: ExecutionConfig) -> tuple[Images, Labels | None]:
    """Return the images and labels of a data set, checked against the driver's.

    Args:
        data: data configuration.
        execution: how runs are executed, with the identities of the driver's data.

    Raises:
        DataError: files are missing or invalid.
        IdentityError: the data differ from the driver's.
    """
    images, labels = load_data(data, execution.data_root)
    if execution.origins:
        try:
            execution.origins.check_data(images.name, identify(images, labels))
        except IdentityError:
            load_data.cache_clear()  # a worker may have read the file before it was replaced
            images, labels = load_data(data, execution.data_root)
            execution.origins.check_data(images.name, identify(images, labels))
    return images, labels
