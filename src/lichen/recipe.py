"""Recipes: which number format and which solver for which layer, as data.

A recipe is a TOML file.  Each ``[[layers]]`` table has a ``match`` pattern (shell-style wildcards
on the layer's name, such as ``model.layers.*.mlp.down_proj``) and either ``keep = true`` or the
tables ``weights`` and, unless inputs stay in floats, ``activations``; ``solver`` is absmax unless
it is given, and ``keep_tied = true`` spares a head that is the embedding.  The first table whose
pattern fits a layer decides; a layer that none fits is kept as it is.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from lichen.errors import InputError
from lichen.schemes import ActivationScheme, Scheme, int4, int8
from lichen.solvers import solvers

#: What a rule may say of weights and of activations; more as formats and kernels arrive.
_WEIGHTS: dict[str, list[Any]] = {
    "bits": [8, 4],
    "symmetric": [True, False],
    "granularity": ["channel", "group"],
    "group_size": list(int4.GROUP_SIZES),
}
_ACTIVATIONS: dict[str, list[Any]] = {
    "bits": [8],
    "symmetric": [True],
    "granularity": ["token", "group"],
    "dynamic": [True],
    "group_size": list(int4.GROUP_SIZES),
}

_TOML_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    list: "a list of tables",
    dict: "a table",
}


@dataclass(frozen=True)
class Rule:
    """What happens to a layer: its weights' format, its input's (None: floats), and the solver.

    ``keep_tied`` leaves an output head as it is where it shares the embedding's table.
    """

    scheme: Scheme
    activations: ActivationScheme | None
    solver: str
    keep_tied: bool = False

    def __str__(self) -> str:
        return f"{self.scheme}, {self.activations or 'float activations'}"


@dataclass(frozen=True)
class Recipe:
    """An ordered list of (pattern, rule); a rule of None keeps the layers that it matches.

    ``text`` is the file it was read from, word for word, and ``digest`` its SHA-256.
    """

    name: str
    description: str
    text: str
    rules: tuple[tuple[str, Rule | None], ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def rule(self, layer: str) -> Rule | None:
        """What to do with ``layer``; None leaves it as it is."""
        position = self._first_match(layer)
        return None if position is None else self.rules[position][1]

    def assign(self, layers: Iterable[str]) -> dict[str, Rule | None]:
        """The rule of every layer of a model.

        InputError names every pattern that decides nothing, and a recipe that quantizes nothing.
        """
        deciders = {layer: self._first_match(layer) for layer in layers}
        idle = [
            f"pattern {pattern!r} " + self._why_idle(pattern, deciders)
            for position, (pattern, _) in enumerate(self.rules)
            if position not in deciders.values()
        ]
        assigned = {layer: self.rule(layer) for layer in deciders}
        if not any(assigned.values()):
            idle.append("no layer is quantized")
        if idle:
            layers_are = ", ".join(_examples(list(deciders)))
            raise _fault(self.name, [*idle, f"the model's layers are {layers_are}"])
        return assigned

    def _first_match(self, layer: str) -> int | None:
        matches = (i for i, (pattern, _) in enumerate(self.rules) if fnmatchcase(layer, pattern))
        return next(matches, None)

    @staticmethod
    def _why_idle(pattern: str, layers: Iterable[str]) -> str:
        if any(fnmatchcase(layer, pattern) for layer in layers):
            return "only matches layers that earlier patterns already decide"
        return "matches no layer of this model"


def presets() -> dict[str, str]:
    """The recipes that come with lichen: name and description."""
    files = sorted(_folder().iterdir(), key=lambda file: file.name)
    names = [f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")]
    return {name: _preset(name).description for name in names}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A preset by its name, or a recipe file by its path (anything that ends in ``.toml``).

    InputError names every fault of the file at once.
    """
    if str(name_or_path).endswith(".toml"):
        path = Path(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(f"recipe {path} cannot be read: {reason}.") from None
        return parse_recipe(text, path.stem)
    name = str(name_or_path)
    if name not in presets():
        raise InputError(
            f"there is no recipe {name!r}; lichen has {', '.join(presets())},"
            " and reads recipe files whose names end in .toml."
        )
    return _preset(name)


def _folder() -> Traversable:
    return resources.files("lichen") / "recipes"


def _preset(name: str) -> Recipe:
    return parse_recipe((_folder() / f"{name}.toml").read_text(encoding="utf-8"), name)


def parse_recipe(text: str, name: str) -> Recipe:
    """Read a recipe's TOML; InputError names every fault at once."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe {name} is not valid TOML: {error}.") from None
    reader = _Reader()
    recipe = reader.recipe(content, text, name)
    if reader.faults:
        raise _fault(name, reader.faults)
    return recipe


class _Reader:
    """Reads a recipe's tables and gathers everything that is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def recipe(self, content: dict[str, Any], text: str, name: str) -> Recipe:
        top = self._table(content, "", {"description": str, "layers": list})
        tables = top.get("layers", [])
        if not tables:
            self.faults.append("there is no [[layers]] table, so nothing would be quantized")
        rules = tuple(self._entry(table, f"layers[{i}]") for i, table in enumerate(tables, 1))
        return Recipe(name, top.get("description", ""), text, rules)

    def _entry(self, table: Any, where: str) -> tuple[str, Rule | None]:
        if not isinstance(table, dict):
            self.faults.append(f"{where} is not a table")
            return "", None
        kinds = {"match": str, "keep": bool, "weights": dict, "activations": dict, "solver": str}
        kinds |= {"keep_tied": bool}
        entry = self._table(table, where, kinds)
        if "match" not in table:
            self.faults.append(f"{where} has no match pattern")
        if entry.get("keep") is True:
            if extra := sorted(set(entry) - {"match", "keep"}):
                self.faults.append(f"{where} keeps its layers and yet has {', '.join(extra)}")
            return entry.get("match", ""), None
        if "weights" not in entry:
            self.faults.append(f"{where} needs either keep = true or a weights table")
        return entry.get("match", ""), self._rule(entry, where)

    def _rule(self, entry: dict[str, Any], where: str) -> Rule:
        weights = self._format(entry.get("weights"), f"{where}.weights", _WEIGHTS)
        activations = self._format(entry.get("activations"), f"{where}.activations", _ACTIVATIONS)
        scheme = self._scheme(weights, f"{where}.weights")
        chosen = self._choice(entry.get("solver", "absmax"), f"{where}.solver", solvers())
        inputs = ActivationScheme(**activations) if activations else None
        grouped = inputs is not None and (inputs.granularity == "group" or inputs.group_size)
        if (
            inputs
            and grouped
            and (inputs.granularity, inputs.group_size) != ("group", scheme.group_size)
        ):
            self.faults.append(f"{where}.activations per group need the group_size of the weights")
        return Rule(scheme, inputs, chosen, entry.get("keep_tied", False))

    def _scheme(self, weights: dict[str, Any], where: str) -> Scheme:
        """A weight format: 8 bits have a scale a row and are symmetric, 4 bits come in groups."""
        scheme = replace(int4.SCHEME if weights.get("bits") == 4 else int8.SCHEME, **weights)
        grouped = scheme.granularity == "group" or scheme.group_size is not None
        if scheme.bits == 8 and (grouped or not scheme.symmetric):
            self.faults.append(f"{where} has 8 bits, which are symmetric and per channel")
        if scheme.bits == 4 and scheme.granularity == "channel":
            self.faults.append(f"{where} has 4 bits, which come in groups")
        return replace(scheme, scale_type="float32")

    def _format(
        self, table: dict[str, Any] | None, where: str, allowed: Mapping[str, list[Any]]
    ) -> dict[str, Any]:
        """A number format: each value comes from a list, and ``bits`` must be given."""
        if table is None:
            return {}
        read = self._table(table, where, {key: type(values[0]) for key, values in allowed.items()})
        if "bits" not in table:
            self.faults.append(f"{where} does not say how many bits")
        return {k: self._choice(v, f"{where}.{k}", allowed[k]) for k, v in read.items()}

    def _choice(self, value: Any, where: str, allowed: Sequence[Any]) -> Any:
        if value not in allowed:
            shown = ", ".join(map(_toml, allowed))
            self.faults.append(f"{where} is {_toml(value)} (supported: {shown})")
        return value

    def _table(
        self, table: Mapping[str, Any], where: str, kinds: Mapping[str, type]
    ) -> dict[str, Any]:
        """The known keys of a table that have the right type; the rest are faults."""
        inside = f" in {where}" if where else ""
        good = {}
        for key, value in table.items():
            if key not in kinds:
                known = ", ".join(kinds)
                self.faults.append(f"unknown key {key!r}{inside} (known: {known})")
            elif type(value) is not kinds[key]:
                wanted = _TOML_NAMES[kinds[key]]
                self.faults.append(f"{key}{inside} is {_toml(value)}, not {wanted}")
            else:
                good[key] = value
        return good


def _toml(value: Any) -> str:
    """A value as it is written in TOML."""
    return json.dumps(value, ensure_ascii=False)


def _fault(name: str, faults: list[str]) -> InputError:
    return InputError(f"recipe {name}: {'; '.join(faults)}.")


def _examples(layers: list[str], count: int = 3) -> list[str]:
    """The first few names, and the last."""
    return layers if len(layers) <= count + 1 else [*layers[:count], "...", layers[-1]]
