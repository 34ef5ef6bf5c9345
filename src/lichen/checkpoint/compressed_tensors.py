"""Folders quantized in the compressed-tensors format, which vLLM and transformers read and write.

A quantized layer ``X`` is stored as ``X.weight`` int8 [out, in] and ``X.weight_scale`` [out, 1]
(format "int-quantized"); ``quantization_config`` in config.json says which layers, and how their
inputs are quantized.  Facts about the reader were found in compressed-tensors 0.20's source and
are held by tests that load the folders with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.checkpoint.protocol import Checkpoint
from lichen.errors import InputError
from lichen.schemes import ActivationScheme, FloatType, Granularity, Scheme
from lichen.tensor import FloatArray, QuantizedTensor

FORMAT = "int-quantized"

_FLOATS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_FLOAT_TYPES: dict[str, FloatType] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


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
        _group(activations, names if position else ["Linear"])
        for position, ((_, activations), names) in enumerate(ranked)
    ]
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": [layer for layer, chosen in layers.items() if chosen is None],
        "config_groups": {f"group_{position}": group for position, group in enumerate(groups)},
    }


def stored(layer: str, tensor: QuantizedTensor) -> dict[str, npt.NDArray[Any]]:
    """The tensors that a quantized layer is written as."""
    scales = tensor.scales.astype(_FLOATS[tensor.scheme.scale_type])
    return {f"{layer}.weight": tensor.codes, f"{layer}.weight_scale": scales}


def _group(activations: ActivationScheme | None, targets: list[str]) -> dict[str, Any]:
    int8 = {"num_bits": 8, "type": "int", "symmetric": True}
    group: dict[str, Any] = {
        "targets": targets,
        "weights": int8 | {"strategy": "channel", "dynamic": False},
        "input_activations": int8 | {"strategy": "token", "dynamic": True},
        "output_activations": None,
    }
    if activations is None:
        # Without a format of its own, the reader expects weights whose inputs stay in floats to be
        # packed (compressors/format.py), whatever the format of the whole says.
        group |= {"input_activations": None, "format": FORMAT}
    return group


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
    parsed = tuple(_parse_group(name, group, faults) for name, group in groups.items())
    ignore = config.get("ignore") or []
    faults += _target_faults("ignore", ignore)
    if faults:
        raise InputError(f"quantization_config cannot be used: {'; '.join(faults)}.")
    return Groups(parsed, tuple(ignore))


def _wrapper_faults(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("format") not in (FORMAT, "mixed-precision"):
        yield f"format {config.get('format')!r} (lichen reads {FORMAT!r})"
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


def _parse_group(name: str, group: Any, faults: list[str]) -> tuple[tuple[str, ...], LayerFormat]:
    if name.upper() in ("W8A8", "INT8") and isinstance(group, list):  # the reader's preset
        group = {**_group(ActivationScheme(), group)}
    if not isinstance(group, dict):
        faults.append(f"{name} is the preset or value {group!r}, which lichen does not know")
        group = _group(ActivationScheme(), [])
    keys = {"targets", "weights", "input_activations", "output_activations", "format"}
    found = [f"unknown {key}" for key in sorted(set(group) - keys)]
    found += _target_faults("targets", group.get("targets"))
    if group.get("format") not in (None, FORMAT):
        found.append(f"format {group['format']!r} (lichen reads {FORMAT!r})")
    if group.get("output_activations"):
        found.append("output_activations are not supported")
    weights, inputs = group.get("weights"), group.get("input_activations")
    found += _argument_faults("weights", weights, ("channel", "tensor"), dynamic=False)
    if inputs is not None:
        found += _argument_faults("input_activations", inputs, ("token",), dynamic=True)
    faults += [f"{name}: {fault}" for fault in found]
    strategy = weights.get("strategy", "channel") if isinstance(weights, dict) else "channel"
    scheme = Scheme(bits=8, granularity=cast(Granularity, strategy))
    chosen = LayerFormat(scheme, ActivationScheme() if inputs is not None else None)
    return tuple(group.get("targets") or ()), chosen


def _argument_faults(
    where: str, arguments: Any, strategies: Sequence[str], *, dynamic: bool
) -> Iterator[str]:
    """What lichen cannot do of a group's ``weights`` or ``input_activations``."""
    if not isinstance(arguments, dict):
        yield f"{where} is {arguments!r}, not an object"
        return
    # Absent keys mean what QuantizationArgs says they mean (quantization/quant_args.py).
    defaults = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": False}
    given = defaults | arguments
    allowed: dict[str, Sequence[Any]] = {
        "num_bits": [8],
        "type": ["int"],
        "symmetric": [True],
        "strategy": strategies,
        "dynamic": [dynamic],
    }
    for key, values in allowed.items():
        if given.get(key, "tensor") not in values:
            shown = " or ".join(map(repr, values))
            yield f"{where} {key} is {given.get(key)!r} (supported: {shown})"
    for key in sorted(set(given) - set(allowed) - _CALIBRATION_KEYS):
        if given[key] is not None:
            yield f"{where} {key} {given[key]!r} is not supported"


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


# --- reading the tensors ---------------------------------------------------------------------


class CompressedTensors:
    """A compressed-tensors folder as a `Checkpoint` whose quantized weights read as such.

    ``base`` reads the folder's tensors as they are stored.  InputError names every reason why
    lichen cannot run the folder's formats, or every tensor that is not stored as its config says.
    """

    def __init__(self, base: Checkpoint) -> None:
        self._base = base
        try:
            self._groups = parse_config(base.config["quantization_config"])
        except InputError as error:
            raise InputError(f"{base.path}: {error}") from None
        everything = set(base.names())
        self._formats: dict[str, LayerFormat] = {}
        faults: list[str] = []
        for name in base.names():
            if name.endswith(".weight") and f"{name}_scale" in everything:
                faults += self._add(name)
            elif base.dtype(name) == "I8" and not name.endswith("_zero_point"):
                faults.append(f"{name} is int8 but has no {name}_scale")
        if faults:
            raise InputError(f"{base.path}: {'; '.join(faults)}.")
        parts = {f"{weight}_{part}" for weight in self._formats for part in ("scale", "zero_point")}
        self._names = tuple(name for name in base.names() if name not in parts)

    def _add(self, weight: str) -> Iterator[str]:
        """Take a quantized weight in, or say what is wrong with it."""
        layer, scale = weight.removesuffix(".weight"), f"{weight}_scale"
        chosen = self._groups.find(layer)
        if chosen is None:
            yield f"{layer} has scales, but quantization_config does not quantize it"
            return
        if self._base.dtype(weight) != "I8":
            yield f"{weight} is {self._base.dtype(weight)}, not I8"
        if self._base.dtype(scale) not in _FLOAT_TYPES:
            yield f"{scale} is {self._base.dtype(scale)}, not {', '.join(_FLOAT_TYPES)}"
            return
        scheme = replace(chosen.weights, scale_type=_FLOAT_TYPES[self._base.dtype(scale)])
        shape, found = self._base.shape(weight), self._base.shape(scale)
        rows = 1 if scheme.granularity == "tensor" else shape[0]
        if len(shape) != 2 or found not in ((rows, 1), (rows,), () if rows == 1 else None):
            yield f"{scale} has shape {list(found)} for a weight {list(shape)}"
        self._formats[weight] = replace(chosen, weights=scheme)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._base.path

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return self._base.config

    @property
    def size_bytes(self) -> int:
        """Bytes of the weight files."""
        return self._base.size_bytes

    @property
    def description(self) -> str:
        """The plain folder's description, with the formats of its weights."""
        formats = sorted({str(chosen) for chosen in self._formats.values()})
        return f"{self._base.description}, {' and '.join(formats)} (compressed-tensors)"

    def names(self) -> tuple[str, ...]:
        """Names of tensors; the scales of a layer are part of its weight."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._base.shape(name)

    def dtype(self, name: str) -> str:
        """Stored element type; "I8" for a quantized weight."""
        return self._base.dtype(name)

    def digest(self) -> str:
        """SHA-256 over config, tokenizer and weights."""
        return self._base.digest()

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """The folder's tokenizer files, as they are."""
        return self._base.tokenizer_files()

    def read(self, name: str) -> FloatArray | QuantizedTensor:
        """One tensor: floats as stored, or a quantized weight with its scales."""
        values = self._plain(name)
        if name not in self._formats:
            return values
        scales = self._plain(f"{name}_scale").astype(np.float32).reshape(-1, 1)
        if not np.isfinite(scales).all():
            raise InputError(f"{self._base.path}: {name}_scale has values that are not finite.")
        zeros = f"{name}_zero_point"
        if zeros in self._base.names() and self._plain(zeros).any():
            raise InputError(f"{self._base.path}: {zeros} is not zero in a symmetric format.")
        chosen = self._formats[name]
        return QuantizedTensor(values, scales, None, chosen.weights, chosen.activations)

    def _plain(self, name: str) -> FloatArray:
        return cast(FloatArray, self._base.read(name))  # the base joins nothing
