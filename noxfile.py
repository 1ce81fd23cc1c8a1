"""Sessions for people and for continuous integration: lint, types, tests, ablations, bench.

All sessions that need torch share the environment of the session `environment`, so torch is
installed once. Arguments after `--` are passed to the command of the session.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests"]

GROUPS = nox.project.load_toml("pyproject.toml")
SHARED = Path(".nox", "environment").resolve()
SUITE = ("pytest", "-n", "logical", "--dist", "loadfile")


def _run(session: nox.Session, *arguments: str) -> None:
    """Run `python ARGUMENTS` in the shared environment."""
    python = next(
        path for path in (SHARED / "bin" / "python", SHARED / "Scripts" / "python.exe") if path.exists()
    )
    # Compiling torch at each start of a process would take seconds.
    session.run(str(python), *arguments, env={"PYTHONDONTWRITEBYTECODE": None}, external=True)


def _given(arguments: Sequence[str], **defaults: str | None) -> argparse.Namespace:
    """Read options from the arguments of a command, which also gets them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default)
    return parser.parse_known_args(arguments)[0]


@nox.session
def environment(session: nox.Session) -> None:
    """Install moevae and its dependencies once, for the other sessions."""
    session.install(
        "--editable", ".[dashboard]", *nox.project.dependency_groups(GROUPS, "docs", "tests", "types")
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check format and style (`-- --fix` corrects what can be corrected automatically)."""
    session.install(*nox.project.dependency_groups(GROUPS, "lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "format", ".", *([] if fix else ["--check", "--diff"]))
    session.run("ruff", "check", ".", *(["--fix"] if fix else []))


@nox.session(venv_backend="none", requires=["environment"])
def types(session: nox.Session) -> None:
    """Check the types of moevae and studies."""
    _run(session, "-m", "mypy", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def tests(session: nox.Session) -> None:
    """Run the default test suite on all cores (`-- -m slow` for the slow tests)."""
    _run(session, "-m", *SUITE, *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def docs(session: nox.Session) -> None:
    """Build the documentation in docs/_build/html, with its examples executed, and check it."""
    _run(
        session,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "-q",
        "-j",
        "auto",
        "docs",
        "docs/_build/html",
    )
    _run(session, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_docs.py", *session.posargs)


@nox.session(python=["3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """Run the default test suite on the other installed Pythons, each in its own environment."""
    session.install("--editable", ".[dashboard]", *nox.project.dependency_groups(GROUPS, "tests"))
    session.run(*SUITE, *session.posargs, env={"PYTHONDONTWRITEBYTECODE": None})


@nox.session
def peers(session: nox.Session) -> None:
    """Test the baselines of moevae[peers] in a separate environment (takes minutes)."""
    session.install("--editable", ".[peers,umap]", "pythae", *nox.project.dependency_groups(GROUPS, "tests"))
    session.run("pytest", "-m", "peers", *session.posargs)


@nox.session
def race(session: nox.Session) -> None:
    """Measure the time to quality beside other packages (an hour; resumes; `-- --data fashion-mnist`)."""
    session.install("--editable", ".[peers,umap]", *nox.project.dependency_groups(GROUPS, "tests"))
    data = _given(session.posargs, data="mnist").data
    names = {"mnist": "cpu", "fashion-mnist": "fashion-mnist-cpu"}
    if data not in names:
        session.error(f"--data {data}: expected {' or '.join(names)}")
    kept = f"results/time-to-quality-{names[data]}.json"
    session.run("python", "bench/time_to_quality.py", "--output", kept, *session.posargs)
    session.run("python", "bench/report.py")


@nox.session(venv_backend="none", requires=["environment"])
def faults(session: nox.Session) -> None:
    """Run the fault-injection tests (ten minutes) and write results/reliability.md."""
    page = "results/reliability.md"
    _run(session, "-m", "pytest", "tests/faults", "-m", "", "--reliability", page, *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def ablations(session: nox.Session) -> None:
    """Run an ablation study and write its report (`-- --profile mnist-quick --seeds 5`)."""
    _run(session, "-m", "studies", "ablate", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def search(session: nox.Session) -> None:
    """Search a space for good settings with Optuna (`-- --space all --trials 100`)."""
    _run(session, "-m", "studies", "search", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def dashboard(session: nox.Session) -> None:
    """Open a study in optuna-dashboard, on this machine only (`-- quick`)."""
    _run(session, "-m", "studies", "dashboard", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def report(session: nox.Session) -> None:
    """Rebuild the report of a study from its records (`-- quick`)."""
    _run(session, "-m", "studies", "report", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def bench(session: nox.Session) -> None:
    """Measure speed for results/throughput.md (`-- --device cuda`, `-- --machine NAME`, `-- --compare`).

    With `-k NAME`, the measured part is compared as with `--compare`, and nothing is written.
    """
    compare = any(option == "--compare" or option[:2] in ("-k", "-m") for option in session.posargs)
    options = [option for option in session.posargs if option != "--compare"]
    given = _given(options, device="cpu", machine=None)
    names = filter(None, [given.device, given.machine])
    kept = Path("results", f"throughput-{'-'.join(names)}.json")
    kept.parent.mkdir(exist_ok=True)
    target = Path(session.create_tmp(), kept.name) if compare else kept
    peers = Path(".nox", "peers", "bin", "python").absolute()  # a resolved link would leave the environment
    if peers.exists():
        options += ["--peers-python", str(peers)]
    _run(session, "-m", "pytest", "bench", "--timeout=0", f"--benchmark-json={target.resolve()}", *options)
    _run(session, "bench/report.py", *(["--compare", str(target.resolve())] if compare else []))
