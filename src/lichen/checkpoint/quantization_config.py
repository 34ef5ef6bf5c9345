"""``quantization_config`` of config.json in the compressed-tensors format, written and read.

It says which layers are quantized, how their weights are stored, and how their inputs are
quantized while the model runs.  Facts about the reader were found in compressed-tensors 0.20's
source and are held by tests that load the folders with it.

An embedding is a layer like the others, of class "Embedding", that has weights only.  transformers
5.24 reads 8-bit codes that are not packed; it finds no ``weight`` in a packed one, and multiplies
by bare codes in a head that shares a quantized table without being quantized itself.  lichen reads
all of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lichen.errors import InputError
from lichen.schemes import BITS, GROUP_SIZES, ActivationScheme, Scheme
from lichen.schemes.trellis import SCHEME as _TRELLIS

#: The last part of an embedding's name.
EMBEDDING = "embed_tokens"

#: The name that an output head goes by in recipes and configs when it shares the embedding's table.
TIED_HEAD = "lm_head"

#: Codes as int8, one a byte, or packed in words (`lichen.schemes.packing`).
PLAIN, PACKED = "int-quantized", "pack-quantized"

#: lichen's own codes of 4 bits (`lichen.schemes.trellis`), which compressed-tensors does not know:
#: it refuses a folder that has them.  Of a quant_method that it had never heard of transformers
#: would warn, and go on with random weights.
TRELLIS = "trellis-quantized"
_FORMATS = (PLAIN, PACKED, TRELLIS)
_MIXED = "mixed-precision"


@dataclass(frozen=True)
class LayerFormat:
    """How one layer is quantized: its weight, and its input (None leaves the input in floats)."""

    weights: Scheme
    activations: ActivationScheme | None

    def __str__(self) -> str:
        return f"{self.weights}, {self.activations or 'float activations'}"


def is_embedding(layer: str) -> bool:
    """Whether a layer is a table of token embeddings, by the name that Hugging Face gives it."""
    return layer.rpartition(".")[2] == EMBEDDING


def stored_as(layer: str, chosen: LayerFormat) -> str:
    """How lichen stores a weight: `PLAIN` 8-bit codes where they meet integers or are looked up."""
    if chosen.weights.trellis:
        return TRELLIS
    plain = chosen.weights.bits == 8 and (chosen.activations or is_embedding(layer))
    return PLAIN if plain else PACKED


# --- writing ---------------------------------------------------------------------------------


def quantization_config(layers: Mapping[str, LayerFormat | None]) -> dict[str, Any]:
    """The ``quantization_config`` of config.json for a model's layers; None is kept as it is.

    The most common format of linear layers takes the target "Linear"; linear layers of every other
    format are named one by one, since the reader tries exact names before class names, whatever the
    order of the groups.
    """
    by_format: dict[tuple[LayerFormat, str], list[str]] = {}
    for layer, chosen in layers.items():
        if chosen is not None:
            plain = replace(chosen, weights=replace(chosen.weights, scale_type="float32"))
            by_format.setdefault((plain, stored_as(layer, chosen)), []).append(layer)
    ranked = sorted(by_format.items(), key=lambda item: -sum(not is_embedding(n) for n in item[1]))
    groups = [_group(*key, _targets(names, i == 0)) for i, (key, names) in enumerate(ranked)]
    formats = {stored for _, stored in by_format}
    kept = [layer for layer, chosen in layers.items() if chosen is None and not is_embedding(layer)]
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else _MIXED,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": kept,
        "config_groups": {f"group_{position}": group for position, group in enumerate(groups)},
    }


def _targets(names: Sequence[str], most_common: bool) -> list[str]:
    """What a group applies to: vLLM gives an embedding's class to its reader, not its name."""
    linears = [name for name in names if not is_embedding(name)]
    if most_common and linears:
        linears = ["Linear"]
    return linears + ["Embedding"] * any(map(is_embedding, names))


def _group(chosen: LayerFormat, stored: str, targets: list[str]) -> dict[str, Any]:
    group: dict[str, Any] = {
        "targets": targets,
        "weights": _weights(chosen.weights),
        "input_activations": chosen.activations and _inputs(chosen.activations),
        "output_activations": None,
    }
    return group if stored == _inferred(chosen.activations) else group | {"format": stored}


def _weights(scheme: Scheme) -> dict[str, Any]:
    size = {"group_size": scheme.group_size} if scheme.group_size else {}
    return {
        "num_bits": scheme.bits,
        "type": "int",
        "symmetric": scheme.symmetric,
        "strategy": scheme.granularity,
        **size,
        "dynamic": False,
    }


def _inputs(scheme: ActivationScheme) -> dict[str, Any]:
    return {
        "num_bits": scheme.bits,
        "type": "int",
        "symmetric": scheme.symmetric,
        "strategy": scheme.granularity,
        **({"group_size": scheme.group_size} if scheme.group_size else {}),
        "dynamic": scheme.dynamic,
    }


def _inferred(activations: object) -> str:
    """What the reader takes a group without a format of its own to be stored as.

    Integers with quantized inputs as "int-quantized", the others packed, whatever the format of the
    whole says (compressors/format.py).
    """
    return PACKED if activations is None else PLAIN


# --- reading the config ----------------------------------------------------------------------


_CLASSES = ("Linear", "Embedding")


@dataclass(frozen=True)
class Group:
    """Targets (names, patterns, classes), their format, and how their weights are stored."""

    targets: tuple[str, ...]
    format: LayerFormat
    stored: str


@dataclass(frozen=True)
class Groups:
    """Which layers have which format, and which targets are kept as they are."""

    groups: tuple[Group, ...]
    ignore: tuple[str, ...]

    def find(self, layer: str) -> LayerFormat | None:
        """The format of a layer; None where it is not quantized."""
        group = self.group(layer)
        return None if group is None else group.format

    def group(self, layer: str) -> Group | None:
        """The group that decides on a layer.

        The reader's order (utils/match.py): exact names, then regular expressions, then classes,
        each in the order of their spelling; ``ignore`` comes before all.
        """
        if any(_matches(target, layer) for target in self.ignore):
            return None
        by_target = {target: group for group in self.groups for target in group.targets}
        for target in sorted(by_target, key=lambda t: (t in _CLASSES, "re:" in t, t)):
            if _matches(target, layer):
                return by_target[target]
        return None


def parse_config(config: Any) -> Groups:
    """Read a ``quantization_config``; InputError names every reason why lichen cannot run it."""
    faults: list[str] = []
    if not isinstance(config, dict):
        raise InputError(f"quantization_config is {config!r}, not an object.")
    method = config.get("quant_method")
    if method != "compressed-tensors":
        raise InputError(
            f"quant_method {method!r} is not supported: lichen reads unquantized models, and those"
            " of compressed-tensors, GPTQ and AWQ."
        )
    faults += _wrapper_faults(config)
    groups = config.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        faults.append("config_groups is missing or empty")
        groups = {}
    whole = config.get("format")
    parsed = tuple(_parse_group(name, group, whole, faults) for name, group in groups.items())
    ignore = config.get("ignore") or []
    faults += _target_faults("ignore", ignore)
    if faults:
        raise InputError(f"quantization_config cannot be used: {'; '.join(faults)}.")
    return Groups(parsed, tuple(ignore))


def _wrapper_faults(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("format") not in (*_FORMATS, _MIXED):
        yield f"format {config.get('format')!r} (lichen reads {_shown(_FORMATS)})"
    if config.get("quantization_status", "compressed") != "compressed":
        yield f"quantization_status {config['quantization_status']!r} (only 'compressed')"
    for key in ("kv_cache_scheme", "transform_config", "moe_sparsity_config"):
        if config.get(key):
            yield f"{key} is not supported"
    if (sparsity := config.get("sparsity_config")) and sparsity.get("format") != "dense":
        yield "sparsity_config is not supported"
    if unknown := sorted(set(config) - _WRAPPER_KEYS):
        yield f"unknown {', '.join(unknown)}"


_WRAPPER_KEYS = {
    *("quant_method", "format", "quantization_status", "global_compression_ratio", "ignore"),
    *("kv_cache_scheme", "config_groups", "sparsity_config", "transform_config", "version"),
    *("moe_sparsity_config", "run_compressed", "dequantize", "use_optimized_inference"),
}

#: Of a group's arguments, those that only matter while scales are being looked for.
_CALIBRATION_KEYS = {"observer", "observer_kwargs", "actorder", "zp_dtype", "scale_dtype"}


def _parse_group(name: str, group: Any, whole: Any, faults: list[str]) -> Group:
    """One group, with its faults added to ``faults``; ``whole`` is the format of the whole."""
    if name.upper() in ("W8A8", "INT8") and isinstance(group, list):  # the reader's preset
        group = _group(LayerFormat(Scheme(8), ActivationScheme()), PLAIN, group)
    if not isinstance(group, dict):
        faults.append(f"{name} is the preset or value {group!r}, which lichen does not know")
        group = _group(LayerFormat(Scheme(8), ActivationScheme()), PLAIN, [])
    keys = {"targets", "weights", "input_activations", "output_activations", "format"}
    found = [f"unknown {key}" for key in sorted(set(group) - keys)]
    found += _target_faults("targets", group.get("targets"))
    if group.get("output_activations"):
        found.append("output_activations are not supported")
    weights, inputs = group.get("weights"), group.get("input_activations")
    found += _weight_faults(weights)
    if inputs is not None:
        found += _input_faults(inputs)
    stored = group.get("format") or (_inferred(inputs) if whole == _MIXED else whole)
    if whole in (*_FORMATS, _MIXED) and stored not in _FORMATS:
        found.append(f"format {stored!r} (lichen reads {_shown(_FORMATS)})")
    elif stored == TRELLIS and not found and _scheme(weights) != replace(_TRELLIS, trellis=False):
        found.append("trellis codes have 4 bits in symmetric groups of 128")
    faults += [f"{name}: {fault}" for fault in found]
    scheme = Scheme(8) if found else _TRELLIS if stored == TRELLIS else _scheme(weights)
    chosen = LayerFormat(scheme, None if found else _inputs_of(inputs))
    return Group(tuple(group.get("targets") or ()), chosen, str(stored))


#: Absent keys mean what QuantizationArgs says they mean (quantization/quant_args.py).
_DEFAULTS: dict[str, Any] = {
    "num_bits": 8,
    "type": "int",
    "symmetric": True,
    "strategy": None,
    "group_size": None,
    "dynamic": False,
}

_ALLOWED_WEIGHTS: dict[str, Sequence[Any]] = {
    "num_bits": BITS,
    "type": ("int",),
    "symmetric": (True, False),
    "strategy": ("channel", "tensor", "group"),
    "group_size": (None, *GROUP_SIZES),
    "dynamic": (False,),
}

_ALLOWED_INPUTS: dict[str, Sequence[Any]] = {
    "num_bits": (8,),
    "type": ("int",),
    "symmetric": (True,),
    "strategy": ("token", "tensor", "group"),
    "group_size": (None, *GROUP_SIZES),
    "dynamic": (True, False),
}


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A group's arguments with what absent ones stand for; -1 columns are all of a row."""
    given = {**_DEFAULTS, **arguments}
    size = given["group_size"]
    if given["strategy"] is None:
        given["strategy"] = "tensor" if size is None else "channel" if size == -1 else "group"
    return given | {"group_size": None if size == -1 else size}


def _weight_faults(arguments: Any) -> Iterator[str]:
    found = list(_argument_faults("weights", arguments, _ALLOWED_WEIGHTS))
    yield from found or _size_faults("weights", _given(arguments))


def _input_faults(arguments: Any) -> Iterator[str]:
    """One scale for each token or group, found as they come, or one for all, found beforehand."""
    found = list(_argument_faults("input_activations", arguments, _ALLOWED_INPUTS))
    yield from found
    if found:
        return
    given = _given(arguments)
    if given["dynamic"] != (given["strategy"] != "tensor"):
        kind = "dynamic" if given["dynamic"] else "static"
        yield f"input_activations are {kind} per {given['strategy']}"
    yield from _size_faults("input_activations", given)


def _size_faults(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    strategy, size = given["strategy"], given["group_size"]
    if (size is not None) != (strategy == "group"):
        yield f"{where} have group_size {size!r} per {strategy}"


def _inputs_of(arguments: Any) -> ActivationScheme | None:
    if arguments is None:
        return None
    given = _given(arguments)
    return ActivationScheme(
        granularity=given["strategy"], dynamic=given["dynamic"], group_size=given["group_size"]
    )


def _scheme(arguments: Mapping[str, Any]) -> Scheme:
    given = _given(arguments)
    return Scheme(given["num_bits"], given["symmetric"], given["strategy"], given["group_size"])


def _argument_faults(
    where: str, arguments: Any, allowed: Mapping[str, Sequence[Any]]
) -> Iterator[str]:
    """What lichen cannot do of a group's ``weights`` or ``input_activations``."""
    if not isinstance(arguments, dict):
        yield f"{where} is {arguments!r}, not an object"
        return
    given = _given(arguments)
    for key, values in allowed.items():
        if given[key] not in values:
            yield f"{where} {key} is {given[key]!r} (supported: {_shown(values)})"
    for key in sorted(set(given) - set(allowed) - _CALIBRATION_KEYS):
        if given[key] is not None:
            yield f"{where} {key} {given[key]!r} is not supported"


def _shown(values: Iterable[Any]) -> str:
    return " or ".join(map(repr, values))


def _target_faults(where: str, targets: Any) -> Iterator[str]:
    """Targets are layer names, ``re:`` patterns, or classes."""
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        yield f"{where} is {targets!r}, not a list of names"
        return
    for target in targets:
        if target.startswith("re:"):
            try:
                re.compile(target.removeprefix("re:"))
            except re.error as error:
                yield f"{where} has the pattern {target!r}: {error}"


def _matches(target: str, layer: str) -> bool:
    """Whether a target names a layer or its class, as compressed-tensors' is_match has it."""
    if target.startswith("re:"):
        return re.match(target.removeprefix("re:"), layer) is not None
    return target in (layer, _CLASSES[is_embedding(layer)])
