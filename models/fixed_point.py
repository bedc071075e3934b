"""Units and limits of the integers that a frozen network puts out, and of the integer mixture made of them.

The network's integer outputs (its last layer is frozen to these units):

    means   1/64 pixel value, relative to the reference        MEAN_BITS
    scales  "exponential": index on the grid sigma = 0.11 * 2**(index/16) pixel values, 0..191
            "clamped": 1/4096 pixel value, looked up on the same grid
    logits  1/256 of a binary logarithm                        LOGIT_BITS
    cross   1/4096                                             CROSS_BITS
"""

from __future__ import annotations

MEAN_BITS, LOGIT_BITS, CROSS_BITS, WEIGHT_BITS = 6, 8, 12, 12
CLAMPED_SCALE_BITS = 12
SCALE_STEPS, SCALE_OCTAVES = 16, 12
SCALE_COUNT = SCALE_STEPS * SCALE_OCTAVES
#: Conditional means are clamped to these, in 1/64 pixel value.
MEAN_LOWEST, MEAN_HIGHEST = -(1 << 15), (1 << 15) + (1 << 14)
#: Raw means and logits are clamped to +- this, cross terms to +- 32767, before anything is computed with them.
RAW_LIMIT = 1 << 20
CROSS_LIMIT = 32767
#: Normal CDF table: argument z in 1/4096 sigma, one entry every 64, from -5 to 5 sigma.
Z_BITS, Z_STEP_BITS = 12, 6
Z_LIMIT = 5 << Z_BITS
#: z = (x * scale_mantissas[index % 16]) >> (Z_SHIFT + index // 16), x in 1/64 pixel value.
Z_SHIFT = 5
PHI_ROUND, PHI_SHIFT = 1 << 13, 14
TOTAL = 65536
#: The 16-bit coder gives each of 256 symbols 1/65536 on top of its share of the rest.
CODER_SHARE = (TOTAL - 256) / TOTAL
CODER_FLOOR = 1 / TOTAL
