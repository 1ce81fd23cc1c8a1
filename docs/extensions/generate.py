"""Pages made from the software itself: settings, commands, public symbols, metrics and results."""

from __future__ import annotations

import inspect
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import tyro
from sphinx.application import Sphinx
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

import moevae
import studies
from moevae.cli.commands import CORE
from moevae.cli.groups import Command
from moevae.config import reference
from moevae.config.presets import PRESETS
from moevae.config.registry import METRICS
from studies.cli.commands import STUDIES

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "generated"


def settings() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "Every setting of a run, generated from `moevae/config/sections/`. The command line takes a setting "
        "as `--set KEY=VALUE`, a profile as `KEY = VALUE` below `[set]` or `[axes]`, and Python as "
        '`moevae.override(config, {"KEY": VALUE})`. `moevae info --settings` prints this page in the '
        "terminal, and with `--json` for other programs. A list is written as in JSON, and `null` means that "
        "there is no value. The defaults below are those of `moevae.RunConfig`; a [preset](#presets) has its "
        "own. Papers are listed in the [bibliography](../reference/bibliography.md).",
    ]
    about = reference.sections()
    for section, first in about.items():
        lines.append(f"## {section}\n\n{'' if section == 'objective' else _escaped(first)}")
        for each in reference.settings():
            if each.key.partition(".")[0] == section:
                lines.append(f"### `{each.key}`\n\n{_escaped(each.meaning)}")
                facts = [
                    f"values: {_values(each)}",
                    f"default: `{each.default_text}`",
                    *(["papers: " + "; ".join(each.papers)] if each.papers else []),
                    *(["may differ between the runs of a population"] if each.per_run else []),
                ]
                lines.append("\n".join(f"- {fact}" for fact in facts))
    lines.append("## Presets\n\nA preset is a named configuration to start from: `--preset NAME`.")
    lines += [f"`{name}`\n: {' '.join(make.__doc__.split())}" for name, make in PRESETS.items()]
    return "\n\n".join(lines)


def _values(setting: reference.Setting) -> str:
    """Return the valid values with names as code."""
    text = setting.values
    for name in sorted(setting.choices, key=len, reverse=True):
        text = re.sub(rf"(?<![`\w:-]){re.escape(name)}(?![\w:-])", f"`{name}`", text)
    return re.sub(r"that matches (\S+)", r"that matches `\1`", text)


def commands() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of the page of each group of commands."""
    for name, group in (("commands", CORE), ("commands-of-studies", STUDIES)):
        intro = f"{group.description} `moevae COMMAND --help` prints the same text in the terminal."
        parts = [f"# Commands: {group.title.lower()}", intro]
        parts += [_command(each) for each in group.commands]
        yield name, "\n\n".join(parts)


def _command(command: Command) -> str:
    """Return the section of one command: its help, its arguments and its examples."""
    about, _, examples = command.help.partition("\n\nExamples:\n")
    summary, _, rest = about.partition("\n")
    rest = rest.replace("What to expect:\n", "").strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated: tyro offers no other list of arguments
        parser = tyro.extras.get_parser(command.load(), config=(FlagCreatePairsOff, OmitArgPrefixes))
    parts = [f"## `moevae {command.name}`", _escaped(summary), _escaped(rest)]
    for action in parser._actions[1:]:
        names = " ".join([*action.option_strings, *([action.metavar] if action.metavar else [])])
        parts.append(f"`{names}`\n: {_escaped(' '.join(action.help.split()))}")
    parts.append(f"```sh\n{inspect.cleandoc(examples)}\n```")
    return "\n\n".join(filter(None, parts))


def api() -> str:
    """Return the page of the public symbols of both packages."""
    lines = [
        "# Python API",
        "What `import moevae` and `import studies` offer. Shapes are written with R runs, B images of a "
        "batch, K experts, Z latent dimensions, D pixels and S samples.",
    ]
    for package in (moevae, studies):
        lines.append(f"## {package.__name__}")
        symbols = {name: getattr(package, name) for name in package.__all__}
        order = sorted(symbols, key=lambda name: (not inspect.isclass(symbols[name]), name))
        for name in sorted(order, key=lambda name: name != "MixtureOfVAEs"):
            kind = "class" if inspect.isclass(symbols[name]) else "function"
            bases = (Exception,) if name == "MoevaeError" else ()
            if any(issubclass(symbols[name], base) for base in bases):
                kind = "exception"
            options = "" if kind == "function" else "\n:members:"
            home = symbols[name].__module__
            lines.append(
                f"### {name}\n\n```{{eval-rst}}\n.. auto{kind}:: {home}.{name}"
                f"{options.replace(chr(10), chr(10) + '   ')}\n   :no-index-entry:\n```"
            )
    return "\n\n".join(lines)


def metrics() -> str:
    """Return the table of the metrics that the software computes."""
    better = {1: "higher", -1: "lower", 0: "neither"}
    rows = [
        f"| `{name}` | {each.label} | {each.unit or '–'} | {better[each.better]} | "
        f"{'yes' if each.labels else 'no'} |"
        for name, each in METRICS.items()
    ]
    head = "| metric | name on pages | unit | better | uses labels |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


def results() -> None:
    """Copy the pages of `results/` with their figures and tables; names of pages become links."""
    source = ROOT / "results"
    for page in sorted([*source.glob("*.md"), *source.glob("*/report.md")]):
        target = GENERATED / "results" / page.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = page.read_text(encoding="utf-8")
        linking = re.sub(r"docs/reference/(\w+)\.md", r"[\g<0>](/reference/\1.md)", text)
        target.write_text(linking, encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            linked = (page.parent / link).resolve()
            if linked.is_file() and linked.suffix != ".md" and linked.is_relative_to(source):
                copy = GENERATED / "results" / linked.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(linked, copy)


def _escaped(text: str) -> str:
    """Return text in which nothing but backticks and lists is Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    for index in range(0, len(parts), 2):  # between code
        words = re.split(r"((?<![\w-])--[a-z][\w-]*)", parts[index])
        words[::2] = [re.sub(r"([*_$<|\[\]])", r"\\\1", word) for word in words[::2]]
        words[1::2] = [f"`{option}`" for option in words[1::2]]  # options are code, too
        parts[index] = "".join(words)
    return "".join(parts)


def results_of_the_site(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to `results/` lead to the copies of its pages on the site."""
    source[0] = re.sub(r"\]\(((?:\.\./)*)\.\./results/", r"](\1generated/results/", source[0])


def generate(app: Sphinx) -> None:
    """Write all generated pages."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    pages = {"settings": settings(), "api": api(), **dict(commands())}
    for name, text in pages.items():
        (GENERATED / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    (GENERATED / "metrics.txt").write_text(f"{metrics()}\n", encoding="utf-8")
    results()


def setup(app: Sphinx) -> dict[str, bool]:
    """Generate the pages before the sources are read."""
    app.connect("builder-inited", generate)
    app.connect("source-read", results_of_the_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
