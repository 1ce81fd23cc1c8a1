"""Each package imports from the layers below its own only. The layers are declared; each import is checked.

Imports within functions and for type checking count like any other: they tie modules just as much.
"""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())

LAYERS = {  # from the top down; packages of one line do not import each other
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


def layer_of(module: str) -> int:
    """Return the index of the layer of a package, from the top."""
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    for number, names in enumerate(LAYERS[package]):
        if part in names:
            return number
    raise AssertionError(f"{module}: {part or package} is in no layer of {package}; add it to LAYERS")


def part_of(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if rest else package


@pytest.mark.parametrize("package", LAYERS)
def test_no_import_leads_upward(package):
    wrong = []
    for path in files(package):
        for each in imports_of(path):
            if each.target.partition(".")[0] != package or each.target == package or each.source == package:
                continue
            above, below = layer_of(each.source), layer_of(each.target)
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


@pytest.mark.parametrize("package", LAYERS)
def test_modules_do_not_import_each_other_in_a_cycle(package):
    """Within a package too; imports within functions, or for type checking only, may form a cycle."""
    edges: dict[str, dict[str, Import]] = {}
    for path in files(package):
        for each in imports_of(path):
            if each.target.startswith(f"{package}.") and each.target != each.source and not each.deferred:
                edges.setdefault(each.source, {}).setdefault(each.target, each)
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        if module in trail:
            cycle = [*trail[trail.index(module) :], module]
            steps = [str(edges[one][other]) for one, other in pairwise(cycle)]
            raise AssertionError("a cycle:\n" + "\n".join(steps))
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
    for root in LAYERS:
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
