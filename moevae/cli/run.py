"""Run a command of the core. Its modules are imported when it is selected: torch takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence

from moevae.cli.options import Assign, Evaluate, Explore, Info, Sample, Train, parse


def run(typed: Sequence[str], prog: str) -> int:
    """Run a command line; return its exit code.

    Args:
        typed: command line without the program.
        prog: name of the program.
    """
    options = parse(typed, prog)
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
        case Assign():
            from moevae.cli.assign import assign

            return assign(options)
        case Sample():
            from moevae.cli.sample import sample

            return sample(options)
        case Explore():
            from moevae.cli.explore import explore

            return explore(options)
        case Info():
            from moevae.cli.info import info

            return info(options)
