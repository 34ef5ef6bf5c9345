"""A GGUF file in another format of llama.cpp, from the weights that a GGUF file holds.

    python bench/requantize.py MODEL.gguf OUT.gguf --type Q8_0

Matrices are dequantized and quantized anew by the package gguf; vectors and metadata are copied.
The output head stays as it is stored, as llama.cpp's own tool keeps it finer than the rest: for
Q4_0 it would be Q6_K or, where rows are no multiple of 256, Q8_0.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

TYPES = {"Q4_0": LlamaFileType.MOSTLY_Q4_0, "Q8_0": LlamaFileType.MOSTLY_Q8_0}
#: Written by GGUFWriter itself.
STRUCTURE = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture")


def copy_metadata(reader: GGUFReader, writer: GGUFWriter, kind: str) -> None:
    """Everything that the file says of itself, but for its type."""
    for name, field in reader.fields.items():
        if name in STRUCTURE:
            continue
        value = TYPES[kind].value if name == "general.file_type" else field.contents()
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], inner)


def head_of(reader: GGUFReader) -> str:
    """The tensor that makes logits: the embedding where no other one does."""
    names = {tensor.name for tensor in reader.tensors}
    return "output.weight" if "output.weight" in names else "token_embd.weight"


def requantize(source: Path, out: Path, kind: str) -> None:
    """Write `out`, whole or not at all."""
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    beside, target = out.with_suffix(".part"), GGMLQuantizationType[kind]
    # Data go to temporary files as they come: the memory never holds all of them.
    writer = GGUFWriter(beside, architecture, use_temp_file=True)
    copy_metadata(reader, writer, kind)
    head = head_of(reader)
    for tensor in reader.tensors:
        if len(tensor.shape) < 2 or tensor.name == head:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, quantize(weight, target), raw_dtype=target)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(beside, out)


def main() -> None:
    """One file in, one file out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=TYPES, required=True)
    args = parser.parse_args()
    requantize(args.model, args.out, args.type)


if __name__ == "__main__":
    main()
