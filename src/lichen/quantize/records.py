"""What there is to say of the tensors of a folder, gathered while they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from lichen.checkpoint.manifest import LayerRecord, NarrowedRecord
from lichen.tensor import FloatArray, Quantized


@dataclass
class Records:
    """Of quantized layers, and of tensors whose float type had to change."""

    layers: list[LayerRecord] = field(default_factory=list)
    narrowed: list[NarrowedRecord] = field(default_factory=list)

    def quantized(self, made: tuple[Quantized, LayerRecord]) -> Quantized:
        """Keep the record and give the tensor back."""
        tensor, record = made
        self.layers.append(record)
        return tensor

    def kept(self, made: tuple[FloatArray, NarrowedRecord | None]) -> FloatArray:
        """Keep the record, where there is one, and give the tensor back."""
        tensor, record = made
        if record is not None:
            self.narrowed.append(record)
        return tensor
