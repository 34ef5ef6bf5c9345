"""Reads a recipe's TOML and gathers everything that is wrong with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from lichen.recipe import Calibration, Choice, Method, Option, Recipe, Rule, recipe_error
from lichen.schemes import BITS, GROUP_SIZES, ActivationScheme, Scheme, trellis
from lichen.solvers import RANGES, Range, limits, options, scalings, solvers

_WEIGHTS: dict[str, list[Any]] = {
    "bits": list(BITS),
    "symmetric": [True, False],
    "granularity": ["tensor", "channel", "group"],
    "group_size": list(GROUP_SIZES),
    "trellis": [True, False],
}
_ACTIVATIONS: dict[str, list[Any]] = {
    "bits": [8],
    "symmetric": [True],
    "granularity": ["token", "group", "tensor"],
    "dynamic": [True, False],
    "group_size": list(GROUP_SIZES),
    "range": list(RANGES),
}

#: The solvers that know trellis codes, and their options that do not.
_TRELLIS_SOLVERS = ("mse", "gptq")
_PLAIN_OPTIONS = {"grid", "turns", "weighted", "act_order", "sweeps"}

_TOP = {
    "description": str,
    "bits": float,
    "rotate": bool,
    "layers": list,
    "embedding": dict,
    "calibration": dict,
}
_ENTRY = {
    "match": str,
    "keep": bool,
    "weights": dict,
    "choices": list,
    "activations": dict,
    "solver": str,
    "solver_options": dict,
    "scaling": str,
    "scaling_options": dict,
    "keep_tied": bool,
}
_EMBEDDING = {"weights": dict, "solver": str, "solver_options": dict}

_TOML_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of tables",
    dict: "a table",
}


def read_recipe(text: str, name: str) -> Recipe:
    """The recipe in ``text``; InputError names every fault at once."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise recipe_error(name, [f"not valid TOML: {error}"]) from None
    reader = _Reader()
    recipe = reader.recipe(content, text, name)
    if reader.faults:
        raise recipe_error(name, reader.faults)
    return recipe


class _Reader:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def recipe(self, content: dict[str, Any], text: str, name: str) -> Recipe:
        top = self._table(content, "", _TOP)
        tables = top.get("layers", [])
        if not tables:
            self.faults.append("there is no [[layers]] table, so nothing would be quantized")
        rules = tuple(self._entry(table, f"layers[{i}]") for i, table in enumerate(tables, 1))
        recipe = Recipe(
            name=name,
            description=top.get("description", ""),
            text=text,
            rules=rules,
            embedding=self._embedding(top.get("embedding")),
            calibration=self._calibration(top.get("calibration", {})),
            bits=top.get("bits"),
            rotate=top.get("rotate", False),
        )
        self._contradictions(recipe)
        return recipe

    def _contradictions(self, recipe: Recipe) -> None:
        """What each table may say, but not all of them together."""
        if not self.faults and recipe.calibrated and not recipe.calibration.sequences:
            self.faults.append(
                "static activations, scaling, calibrated solvers and choices need to see inputs,"
                " and calibration.sequences is 0"
            )
        choices = [rule for _, rule in recipe.rules if isinstance(rule, Choice)]
        if choices and recipe.bits is None:
            self.faults.append("a table has choices, but the recipe has no bits to spend")
        if recipe.bits is not None and not choices:
            self.faults.append("bits is a budget, but no table has choices to spend it on")
        if recipe.rotate and any(isinstance(r, Rule) and r.keep_tied for _, r in recipe.rules):
            self.faults.append("rotate needs a head of its own, and a table has keep_tied")
        if recipe.bits is not None and recipe.bits <= 0:
            self.faults.append(f"bits is {recipe.bits}, must be above 0")

    def _entry(self, table: Any, where: str) -> tuple[str, Rule | Choice | None]:
        if not isinstance(table, dict):
            self.faults.append(f"{where} is not a table")
            return "", None
        entry = self._table(table, where, _ENTRY)
        if "match" not in table:
            self.faults.append(f"{where} has no match pattern")
        pattern = entry.get("match", "")
        if entry.get("keep") is True:
            if extra := sorted(set(entry) - {"match", "keep"}):
                self.faults.append(f"{where} keeps its layers and yet has {', '.join(extra)}")
            return pattern, None
        if "choices" in entry:
            return pattern, self._choices(entry, where)
        if "weights" not in entry:
            self.faults.append(f"{where} needs either keep = true or a weights table")
        return pattern, self._rule(entry, where)

    def _choices(self, entry: dict[str, Any], where: str) -> Choice:
        """One rule for each table of weights to choose from; what else is said holds for all."""
        if "weights" in entry:
            self.faults.append(f"{where} has weights and choices, one of them is enough")
        shared = {key: value for key, value in entry.items() if key != "choices"}
        found = []
        for number, weights in enumerate(entry["choices"], 1):
            part = f"{where}.choices[{number}]"
            if isinstance(weights, dict):
                found.append(self._rule({**shared, "weights": weights}, where, part))
            else:
                self.faults.append(f"{part} is not a table")
        if len(found) < 2:
            self.faults.append(f"{where}.choices has {len(found)} tables, must have at least 2")
        return Choice(tuple(found))

    def _rule(self, entry: dict[str, Any], where: str, weights_at: str | None = None) -> Rule:
        scheme = self._scheme(entry.get("weights"), weights_at or f"{where}.weights")
        inputs, range_ = self._inputs(entry.get("activations"), scheme, f"{where}.activations")
        solver = self._method(entry, "solver", where, solvers(), "absmax")
        scaling = self._method(entry, "scaling", where, scalings(), None)
        assert solver is not None
        if scheme.trellis:
            self._trellis_faults(solver, scaling, where)
        keep_tied = entry.get("keep_tied", False)
        return Rule(scheme, inputs, solver, scaling, range_, keep_tied)

    def _scheme(self, table: dict[str, Any] | None, where: str) -> Scheme:
        """A weight format; 8 bits have a scale a row, fewer come in groups of 32, unless said."""
        given = self._format(table, where, _WEIGHTS)
        size = given.get("group_size")
        granularity: Any = given.get("granularity")
        if given.get("trellis"):
            return self._trellis(given, where)
        if granularity is None:
            granularity = "group" if size or given.get("bits", 8) < 8 else "channel"
        if granularity == "group":
            size = size or GROUP_SIZES[0]
        elif size is not None:
            self.faults.append(f"{where} has a group_size, but one scale per {granularity}")
        return Scheme(given.get("bits", 8), given.get("symmetric", True), granularity, size)

    def _trellis(self, given: dict[str, Any], where: str) -> Scheme:
        """Trellis codes are of one kind; what is said beside has to be that."""
        for key in ("bits", "symmetric", "granularity", "group_size"):
            if given.get(key, getattr(trellis.SCHEME, key)) != getattr(trellis.SCHEME, key):
                self.faults.append(
                    f"{where}.{key} is {_toml(given[key])}, but trellis codes have"
                    f" {_toml(getattr(trellis.SCHEME, key))}"
                )
        return trellis.SCHEME

    def _inputs(
        self, table: dict[str, Any] | None, weights: Scheme, where: str
    ) -> tuple[ActivationScheme | None, Range | None]:
        """An input format, and what chooses its scale where that is static."""
        if not (given := self._format(table, where, _ACTIVATIONS)):
            return None, None
        chosen = given.pop("range", None)
        scheme = replace(ActivationScheme(), **given)
        if scheme.granularity == "group" and scheme.group_size is None:
            scheme = replace(scheme, group_size=weights.group_size or GROUP_SIZES[-1])
        self._input_faults(scheme, weights, chosen, where)
        static = None if scheme.dynamic else chosen or RANGES[0]
        return scheme, static

    def _input_faults(
        self, scheme: ActivationScheme, weights: Scheme, chosen: str | None, where: str
    ) -> None:
        if scheme.dynamic != (scheme.granularity != "tensor"):
            kind = "dynamic" if scheme.dynamic else "static"
            self.faults.append(
                f"{where} are {kind} per {scheme.granularity}; static ones have one scale per"
                " tensor, dynamic ones one per token or group"
            )
        if scheme.granularity != "group" and scheme.group_size is not None:
            self.faults.append(f"{where} have a group_size, but a scale per {scheme.granularity}")
        if scheme.granularity == "group" and weights.group_size not in (None, scheme.group_size):
            self.faults.append(f"{where} per group need the group_size of the weights")
        if chosen is not None and scheme.dynamic:
            self.faults.append(f"{where} have a range to choose, but are dynamic")

    def _trellis_faults(self, solver: Method, scaling: Method | None, where: str) -> None:
        """Not every way to choose numbers knows trellis codes."""
        if solver.name not in _TRELLIS_SOLVERS:
            names = " or ".join(_TRELLIS_SOLVERS)
            self.faults.append(f"{where}.solver is {solver.name}; trellis codes need {names}")
        if scaling is not None:
            self.faults.append(f"{where} has a scaling, which does not know trellis codes")
        for option in sorted(_PLAIN_OPTIONS & set(solver.options)):
            self.faults.append(f"{option} in {where}.solver_options is not for trellis codes")

    def _embedding(self, table: dict[str, Any] | None) -> Rule | None:
        if table is None:
            return None
        entry = self._table(table, "embedding", _EMBEDDING)
        if "weights" not in entry:
            self.faults.append("embedding has no weights table")
        rule = self._rule(entry, "embedding")
        if not self.faults and rule.calibrated:
            self.faults.append(
                f"embedding.solver {rule.solver.name} needs inputs; a table has none"
            )
        return rule

    def _calibration(self, table: dict[str, Any]) -> Calibration:
        names = [f.name for f in fields(Calibration)]
        given = self._table(table, "calibration", dict.fromkeys(names, int))
        for key, value in given.items():
            least = 2 if key == "length" else 0
            if value < least:
                self.faults.append(f"calibration.{key} is {value}, must be at least {least}")
        return Calibration(**given)

    def _method(
        self, entry: dict[str, Any], key: str, where: str, known: Sequence[str], default: str | None
    ) -> Method | None:
        """A solver or scaling by its name, with options that it knows."""
        name = entry.get(key, default)
        given = entry.get(f"{key}_options", {})
        if name is None:
            if given:
                self.faults.append(f"{where} has {key}_options, but no {key}")
            return None
        if self._choice(name, f"{where}.{key}", known) not in known:
            return Method(name)
        return Method(name, self._options(name, given, f"{where}.{key}_options"))

    def _options(self, method: str, given: dict[str, Any], where: str) -> dict[str, Option]:
        known, limit = options(method), limits(method)
        good: dict[str, Any] = {}
        for key, value in given.items():
            if key not in known:
                those = ", ".join(known) or "none"
                self.faults.append(f"unknown key {key!r} in {where} ({method} has: {those})")
            elif not _same_kind(value, known[key]):
                wanted = _TOML_NAMES[type(known[key])]
                self.faults.append(f"{key} in {where} is {_toml(value)}, not {wanted}")
            elif key in limit and not limit[key].allows(value):
                self.faults.append(f"{key} in {where} is {_toml(value)}, not {limit[key].words}")
            else:
                good[key] = value
        return good

    def _format(
        self, table: dict[str, Any] | None, where: str, allowed: Mapping[str, list[Any]]
    ) -> dict[str, Any]:
        """A number format: each value comes from a list, and ``bits`` must be given."""
        if table is None:
            return {}
        read = self._table(table, where, {key: type(values[0]) for key, values in allowed.items()})
        if "bits" not in table:
            self.faults.append(f"{where} does not say how many bits")
        chosen = {k: self._choice(v, f"{where}.{k}", allowed[k]) for k, v in read.items()}
        return {k: v for k, v in chosen.items() if v in allowed[k]}

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
        good: dict[str, Any] = {}
        for key, value in table.items():
            if key not in kinds:
                known = ", ".join(kinds)
                self.faults.append(f"unknown key {key!r}{inside} (known: {known})")
            elif type(value) is int and kinds[key] is float:
                good[key] = float(value)
            elif type(value) is not kinds[key]:
                wanted = _TOML_NAMES[kinds[key]]
                self.faults.append(f"{key}{inside} is {_toml(value)}, not {wanted}")
            else:
                good[key] = value
        return good


def _same_kind(value: Any, default: Option) -> bool:
    """Whether an option has its default's type; whole numbers will do where a fraction may be."""
    return type(value) is type(default) or (type(value) is int and type(default) is float)


def _toml(value: Any) -> str:
    """A value as it is written in TOML."""
    return json.dumps(value, ensure_ascii=False)
