"""What freezing costs: ideal bits of the frozen model against the float one, for several limits and margins.

python -m benchmarks.freezing CHECKPOINT CALIBRATION_IMAGES TEST_IMAGES
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from coders.backends import backend_for
from coders.scan import SEQUENTIAL
from datasets.images import find_images, read_image
from models.checkpoint import network_of, read_checkpoint
from models.freeze import ACTIVATION_LIMIT, MARGIN, freeze
from models.measure import image_bits
from utils.tasks.report import table

CHOICES = [(2047, 1.5), (4095, 1.5), (8191, 1.2), (ACTIVATION_LIMIT, MARGIN), (8191, 2.0), (8191, 3.0), (16383, 1.5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("calibration", help="directory of calibration images; at most 200 are read")
    parser.add_argument("images", help="directory of test images")
    parser.add_argument("--every", type=int, default=8, help="take every n-th test image (default 8)")
    options = parser.parse_args()
    net = network_of(read_checkpoint(options.checkpoint), options.checkpoint)
    channels, backend = net.description.channels, backend_for("cpu")
    files = find_images(options.calibration)
    calibration = [read_image(path, channels) for path in files[:: max(1, len(files) // 200)]]
    images = [read_image(path, channels) for path in find_images(options.images)[:: options.every]]
    floats = np.array([image_bits(net, image, kinds=("coded",))["coded"].sum() / image.size for image in images])
    rows = []
    for limit, margin in CHOICES:
        model = freeze(net, calibration, limit, margin)
        frozen = np.array([backend.measure(image, model, SEQUENTIAL).sum() / image.size for image in images])
        cost = 100 * (frozen / floats - 1)
        rows.append([limit, margin, frozen.mean(), 100 * (frozen.mean() / floats.mean() - 1), cost.max()])
    print(f"{len(images)} images, float model {floats.mean():.5f} bpsp; {len(calibration)} calibration images")
    print(table(rows, ["limit", "margin", "frozen bpsp", "cost %", "worst %"], ["", ".1f", ".5f", "+.4f", "+.4f"]))


if __name__ == "__main__":
    main()
