"""Driver of a toy study, started as a separate process that tests may kill."""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run the toy study of a folder and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.0, help="duration of each toy run")
    parser.add_argument("--storage")
    parser.add_argument("--attempts", type=int, default=5)
    parser.add_argument("--dask", help="address of a scheduler, used in place of worker processes")
    options = parser.parse_args()

    from studies.design import design
    from studies.execution.ablation import run_study
    from studies.execution.executors.dask import dask
    from studies.execution.executors.processes import local
    from studies.testing.toys import Listener, Toy
    from studies.utils.signals import Terminated, terminable

    environments = [{"OMP_NUM_THREADS": "1"}] * options.workers
    try:
        force = dask(options.dask) if options.dask else local(environments, attempts=options.attempts)
        with terminable(), force as worker_pool:
            run_study(
                design.load_design(str(options.folder / "toy.toml")),
                options.folder / "study",
                Toy(options.folder / "run_log", seconds=options.seconds),
                worker_pool=worker_pool,
                callbacks=Listener(),
                storage_url=options.storage,
            )
    except KeyboardInterrupt:
        return 130
    except Terminated:
        return 143
    return 0


if __name__ == "__main__":
    sys.exit(main())
