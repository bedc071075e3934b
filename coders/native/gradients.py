"""How the native core computes bits and their gradients, for fitting and for training: of networks of float32."""

from __future__ import annotations

import os

from coders import native
from models.description import ModelDescription
from models.neighbourhood import WEST

#: That of the compiler's own vectors, which is there on every processor but not with every compiler. Training leaves
#: such processors to PyTorch, which has more for them than 128 bits at a time.
ANY_PROCESSORS = "vectors"
#: What P59_INSTRUCTION_SET allows; unset, everything that the processor has.
KINDS = {
    "avx512vnni": ("avx512bf16", "avx512", "avx2", ANY_PROCESSORS),
    "avxvnni": ("avx2", ANY_PROCESSORS),
    "avx2": ("avx2", ANY_PROCESSORS),
    "neon": (ANY_PROCESSORS,),
    "portable": (ANY_PROCESSORS,),
}
#: Those whose multiply-accumulates are of bfloat16; the others' are of float32.
BFLOAT16_KINDS = ("avx512bf16",)


def gradient_kind(bfloat16: bool = False) -> str | None:
    """How gradients are computed here, the best of `gradient_kinds` of the extension; None where it cannot.

    `bfloat16`: also by multiply-accumulates of bfloat16, where the processor has instructions for them.
    Raises RequestError where P59_INSTRUCTION_SET names what this machine does not have.
    """
    if native.unavailable_reason():
        return None
    kinds = native.extension().gradient_kinds()
    if os.environ.get(native.INSTRUCTION_SET_VARIABLE):
        allowed = KINDS.get(native.chosen_instruction_set(), ())
        kinds = [kind for kind in kinds if kind in allowed]
    return next((kind for kind in kinds if bfloat16 or kind not in BFLOAT16_KINDS), None)


def architecture(description: ModelDescription) -> dict[str, int | bool]:
    """What the extension's classes of gradients are told of a network, beside its taps and layers."""
    return {
        "mixtures": description.mixtures,
        "west": description.taps.index(WEST) if WEST in description.taps else 0,
        "relative_to_west": description.reference == "west",
        "clamped_scales": description.scales == "clamped",
        "parities": description.parities,
    }
