"""Recipes: which number format and which way to choose the numbers, for which layer, as data.

A recipe is a TOML file (docs/recipes.md).  Each ``[[layers]]`` table has a ``match`` pattern
(shell-style wildcards on the layer's name, such as ``model.layers.*.mlp.down_proj``) and either
``keep = true`` or says how weights and inputs are quantized.  The first table whose pattern fits a
layer decides; a layer that none fits is kept as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from lichen.errors import InputError
from lichen.schemes import ActivationScheme, Scheme
from lichen.solvers import Range, calibrated

#: A value that a recipe gives an option of a solver.
Option = str | int | float | bool


@dataclass(frozen=True)
class Method:
    """A way to choose numbers by its name, with the options that differ from its defaults."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def __str__(self) -> str:
        chosen = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return f"{self.name} ({chosen})" if chosen else self.name


@dataclass(frozen=True)
class Rule:
    """What happens to a layer: its weights' format, its input's (None: floats), and how.

    solver   chooses scales and codes
    scaling  moves part of the range of inputs into weights before that, or None
    range_   chooses the one scale of static activations, or None
    keep_tied  leaves an output head as it is where it shares the embedding's table; else it is
               quantized with the table, or given a weight of its own
    """

    scheme: Scheme
    activations: ActivationScheme | None
    solver: Method
    scaling: Method | None = None
    range_: Range | None = None
    keep_tied: bool = False

    @property
    def static(self) -> bool:
        """Whether the scale of inputs is chosen beforehand."""
        return self.activations is not None and not self.activations.dynamic

    @property
    def blind(self) -> bool:
        """Whether the weight can be chosen without seeing inputs."""
        return self.scaling is None and not calibrated(self.solver.name, self.solver.options)

    @property
    def calibrated(self) -> bool:
        """Whether the choice needs to see inputs."""
        return self.static or not self.blind

    def __str__(self) -> str:
        return f"{self.scheme}, {self.activations or 'float activations'}"


@dataclass(frozen=True)
class Choice:
    """Formats of which each layer is given one, so that all together meet the bit budget."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Calibration:
    """How much text is run through the model to see its inputs."""

    sequences: int = 64
    length: int = 512
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """An ordered list of (pattern, rule); a rule of None keeps the layers that it matches.

    ``text`` is the file it was read from, word for word, and ``digest`` its SHA-256.  ``bits`` is
    the budget of those rules that leave a choice.  ``embedding`` is the rule of the embedding's
    table, which no pattern matches.  ``chosen`` is which of its choices a layer got, where that is
    settled, counted from 0.  ``rotate`` asks for `lichen.quantize.rotation` before all else.
    """

    name: str
    description: str
    text: str
    rules: tuple[tuple[str, Rule | Choice | None], ...]
    embedding: Rule | None = None
    calibration: Calibration = Calibration()
    bits: float | None = None
    chosen: Mapping[str, int] = field(default_factory=dict)
    rotate: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def calibrated(self) -> bool:
        """Whether text has to be run through the model."""
        return any(
            isinstance(rule, Choice) or (rule is not None and rule.calibrated)
            for _, rule in self.rules
        )

    def rule(self, layer: str) -> Rule | Choice | None:
        """What to do with ``layer``; None leaves it as it is."""
        position = self._first_match(layer)
        return None if position is None else self.rules[position][1]

    def pattern(self, layer: str) -> str | None:
        """The pattern that decides about ``layer``."""
        position = self._first_match(layer)
        return None if position is None else self.rules[position][0]

    def assign(self, layers: Iterable[str]) -> dict[str, Rule | Choice | None]:
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
            raise recipe_error(self.name, [*idle, f"the model's layers are {layers_are}"])
        return assigned

    def settled(self, chosen: Mapping[str, int]) -> Recipe:
        """This recipe with one rule for each of the layers that had a choice, by its number."""
        rules: list[tuple[str, Rule | Choice | None]] = []
        for layer, number in chosen.items():
            choice = self.rule(layer)
            if not isinstance(choice, Choice) or number not in range(len(choice.rules)):
                raise recipe_error(self.name, [f"leaves {layer} no choice with number {number}"])
            rules.append((layer, choice.rules[number]))
        rest = [entry for entry in self.rules if not isinstance(entry[1], Choice)]
        return replace(self, rules=(*rules, *rest), chosen=dict(chosen))

    def _first_match(self, layer: str) -> int | None:
        matches = (i for i, (pattern, _) in enumerate(self.rules) if fnmatchcase(layer, pattern))
        return next(matches, None)

    @staticmethod
    def _why_idle(pattern: str, layers: Iterable[str]) -> str:
        if any(fnmatchcase(layer, pattern) for layer in layers):
            return "only matches layers that earlier patterns already decide"
        return "matches no layer of this model"


def presets() -> dict[str, str]:
    """The recipes that come with lichen: name and description, by name."""
    files = [file.name for file in _folder().iterdir() if file.name.endswith(".toml")]
    names = sorted(name.removesuffix(".toml") for name in files)
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
    if not (_folder() / f"{name}.toml").is_file():
        raise InputError(
            f"there is no recipe {name!r}; lichen has {', '.join(presets())},"
            " and reads recipe files whose names end in .toml."
        )
    return _preset(name)


def parse_recipe(text: str, name: str) -> Recipe:
    """Read a recipe's TOML; InputError names every fault at once."""
    from lichen.recipe.reading import read_recipe

    return read_recipe(text, name)


def recipe_error(name: str, faults: Iterable[str]) -> InputError:
    """What is wrong with a recipe, in one error."""
    return InputError(f"recipe {name}: {'; '.join(faults)}.")


def _folder() -> Traversable:
    return resources.files("lichen") / "recipes"


def _preset(name: str) -> Recipe:
    return parse_recipe((_folder() / f"{name}.toml").read_text(encoding="utf-8"), name)


def _examples(layers: list[str], count: int = 3) -> list[str]:
    """The first few names, and the last."""
    return layers if len(layers) <= count + 1 else [*layers[:count], "...", layers[-1]]
