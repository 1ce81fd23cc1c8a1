"""Registries: named entries of one kind, such as routings, that a setting can refer to."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from moevae.errors import ConfigError
from moevae.utils.suggest import closest_name

Entry = TypeVar("Entry")
Registered = TypeVar("Registered")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """A mapping from names to the entries of one kind.

    An entry is registered where it is defined, by a decorator:

        @ROUTINGS.register("soft")
        def soft(log_probs, uniform=None): ...

    Names are known without importing entries: those of the built-in modules are read from their source, and
    those of other packages from their entry points. An entry is imported when it is looked up. Built-in names
    come first, in the order of the source; all others follow in alphabetical order.
    """

    def __init__(
        self, symbol: str, what: str, *modules: str, group: str | None = None, traits: tuple[str, ...] = ()
    ) -> None:
        """Create the registry of a kind.

        Args:
            symbol: name of the variable that holds the registry, as the built-in modules use it.
            what: name of the kind for messages, such as "routing".
            modules: the built-in modules, each imported when one of its entries is looked up. They register
                entries under literal names.
            group: entry-point group of the entries of other packages.
            traits: names of further keyword arguments of `register`.
        """
        self.symbol, self.what, self.group = symbol, what, group
        self._modules, self._known_traits = modules, traits
        self._entries: dict[str, Entry] = {}
        self._traits: dict[str, dict[str, Any]] = {}

    def register(self, name: str, **traits: Any) -> Callable[[Registered], Registered]:
        """Return a decorator that registers its argument and returns it unchanged.

        Args:
            name: the value of the setting: letters, digits, `.`, `_` and `-`.
            traits: properties of the entry, among those that the registry declares.

        Raises:
            ConfigError: the name is invalid or belongs to another entry, or a trait is unknown.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{self.what} {name!r}: expected a name of letters, digits, '.', '_' and '-'")
        for trait in traits:
            closest_name(f"trait of a {self.what}", trait, self._known_traits)

        def add(entry: Registered) -> Registered:
            home = self._declared.get(name)
            if home and home not in sys.modules:
                importlib.import_module(home)
            before = self._entries.get(name)
            if before is not None and _origin(before) != _origin(entry):
                raise ConfigError(f"{self.what} {name!r} is already registered")
            self._entries[name] = entry  # type: ignore[assignment]
            self._traits[name] = traits
            return entry

        return add

    def unregister(self, name: str) -> None:
        """Remove an entry that was registered by decorator.

        Args:
            name: name of the entry.

        Raises:
            ConfigError: the entry is built in, or the name is unknown.
        """
        if name in self._declared:
            raise ConfigError(f"{self.what} {name!r} is built in")
        del self._entries[closest_name(self.what, name, self._entries)], self._traits[name]

    def traits(self, name: str) -> Mapping[str, Any]:
        """Return the traits of an entry, as it was registered.

        Args:
            name: name of the entry.
        """
        self[name]
        return self._traits[name]

    def find(self, name: str) -> Entry:
        """Return the entry with the given name.

        Args:
            name: name of the entry.

        Raises:
            ConfigError: there is no such entry; the message contains the closest name.
        """
        return self[closest_name(self.what, name, self)]

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._load(name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._declared or name in self._offered()

    def __iter__(self) -> Iterator[str]:
        declared = self._declared
        yield from declared
        yield from sorted((self._entries.keys() | self._offered().keys()) - declared.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"{self.symbol}({', '.join(self)})"

    @functools.cached_property
    def _declared(self) -> dict[str, str]:
        """The module of each built-in name."""
        return {
            name: module for module in self._modules for name in _declarations(module).get(self.symbol, ())
        }

    def _offered(self) -> dict[str, EntryPoint]:
        return _entry_points(self.group) if self.group else {}

    def _load(self, name: str) -> None:
        home = self._declared.get(name)
        if home:
            importlib.import_module(home)
        elif name in self._offered():
            offered = self._offered()[name]
            try:
                entry = offered.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(
                    f"{self.what} {name!r}: cannot load {offered.value} ({error}), an entry point of the"
                    f" group {self.group}"
                ) from None
            if name not in self._entries:  # importing the module may have registered it, with its traits
                self.register(name)(entry)


@functools.cache
def _declarations(module: str) -> dict[str, tuple[str, ...]]:
    """Return the names that a module registers, by the symbol of the registry, without importing it."""
    spec = find_spec(module)
    source = getattr(spec.loader, "get_source", lambda _: None)(module) if spec else None
    if source is None:
        raise ImportError(f"no source of {module}, whose entries are read from it", name=module)
    found: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=symbol), attr="register"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found[symbol] = (*found.get(symbol, ()), name)
    return found


@functools.cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {each.name: each for each in entry_points(group=group)}


def _origin(entry: object) -> object:
    """Return the module and name of an entry, equal if its module is loaded twice; else the entry."""
    name = getattr(entry, "__qualname__", None)
    return (getattr(entry, "__module__", None), name) if name else entry
