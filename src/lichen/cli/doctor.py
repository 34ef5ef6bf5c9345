"""``lichen doctor``: what this machine offers, and what would make it better."""

from __future__ import annotations

from typing import Any

from lichen.cli import command as shared
from lichen.cli.output import emit, emit_json

# What must be given before programs are run at these levels.
_PERMISSIONS = {"weak": "--allow-weak", "none": "--unsafe-no-sandbox"}


@shared.subcommand("lichen doctor")
def command() -> None:
    """Show what this machine offers.

    Processor, instruction sets, threads, memory, sandbox level, caches and models."""
    found = _examine()
    if shared.wants_json():
        emit_json(found)
        return
    for key, value in found.items():
        told = ", ".join(value) if isinstance(value, list) else value
        emit(f"{key.replace('_', ' '):<18} {told if told not in ('', None) else 'none'}")


def _examine() -> dict[str, Any]:
    from lichen import _core, measure, sandbox, self_check
    from lichen.checkpoint.registry import default_cache, known_models
    from lichen.engine.machine import choose_isa, choose_threads

    machine = measure.machine(threads=choose_threads(), isa=choose_isa())
    probe = sandbox.probe()
    cache = default_cache()
    return {
        "lichen": machine["lichen"],
        "python": machine["python"],
        "system": machine["system"],
        "processor": machine["processor"],
        "cores": machine["cores"],
        "threads": machine["threads"],
        "instruction_sets": _core.supported_isas(),
        "instruction_set": machine["isa"],
        "batch_invariance": _invariance(self_check.batch_invariance(machine["isa"])),
        "memory": f"{machine['memory_bytes'] / 1e9:.1f} GB",
        "power_model": measure.power_model(measure.processor()).name,
        "sandbox_level": probe.level,
        "sandbox_needs": _PERMISSIONS.get(probe.level, ""),
        "sandbox_launcher": probe.launcher,
        **{f"sandbox_{layer}": told for layer, told in probe.layers.items()},
        "sandbox_remedy": [f"{layer}: {told}" for layer, told in probe.remedies.items()],
        "model_cache": str(cache),
        "models_present": [model.name for model in known_models() if shared.model_path(model.name)],
    }


def _invariance(held: dict[str, bool]) -> str:
    """In words: whether answers depend on batch and threads, in any format of weights or cache."""
    broken = [form for form, holds in held.items() if not holds]
    tried = f"({len(held)} formats of weights and caches; alone and among 64; 1 and 2 threads)"
    return f"BROKEN for {', '.join(broken)} {tried}" if broken else f"holds {tried}"
