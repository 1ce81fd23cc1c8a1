"""The commands of the core: what each one's `--help` says."""

from __future__ import annotations

from moevae.cli.groups import Command, CommandGroup

TRAIN = """Train a mixture of VAEs without labels; evaluate and save it.

What to expect:
- Several seeds train side by side, as one population; each gives the
  numbers that it would give alone.
- DIR/FINGERPRINT.safetensors keeps each run: its weights and all of its
  settings. A run that is there is measured and not trained again.
- Labels, where the data set has them, are used for scoring only.
- --from continues a run: its weights, settings and data, more epochs. The
  optimizer and the random streams of the seed start again; temperature and
  learning rate stay at their final values, unless --set changes them. The
  result is a run of its own, beside the first.
- A run whose loss becomes NaN or infinite is reported and not saved.
- Exit code: 0 done, 1 a run failed, 2 a mistake in what was asked,
  130 interrupted: the same command goes on where long training stopped.

Examples:
  moevae train
  moevae train --data mnist --seeds 3
  moevae train --data npz:mine.npz    (an array named images,
      [N, H, W], uint8 or float in [0, 1]; labels are not needed)
  moevae train --data scans --set data.image_size=28    (a folder of
      image files; names of subfolders, if there are any, are labels)
  moevae train --set objective=elbo --epochs 5
  moevae train --from RUN.safetensors --epochs 20"""

EVALUATE = """Evaluate trained runs: bounds, gate, agreement with labels.

What to expect:
- The same checkpoint gives the same numbers each time.
- Labels, where the data set has them, are used for scoring only.

Examples:
  moevae evaluate runs/*.safetensors
  moevae evaluate RUN.safetensors --set evaluation.num_samples=50
  moevae evaluate RUN.safetensors --memory 512MiB"""

ASSIGN = """Assign images of your own to the experts of a trained run.

What to expect:
- A row per image: file, expert, probability, runner-up, its probability,
  bound in nats (the mixture ELBO), and whether the image is unusual.
- The answer for an image depends on the image and the run alone. A gate
  that was trained on binarized pixels answers by the mean over 16 draws,
  the same for all images.
- Image files are rotated by their EXIF orientation, made gray, cropped
  about the center to the run's ratio of sides, and resized. Transparent
  parts become black. Arrays have the form of images in npz:PATH.
- An image is unusual if its bound is lower than that of 99 % of the run's
  validation images (up to 500; where these are few, training images too).
- Nothing is overwritten. Exit code: 0 done, 2 a mistake in what was asked.

Examples:
  moevae assign RUN.safetensors scans --output table.csv
  moevae assign RUN.safetensors scans --copy-to sorted
  moevae assign RUN.safetensors mine.npz --latents --output table.npz"""

SAMPLE = """Draw images from the experts of a trained run, as PNG or npz.

What to expect:
- Mean images, drawn from an expert's prior; neither labels nor data are
  needed. The same seed draws the same images. Where pixels depend on
  pixels: how likely each was, given those drawn before it.
- A column an expert, or the one expert asked for in rows and columns.

Examples:
  moevae sample RUN.safetensors
  moevae sample RUN.safetensors --expert 3 --count 64
  moevae sample RUN.safetensors --count 1000 --output samples.npz"""

EXPLORE = """Draw neighbors, reconstructions, latent walks and a map.

What to expect:
- neighbors.png: samples of each expert, as `sample` draws them, and below
  each the nearest training image (Euclidean, gray pixels): what was learned
  by heart shows.
- interpolations.png: from one test image to another, inside the expert that
  the gate gives both.
- traversals-expert-K.png: expert K along each of its latents from -3 to 3,
  those that tell most (KL to the prior, nats an image) first.
- reconstructions.png: test images, and below each its reconstruction by the
  expert that the gate gives it, whose number it has.
- map.png: test images by their latents under all experts, in two dimensions
  (PCA, or UMAP), colored by expert and, where there are labels, by class.
- arrays.npz: what the pictures show, as arrays.
- The images are needed, labels are not. The same seed gives the same files.

Examples:
  moevae explore RUN.safetensors
  moevae explore RUN.safetensors --expert 3 --seed 1"""

INFO = """Show what is installed, or what a checkpoint holds.

What to expect:
- Without a checkpoint: versions, devices, presets, and which data sets
  are there.
- With one: its settings, fingerprint and sizes. --write-preset keeps the
  settings in a file for `train --preset FILE.toml`, and for profiles.
- --settings prints all settings of a run instead: valid values, default,
  meaning and papers.

Examples:
  moevae info
  moevae info --settings
  moevae info RUN.safetensors
  moevae info RUN.safetensors --write-preset mine.toml"""

OF_EVALUATION = ("data.", "evaluation.")
"""How settings begin that can change once a run is trained."""

_OPTIONS = "moevae.cli.options"

CORE = CommandGroup(
    title="Models",
    description="Unsupervised mixtures of variational autoencoders.",
    commands=(
        Command("train", f"{_OPTIONS}:Train", TRAIN),
        Command("evaluate", f"{_OPTIONS}:Evaluate", EVALUATE, OF_EVALUATION),
        Command("assign", f"{_OPTIONS}:Assign", ASSIGN),
        Command("sample", f"{_OPTIONS}:Sample", SAMPLE),
        Command("explore", f"{_OPTIONS}:Explore", EXPLORE),
        Command("info", f"{_OPTIONS}:Info", INFO),
    ),
    run="moevae.cli.run:run",
)
