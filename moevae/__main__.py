"""The command line of the core: `python -m moevae train | evaluate | sample | explore | info`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from moevae.cli import options as arguments
from moevae.cli import parser
from moevae.cli.options import Evaluate, Explore, Info, Sample, Train


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 1 for a run that failed, 2 for a mistake, 130 for an interrupt."""
    return parser.exit_code(lambda: _run(arguments.parse(argv)))


def _run(options: Train | Evaluate | Sample | Explore | Info) -> int:
    # Torch takes seconds to import: each command is imported when it is asked for.
    match options:
        case Train(dry_run=True):
            from moevae.cli.dry_run import show

            return show(options)
        case Train():
            from moevae.cli.train import train

            return train(options)
        case Evaluate():
            from moevae.cli.evaluate import evaluate

            return evaluate(options)
        case Sample():
            from moevae.cli.sample import sample

            return sample(options)
        case Explore():
            from moevae.cli.explore import explore

            return explore(options)
        case Info():
            from moevae.cli.info import info

            return info(options)


if __name__ == "__main__":
    sys.exit(main())
