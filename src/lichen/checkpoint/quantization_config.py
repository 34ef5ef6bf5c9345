"""``quantization_config`` of config.json in the compressed-tensors format, written and read.

It says which layers are quantized, how their weights are stored, and how their inputs are
quantized while the model runs.  Facts about the reader were found in compressed-tensors 0.20's
source and are held by tests that load the folders with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lichen.errors import InputError
from lichen.schemes import ActivationScheme, Scheme, int4

#: How codes of so many bits are stored, and what may be said of such weights.
FORMATS = {8: "int-quantized", 4: "pack-quantized"}
_MIXED = "mixed-precision"
_STRATEGIES: dict[int, tuple[str, ...]] = {8: ("channel", "tensor"), 4: ("group",)}
_GROUP_SIZES: dict[int, tuple[int | None, ...]] = {8: (None,), 4: int4.GROUP_SIZES}
_SYMMETRIC = {8: (True,), 4: (True, False)}


@dataclass(frozen=True)
class LayerFormat:
    """How one layer is quantized: its weight, and its input (None leaves the input in floats)."""

    weights: Scheme
    activations: ActivationScheme | None

    def __str__(self) -> str:
        return f"{self.weights}, {self.activations or 'float activations'}"


# --- writing ---------------------------------------------------------------------------------


def quantization_config(layers: Mapping[str, LayerFormat | None]) -> dict[str, Any]:
    """The ``quantization_config`` of config.json for a model's linear layers; None is kept as is.

    The most common format takes the target "Linear"; layers of every other format are named one by
    one, since the reader tries exact names before class names, whatever the order of the groups.
    """
    by_format: dict[tuple[Scheme, ActivationScheme | None], list[str]] = {}
    for layer, chosen in layers.items():
        if chosen is not None:
            key = replace(chosen.weights, scale_type="float32"), chosen.activations
            by_format.setdefault(key, []).append(layer)
    ranked = sorted(by_format.items(), key=lambda item: -len(item[1]))
    groups = [
        _group(LayerFormat(*chosen), names if position else ["Linear"])
        for position, (chosen, names) in enumerate(ranked)
    ]
    formats = {FORMATS[weights.bits] for weights, _ in by_format}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else _MIXED,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": [layer for layer, chosen in layers.items() if chosen is None],
        "config_groups": {f"group_{position}": group for position, group in enumerate(groups)},
    }


def _group(chosen: LayerFormat, targets: list[str]) -> dict[str, Any]:
    group: dict[str, Any] = {
        "targets": targets,
        "weights": _weights(chosen.weights),
        "input_activations": chosen.activations and _inputs(chosen.activations),
        "output_activations": None,
    }
    stored = FORMATS[chosen.weights.bits]
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
    return FORMATS[4] if activations is None else FORMATS[8]


# --- reading the config ----------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """Which layers have which format: (targets, format) and the targets that are kept as is."""

    groups: tuple[tuple[tuple[str, ...], LayerFormat], ...]
    ignore: tuple[str, ...]

    def find(self, layer: str) -> LayerFormat | None:
        """The format of a linear layer.

        The reader's order (utils/match.py): exact names, then regular expressions, then classes,
        each in the order of their spelling; ``ignore`` comes before all.
        """
        if any(_matches(target, layer) for target in self.ignore):
            return None
        by_target = {target: chosen for targets, chosen in self.groups for target in targets}
        for target in sorted(by_target, key=lambda t: (t == "Linear", "re:" in t, t)):
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
            f"quant_method {method!r} is not supported: lichen reads unquantized models and"
            " compressed-tensors folders."
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
    if config.get("format") not in (*FORMATS.values(), _MIXED):
        yield f"format {config.get('format')!r} (lichen reads {_shown(FORMATS.values())})"
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


def _parse_group(
    name: str, group: Any, whole: Any, faults: list[str]
) -> tuple[tuple[str, ...], LayerFormat]:
    """A group's targets and format; ``whole`` is the format of the whole."""
    if name.upper() in ("W8A8", "INT8") and isinstance(group, list):  # the reader's preset
        group = _group(LayerFormat(Scheme(8), ActivationScheme()), group)
    if not isinstance(group, dict):
        faults.append(f"{name} is the preset or value {group!r}, which lichen does not know")
        group = _group(LayerFormat(Scheme(8), ActivationScheme()), [])
    keys = {"targets", "weights", "input_activations", "output_activations", "format"}
    found = [f"unknown {key}" for key in sorted(set(group) - keys)]
    found += _target_faults("targets", group.get("targets"))
    if group.get("output_activations"):
        found.append("output_activations are not supported")
    weights, inputs = group.get("weights"), group.get("input_activations")
    found += _argument_faults("weights", weights, _allowed_weights(weights))
    if inputs is not None:
        found += _input_faults(inputs, weights)
    scheme = Scheme(8) if found else _scheme(weights)
    stored = group.get("format") or (_inferred(inputs) if whole == _MIXED else whole)
    if not found and stored != FORMATS[scheme.bits]:
        needed = FORMATS[scheme.bits]
        found.append(f"{scheme.bits}-bit weights in format {stored!r} (lichen reads {needed!r})")
    faults += [f"{name}: {fault}" for fault in found]
    chosen = LayerFormat(scheme, None if found else _inputs_of(inputs))
    return tuple(group.get("targets") or ()), chosen


#: Absent keys mean what QuantizationArgs says they mean (quantization/quant_args.py).
_DEFAULTS: dict[str, Any] = {
    "num_bits": 8,
    "type": "int",
    "symmetric": True,
    "strategy": "tensor",
    "group_size": None,
    "dynamic": False,
}

_ALLOWED_INPUTS: dict[str, Sequence[Any]] = {
    "num_bits": (8,),
    "type": ("int",),
    "symmetric": (True,),
    "strategy": ("token", "tensor", "group"),
    "group_size": (None, *int4.GROUP_SIZES),
    "dynamic": (True, False),
}


def _input_faults(arguments: Any, weights: Any) -> Iterator[str]:
    """One scale for each token or group, found as they come, or one for all, found beforehand."""
    found = list(_argument_faults("input_activations", arguments, _ALLOWED_INPUTS))
    yield from found
    if found:
        return
    given = _DEFAULTS | arguments
    strategy, size = given["strategy"], given["group_size"]
    if given["dynamic"] != (strategy != "tensor"):
        kind = "dynamic" if given["dynamic"] else "static"
        yield f"input_activations are {kind} per {strategy}"
    if (size is not None) != (strategy == "group"):
        yield f"input_activations have group_size {size!r} per {strategy}"
    elif size is not None and size != (isinstance(weights, dict) and weights.get("group_size")):
        yield f"input_activations are in groups of {size}, the weights are not"


def _inputs_of(arguments: Any) -> ActivationScheme | None:
    if arguments is None:
        return None
    given = _DEFAULTS | arguments
    return ActivationScheme(
        granularity=given["strategy"], dynamic=given["dynamic"], group_size=given["group_size"]
    )


def _allowed_weights(arguments: Any) -> Mapping[str, Sequence[Any]]:
    """What may be said of weights with as many bits as ``arguments`` asks for."""
    bits = arguments.get("num_bits") if isinstance(arguments, dict) else None
    known = bits if bits in FORMATS else 8
    return {
        "num_bits": tuple(FORMATS),
        "type": ("int",),
        "symmetric": _SYMMETRIC[known],
        "strategy": _STRATEGIES[known],
        "group_size": _GROUP_SIZES[known],
        "dynamic": (False,),
    }


def _scheme(arguments: Mapping[str, Any]) -> Scheme:
    given = {**_DEFAULTS, **arguments}
    return Scheme(given["num_bits"], given["symmetric"], given["strategy"], given["group_size"])


def _argument_faults(
    where: str, arguments: Any, allowed: Mapping[str, Sequence[Any]]
) -> Iterator[str]:
    """What lichen cannot do of a group's ``weights`` or ``input_activations``."""
    if not isinstance(arguments, dict):
        yield f"{where} is {arguments!r}, not an object"
        return
    given = _DEFAULTS | arguments
    for key, values in allowed.items():
        if given[key] not in values:
            yield f"{where} {key} is {given[key]!r} (supported: {_shown(values)})"
    for key in sorted(set(given) - set(allowed) - _CALIBRATION_KEYS):
        if given[key] is not None:
            yield f"{where} {key} {given[key]!r} is not supported"


def _shown(values: Iterable[Any]) -> str:
    return " or ".join(map(repr, values))


def _target_faults(where: str, targets: Any) -> Iterator[str]:
    """Targets are layer names, ``re:`` patterns, or the class "Linear"."""
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
    """Whether a target names a linear layer, as compressed-tensors' match_name has it."""
    if target.startswith("re:"):
        return re.match(target.removeprefix("re:"), layer) is not None
    return target in (layer, "Linear")
