"""The official files of MNIST and Fashion-MNIST: names, lengths and digests.

A new data set in the same format, with a class in torchvision that downloads it, is a Release that is
registered in RELEASES.
"""

from __future__ import annotations

from dataclasses import dataclass

from moevae.config.registry import RELEASES


@dataclass(frozen=True)
class File:
    """One official IDX file: the name and length in bytes of the extracted file, and two digests."""

    name: str
    length: int
    md5: str
    """MD5 of the gzip file, as in torchvision."""
    sha256: str
    """SHA-256 of the extracted file."""


@dataclass(frozen=True)
class Release:
    """One data set: its folder (and class) in torchvision, the names of its classes, and its files."""

    folder: str
    classes: tuple[str, ...]
    images: tuple[File, File]
    """Files of the training set and of the test set."""
    labels: tuple[File, File]


MNIST = RELEASES.register("mnist")(
    Release(
        folder="MNIST",
        classes=tuple("0123456789"),
        images=(
            File(
                "train-images-idx3-ubyte",
                47_040_016,
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            File(
                "t10k-images-idx3-ubyte",
                7_840_016,
                "9fb629c4189551a2d022fa330f9573f3",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
        ),
        labels=(
            File(
                "train-labels-idx1-ubyte",
                60_008,
                "d53e105ee54ea40749a09fcbcd1e9432",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            File(
                "t10k-labels-idx1-ubyte",
                10_008,
                "ec29112dd5afa0611ce80d1b7f02629c",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    )
)

FASHION_MNIST = RELEASES.register("fashion-mnist")(
    Release(
        folder="FashionMNIST",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        images=(
            File(
                "train-images-idx3-ubyte",
                47_040_016,
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            File(
                "t10k-images-idx3-ubyte",
                7_840_016,
                "bef4ecab320f06d8554ea6380940ec79",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
        ),
        labels=(
            File(
                "train-labels-idx1-ubyte",
                60_008,
                "25c81989df183df01b3e8a0aad5dffbe",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            File(
                "t10k-labels-idx1-ubyte",
                10_008,
                "bb300cfdad3c16e7a12a480ee83cd310",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    )
)

OFFICIAL_TEST = 10_000
"""Number of test images, which are last in the official order."""
