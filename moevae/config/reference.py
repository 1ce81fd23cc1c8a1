"""The reference of settings, generated from the schema: keys, valid values, defaults, meanings and papers."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from moevae.config.objectives import INDEPENDENT_SETTINGS, MEMBERS
from moevae.config.overrides import to_dict
from moevae.config.registry import Choices
from moevae.config.schema import PER_RUN, RunConfig

_CITATION = re.compile(r"[(;] ?([A-Z][^();]*, (?:19|20)\d\d)(?=[;)])")
_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True)
class Setting:
    """One setting of a run."""

    key: str
    """Dotted key, as `--set`, profiles and `moevae.override` take it."""
    values: str
    """Valid values as text."""
    choices: tuple[str, ...]
    """Names among the valid values, in the order of the registry; empty if there are none."""
    default: Any
    """Default, as in JSON."""
    meaning: str
    """Meaning, in Markdown."""
    papers: tuple[str, ...] = ()
    """Papers that the meaning cites, such as "Shazeer et al., 2017"."""
    per_run: bool = False
    """Whether the runs of one population may differ in it."""

    @property
    def default_text(self) -> str:
        """The default as `--set` takes it."""
        return self.default if isinstance(self.default, str) and self.default else json.dumps(self.default)


def settings() -> tuple[Setting, ...]:
    """Return all settings, in the order of the schema.

    Names registered by other packages are among the valid values. The seed is not a setting.
    """
    return tuple(_settings())


def sections() -> dict[str, str]:
    """Return the sections of a configuration, each with the first paragraph of its docstring."""
    kinds = get_type_hints(RunConfig)
    return {name: _text((kinds[name].__doc__ or "").partition("\n\n")[0]) for name in _sections(kinds)}


def _settings() -> Iterator[Setting]:
    kinds = get_type_hints(RunConfig)
    defaults = to_dict(RunConfig())
    for section in _sections(kinds):
        if section == "objective":
            yield _member()
        hints = get_type_hints(kinds[section], include_extras=True)
        for name, field in kinds[section].__pydantic_fields__.items():
            key, meaning = f"{section}.{name}", _text(field.description or "")
            yield Setting(
                key=key,
                values=_values(hints[name]),
                choices=tuple(_choices(hints[name])),
                default=defaults[section][name],
                meaning=meaning,
                papers=_papers(meaning),
                per_run=key in PER_RUN,
            )


def _sections(kinds: dict[str, Any]) -> list[str]:
    return [name for name, kind in kinds.items() if hasattr(kind, "__pydantic_fields__")]


def _member() -> Setting:
    independent = ", ".join(f"`{name}`" for name in INDEPENDENT_SETTINGS)
    return Setting(
        key="objective",
        values=", ".join(MEMBERS),
        choices=tuple(MEMBERS),
        default="competitive",
        meaning="A named member of the objective family. It replaces all settings of this section except "
        f"{independent}; settings of the section that are given with it are applied after it.",
    )


def _text(docstring: str) -> str:
    return " ".join(docstring.split())


def _papers(meaning: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_CITATION.findall(meaning)))


def _choices(hint: Any) -> Iterator[str]:
    """Yield the names that a type accepts, of registries and literals."""
    if get_origin(hint) is Literal:
        yield from map(str, get_args(hint))
    elif get_origin(hint) is Annotated:
        base, *metadata = get_args(hint)
        for each in _flat(metadata):
            if isinstance(each, Choices):
                yield from each.names
        yield from _choices(base)
    else:
        for part in get_args(hint):
            yield from _choices(part)


def _values(hint: Any) -> str:
    """Return the valid values of a type as text."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(parts[0], _flat(parts[1:]))
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return ", or ".join(map(_values, parts))
    if origin is tuple and parts[-1] is Ellipsis:
        return f"list of: {_values(parts[0])}"
    if origin is tuple:
        return f"list of {len(parts)}: {_values(parts[0])}"
    return _NAMES[hint]


def _annotated(base: Any, metadata: Sequence[Any]) -> str:
    for each in metadata:
        if isinstance(each, Choices):
            names = ", ".join(each.names)
            return names if base is str else f"list of: {names}"
    bounds = [
        f"{sign} {getattr(each, name):g}"
        for each in metadata
        for name, sign in _BOUNDS.items()
        if getattr(each, name, None) is not None
    ]
    patterns = [f"that matches {each.pattern}" for each in metadata if getattr(each, "pattern", None)]
    return " ".join([_values(base), *filter(None, [" and ".join(bounds)]), *patterns])


def _flat(metadata: Sequence[Any]) -> list[Any]:
    """Return metadata with those of pydantic's fields and validators unpacked."""
    found: list[Any] = []
    for each in metadata:
        if isinstance(each, FieldInfo):
            found.extend(each.metadata)
        else:
            found.append(each.func if isinstance(each, AfterValidator) else each)
    return found
