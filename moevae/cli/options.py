"""What a person may type after `python -m moevae`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from tyro.conf import Positional, UseAppendAction, arg

from moevae.cli import parser
from moevae.cli.parser import Command
from moevae.config.registry import DATASETS, PRESETS, RELEASES

TRAIN = """Train a mixture of VAEs without labels, measure it, and keep it.

What to expect:
- Several seeds train side by side, as one population; each gives the
  numbers that it would give alone.
- DIR/FINGERPRINT.safetensors keeps each run: its weights and all of its
  settings. A run that is there is measured and not trained again.
- Labels, where the data set has them, are used for scoring only.
- A run whose loss stops being a number is told, and not kept.
- Exit code: 0 done, 1 a run failed, 2 a mistake in what was asked,
  130 interrupted: the same command goes on where long training stopped.

Examples:
  python -m moevae train
  python -m moevae train --data mnist --seeds 3
  python -m moevae train --data npz:mine.npz    (an array named images,
      [N, H, W], uint8 or float in [0, 1]; labels are not needed)
  python -m moevae train --set objective=elbo --set train.epochs=5"""

EVALUATE = """Measure trained runs: bounds, what the gate does, agreement with labels.

What to expect:
- The same checkpoint gives the same numbers each time.
- Labels, where the data set has them, are used for scoring only.

Examples:
  python -m moevae evaluate runs/*.safetensors
  python -m moevae evaluate RUN.safetensors --set evaluation.num_samples=50
  python -m moevae evaluate RUN.safetensors --memory 512MiB"""

SAMPLE = """Draw images from the experts of a trained run, into a PNG file.

What to expect:
- Mean images, drawn from an expert's prior; neither labels nor data are
  needed. The same seed draws the same images. Where pixels depend on
  pixels: how likely each was, given those drawn before it.
- A column an expert, or the one expert asked for in rows and columns.

Examples:
  python -m moevae sample RUN.safetensors
  python -m moevae sample RUN.safetensors --expert 3 --count 64"""

EXPLORE = """Draw what the experts of a trained run know, into a folder of PNG files.

What to expect:
- neighbors.png: samples of each expert, as `sample` draws them, and below
  each the nearest training image (Euclidean, gray pixels): what was learned
  by heart shows.
- interpolations.png: from one test image to another, inside the expert that
  the gate gives both.
- traversals-expert-K.png: expert K along each of its latents from -3 to 3,
  those that tell most (KL to the prior, nats an image) first.
- The images are needed, labels are not. The same seed gives the same files.

Examples:
  python -m moevae explore RUN.safetensors
  python -m moevae explore RUN.safetensors --expert 3 --seed 1"""

INFO = """Tell what is installed, or what a checkpoint holds.

What to expect:
- Without a checkpoint: versions, devices, presets, and which data sets
  are there.
- With one: its settings, fingerprint and sizes.

Examples:
  python -m moevae info
  python -m moevae info RUN.safetensors"""


def _optional(metavar: str, hint: str, words: str | None = None) -> Any:
    """Say what is meant where nothing is given; `words` stand in place of the docstring."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {hint})", help=words)


_DATA = f"Images: {', '.join((*DATASETS, *RELEASES))}, or npz:PATH for your own."
_PRESETS = f"Settings to start from: {', '.join(PRESETS)}."


Flag = Annotated[bool, arg(help_behavior_hint="")]
Device = Literal["auto", "cpu", "cuda", "mps"]
Settings = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="KEY=VALUE")]
Memory = Annotated[str | None, _optional("SIZE", "no limit")]
Root = Annotated[Path | None, _optional("DIR", "MOEVAE_DATA, else the user's cache")]


@dataclass(frozen=True)
class Train:
    """What the command `train` was given."""

    data: Annotated[str | None, _optional("NAME", "the preset's", _DATA)] = None
    preset: Annotated[str | None, _optional("NAME", "the one named like --data, else digits", _PRESETS)] = (
        None
    )
    set: Settings = ()
    """Change a setting, such as objective.balance_weight=5; --dry-run shows all there are."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of the one run."""
    seeds: Annotated[str | None, _optional("N|A,B,..", "one run")] = None
    """Several runs: how many (3 means seeds 0 to 2), or which seeds (0,3,7)."""
    device: Device = "auto"
    """Where to train; auto takes an accelerator if there is one."""
    data_root: Root = None
    """Where the data sets are."""
    output: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """Where checkpoints are kept."""
    force: Flag = False
    """Train again what is there already."""
    dry_run: Flag = False
    """Print the settings and fingerprints, and stop."""
    json: Flag = False
    """Print one JSON document on standard output, for other programs."""


OF_EVALUATION = ("data.", "evaluation.")
"""How settings begin that can change once a run is trained."""


@dataclass(frozen=True)
class Evaluate:
    """What the command `evaluate` was given."""

    checkpoints: Positional[
        Annotated[tuple[Path, ...], arg(metavar="CHECKPOINT", help_behavior_hint="(one or more)")]
    ]
    """Files that `train` wrote."""
    split: Literal["train", "validation", "test"] = "test"
    """Which images."""
    set: Settings = ()
    """Change a setting of data or evaluation, such as data.name=fashion-mnist."""
    device: Device = "auto"
    """Where to compute."""
    memory: Memory = None
    """What a look at images may take, such as 2GiB, weights apart: a matter of memory, not of numbers."""
    data_root: Root = None
    """Where the data sets are."""
    json: Flag = False
    """Print one JSON document on standard output, for other programs."""


@dataclass(frozen=True)
class Sample:
    """What the command `sample` was given."""

    checkpoint: Positional[Annotated[Path, arg(metavar="CHECKPOINT")]]
    """A file that `train` wrote."""
    expert: Annotated[int | None, _optional("K", "all experts, a column each")] = None
    """Draw this expert only; experts count from 0."""
    count: Annotated[int, arg(metavar="N")] = 16
    """How many images of each expert."""
    seed: Annotated[int | None, _optional("N", "the run's")] = None
    """Seed of the drawing."""
    scale: Annotated[int | None, _optional("N", "so that an image is about 56 wide")] = None
    """Pixels of the picture for one pixel of an image."""
    output: Annotated[Path | None, _optional("PICTURE.png", "beside the checkpoint")] = None
    """The picture; one that is there is replaced."""


@dataclass(frozen=True)
class Explore:
    """What the command `explore` was given."""

    checkpoint: Positional[Annotated[Path, arg(metavar="CHECKPOINT")]]
    """A file that `train` wrote."""
    expert: Annotated[int | None, _optional("K", "all experts")] = None
    """Draw this expert only; experts count from 0."""
    count: Annotated[int, arg(metavar="N")] = 10
    """How many samples of each expert."""
    seed: Annotated[int | None, _optional("N", "the run's")] = None
    """Seed of the samples, and of the choice of test images."""
    data_root: Root = None
    """Where the data sets are."""
    output: Annotated[Path | None, _optional("FOLDER", "beside the checkpoint")] = None
    """Folder of the pictures; those that are there are replaced."""


@dataclass(frozen=True)
class Info:
    """What the command `info` was given."""

    checkpoint: Positional[Annotated[Path | None, _optional("[CHECKPOINT]", "this installation")]] = None
    """A file that `train` wrote."""
    data_root: Root = None
    """Where the data sets are."""
    json: Flag = False
    """Print one JSON document on standard output, for other programs."""


COMMANDS = (
    Command("train", Train, TRAIN),
    Command("evaluate", Evaluate, EVALUATE, OF_EVALUATION),
    Command("sample", Sample, SAMPLE),
    Command("explore", Explore, EXPLORE),
    Command("info", Info, INFO),
)


def parse(arguments: Sequence[str] | None = None) -> Train | Evaluate | Sample | Explore | Info:
    """Return what was typed; `--help` prints and exits, a mistake is told in one line, with exit code 2."""
    typed = parser.parse(
        COMMANDS,
        arguments,
        prog="python -m moevae",
        description="Unsupervised mixtures of variational autoencoders: train, measure, draw.",
    )
    return cast(Train | Evaluate | Sample | Explore | Info, typed)
