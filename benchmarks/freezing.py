"""What freezing costs: ideal bits of the frozen model against the float one, for several limits and margins.

python -m benchmarks.freezing CALIBRATION_IMAGES TEST_IMAGES CHECKPOINT ...

Of several checkpoints each image counts with the one that codes it best, frozen as shipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from coders.backends import backend_for
from coders.model_choice import best_model
from coders.placement import best_placement
from coders.scan import SEQUENTIAL
from datasets.images import find_images, read_image
from models.checkpoint import network_of, read_checkpoint
from models.freeze import ACTIVATION_LIMIT, MARGIN, freeze
from models.measure import image_bits
from utils.tasks.report import table

AS_SHIPPED = ACTIVATION_LIMIT, MARGIN
CHOICES = [(2047, 1.5), (4095, 1.5), (8191, 1.2), AS_SHIPPED, (8191, 2.0), (8191, 3.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", help="directory of calibration images; of more than 400, 200 to 400 are read")
    parser.add_argument("images", help="directory of test images")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=8, help="take every n-th test image (default 8)")
    parser.add_argument("--shipped", action="store_true", help="only the limit and margin that freezing takes")
    options = parser.parse_args()
    nets = [network_of(read_checkpoint(path), path) for path in options.checkpoints]
    channels, backend = nets[0].description.channels, backend_for("cpu")
    files = find_images(options.calibration)
    calibration = [read_image(path, channels) for path in files[:: max(1, len(files) // 200)]]
    images = [read_image(path, channels) for path in find_images(options.images)[:: options.every]]
    shipped = [freeze(net, calibration) for net in nets]
    suited = [best_model(shipped, image, SEQUENTIAL, backend) for image in images]
    best = [next(index for index, model in enumerate(shipped) if model is one) for one in suited]
    phases = [
        best_placement(model, image, SEQUENTIAL, backend, turn=False).phase
        for model, image in zip(suited, images, strict=True)
    ]
    floats = np.array(
        [
            image_bits(nets[index].in_phase(phase), image, kinds=("coded",))["coded"].sum() / image.size
            for image, index, phase in zip(images, best, phases, strict=True)
        ]
    )
    rows = []
    for limit, margin in [AS_SHIPPED] if options.shipped else CHOICES:
        models = dict(enumerate(shipped))
        if (limit, margin) != AS_SHIPPED:
            models = {index: freeze(nets[index], calibration, limit, margin) for index in set(best)}
        frozen = np.array(
            [
                backend.measure(image, models[index].phases[phase], SEQUENTIAL).sum() / image.size
                for image, index, phase in zip(images, best, phases, strict=True)
            ]
        )
        cost = 100 * (frozen / floats - 1)
        rows.append([limit, margin, frozen.mean(), 100 * (frozen.mean() / floats.mean() - 1), cost.max()])
    print(f"{len(images)} images, float model {floats.mean():.5f} bpsp; {len(calibration)} calibration images")
    print(table(rows, ["limit", "margin", "frozen bpsp", "cost %", "worst %"], ["", ".1f", ".5f", "+.4f", "+.4f"]))


if __name__ == "__main__":
    main()
