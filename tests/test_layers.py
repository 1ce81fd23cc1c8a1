"""Each package imports from the floors below its own, never from one above: a declared list, checked import
by import.

Imports within functions and for type checking count like any other: they tie modules just as much.
"""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())

FLOORS = {  # from the top down; what stands on one line stands side by side, and does not import each other
    "moevae": [
        ["__main__"],
        ["cli"],
        ["estimator"],
        ["evaluation", "visualization"],
        ["training"],
        ["objectives"],
        ["spectral"],
        ["data", "models"],
        ["nn"],
        ["distributions"],
        ["config"],
        ["utils"],
        ["errors"],
    ],
    "studies": [
        ["__main__"],
        ["testing"],
        ["cli"],
        ["dashboard"],
        ["report"],
        ["verify"],
        ["analysis", "search", "baselines"],
        ["execution"],
        ["storage"],
        ["design"],
        ["records"],
        ["statistics"],
        ["utils"],
    ],
}
TORCH_FREE = (
    "studies.analysis",
    "studies.statistics",
    "studies.report",
    "studies.records",
    "studies.design",
    "moevae.config",
)
"""Packages whose modules import neither torch nor Optuna when they are loaded: a report needs neither."""


class Import(NamedTuple):
    """One module imports another, on some line."""

    path: str
    line: int
    source: str
    target: str
    deferred: bool
    """Within a function, or for type checking only."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.source} imports {self.target}"


def imports_of(path: Path) -> Iterator[Import]:
    """Yield what a file imports of moevae and studies; `from package import module` counts as the module."""
    relative = path.relative_to(ROOT)
    source = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{relative}:{node.lineno}: a relative import"
            names = [_module(node.module or "", alias.name) for alias in node.names]
        for name in names:
            yield Import(str(relative), node.lineno, source, name, id(node) not in top)


def _module(package: str, name: str) -> str:
    folder = ROOT / package.replace(".", "/")
    submodule = (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()
    return f"{package}.{name}" if submodule else package


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def floor_of(module: str) -> int:
    """Return how far below the top the module's package stands."""
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    for number, names in enumerate(FLOORS[package]):
        if part in names:
            return number
    raise AssertionError(f"{module}: {part or package} stands on no floor of {package}: add it to FLOORS")


def part_of(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if rest else package


@pytest.mark.parametrize("package", FLOORS)
def test_no_import_leads_upward(package):
    wrong = []
    for path in files(package):
        for each in imports_of(path):
            if each.target.partition(".")[0] != package or each.target == package or each.source == package:
                continue
            above, below = floor_of(each.source), floor_of(each.target)
            same = part_of(each.source) == part_of(each.target)
            if not same and above >= below:
                wrong.append(str(each))
    assert not wrong, "\n".join(wrong)


def test_the_core_does_not_import_studies():
    wrong = [
        str(each)
        for path in files("moevae")
        for each in imports_of(path)
        if each.target.startswith("studies")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", FLOORS)
def test_no_modules_import_each_other_in_a_circle(package):
    """Within a package too; what is imported within a function, or for type checking only, may look back."""
    edges: dict[str, dict[str, Import]] = {}
    for path in files(package):
        for each in imports_of(path):
            if each.target.startswith(f"{package}.") and each.target != each.source and not each.deferred:
                edges.setdefault(each.source, {}).setdefault(each.target, each)
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        if module in trail:
            circle = [*trail[trail.index(module) :], module]
            steps = [str(edges[one][other]) for one, other in pairwise(circle)]
            raise AssertionError("a circle:\n" + "\n".join(steps))
        if module not in done:
            for target in edges.get(module, {}):
                walk(target, [*trail, module])
            done.add(module)

    for module in list(edges):
        walk(module, [])


@pytest.mark.parametrize("package", TORCH_FREE)
def test_a_report_needs_neither_torch_nor_optuna(package):
    """No module of the package reaches either through imports that run when it is loaded."""
    loaded: dict[str, list[Import]] = {}
    for root in FLOORS:
        for path in files(root):
            found = [each for each in imports_of(path) if not each.deferred]
            loaded[found[0].source if found else ""] = found
    for start in sorted(name for name in loaded if name.startswith(package)):
        trail: dict[str, str] = {start: ""}
        waiting = [start]
        while waiting:
            module = waiting.pop()
            for each in loaded.get(module, []):
                outside = each.target.partition(".")[0]
                assert outside not in {"torch", "torchvision", "optuna"}, f"{each}{_how(trail, module)}"
                if each.target in loaded and each.target not in trail:
                    trail[each.target] = module
                    waiting.append(each.target)


def _how(trail: dict[str, str], module: str) -> str:
    steps = []
    while trail[module]:
        module = trail[module]
        steps.append(module)
    return f", which {' < '.join(steps)} imports" if steps else ""
