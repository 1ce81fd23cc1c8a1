"""The commands of the core, with the text of their `--help`."""

from __future__ import annotations

from moevae.cli.groups import Command, CommandGroup

TRAIN = """Train a mixture of VAEs without labels; evaluate and save it.

What to expect:
- Several seeds train together as one population; each run gives the same
  numbers as if it were trained alone.
- Each run is saved in DIR/FINGERPRINT.safetensors, with its weights and all
  settings. An existing run is evaluated and not trained again.
- Labels, if the data set has any, are used for scoring only.
- --from continues a run for more epochs, with its weights, settings and
  data. The optimizer and the random streams of the seed start again;
  temperature and learning rate stay at their final values, unless --set
  changes them. The result is a new run, and the first one is kept.
- A run whose loss becomes NaN or infinite is reported and not saved.
- Exit code: 0 done, 1 a run failed, 2 invalid options or data,
  130 interrupted; the same command continues long training.

Examples:
  moevae train
  moevae train --data mnist --seeds 3
  moevae train --data npz:mine.npz    (an array named images,
      [N, H, W], uint8 or float in [0, 1]; labels are not needed)
  moevae train --data scans --set data.image_size=28    (a folder of
      image files; names of subfolders, if any, are labels)
  moevae train --set objective=elbo --epochs 5
  moevae train --from RUN.safetensors --epochs 20"""

EVALUATE = """Evaluate trained runs: bounds, gate, agreement with labels.

What to expect:
- Evaluation is deterministic.
- Labels, if the data set has any, are used for scoring only.

Examples:
  moevae evaluate runs/*.safetensors
  moevae evaluate RUN.safetensors --set evaluation.num_samples=50
  moevae evaluate RUN.safetensors --memory 512MiB"""

ASSIGN = """Assign images of your own to the experts of a trained run.

What to expect:
- The table has a row per image: file, expert, probability, the second most
  probable expert, its probability, bound in nats (the mixture ELBO), and
  whether the image is unusual.
- The result for an image depends on the image and the run only. For a gate
  trained on binarized pixels it is the mean over 16 fixed draws.
- Image files are rotated by their EXIF orientation, converted to grayscale,
  cropped about the center to the run's ratio of sides, and resized.
  Transparent parts become black. Arrays have the format of npz:PATH.
- An image is unusual if its bound is lower than that of 99 % of the run's
  validation images (up to 500; if these are few, test images follow, and
  then training images).
- Nothing is overwritten. Exit code: 0 done, 2 invalid options or data.

Examples:
  moevae assign RUN.safetensors scans --output table.csv
  moevae assign RUN.safetensors scans --copy-to sorted
  moevae assign RUN.safetensors mine.npz --latents --output table.npz"""

SAMPLE = """Draw images from the experts of a trained run, as PNG or npz.

What to expect:
- Latents are drawn from the prior of an expert and decoded to mean images;
  neither labels nor data are needed. The same seed gives the same images.
  With autoregressive pixels, the images show the probability of each pixel
  given the pixels drawn before it.
- The picture has one column per expert, or a grid of images of one expert.

Examples:
  moevae sample RUN.safetensors
  moevae sample RUN.safetensors --expert 3 --count 64
  moevae sample RUN.safetensors --count 1000 --output samples.npz"""

EXPLORE = """Draw neighbors, reconstructions, latent traversals and a map.

What to expect:
- neighbors.png: samples of each expert, as in `sample`, above their nearest
  training images (Euclidean distance of grayscale pixels), which reveals
  memorized images.
- interpolations.png: interpolations between two test images assigned to
  the same expert, in its latent space.
- traversals-expert-K.png: decoded images of expert K as each latent varies
  from -3 to 3, sorted by the KL divergence of the latent from the standard
  normal distribution (nats per image).
- reconstructions.png: test images above their reconstructions by the
  assigned expert, with its number.
- experts.png: each expert at z = 0, such as its template, above the mean
  of the test images assigned to it.
- competition.png: test images and their reconstructions by every expert,
  with the sums of squared errors.
- confusion.png, with labels: test images by expert and class; its order of
  experts is that of experts.png.
- map.png: test images by their latents under all experts, in two dimensions
  (PCA or UMAP), colored by expert and, if there are labels, by class.
- arrays.npz: the data of the pictures, as arrays.
- The data set is needed, labels are not. The same seed gives the same files.

Examples:
  moevae explore RUN.safetensors
  moevae explore RUN.safetensors --expert 3 --seed 1"""

INFO = """Show what is installed, or what a checkpoint holds.

What to expect:
- Without a checkpoint: versions, devices, presets, and available data sets.
- With a checkpoint: its settings, fingerprint and sizes. --write-preset
  writes the settings to a file for `train --preset FILE.toml` and profiles.
- --settings shows all settings of a run instead: valid values, default,
  meaning and papers.

Examples:
  moevae info
  moevae info --settings
  moevae info RUN.safetensors
  moevae info RUN.safetensors --write-preset mine.toml"""

OF_EVALUATION = ("data.", "evaluation.")
"""Prefixes of the settings that can change after training."""

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
