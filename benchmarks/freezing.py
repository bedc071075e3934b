"""What freezing costs: ideal bits of the frozen model against the float one, for several limits and margins.

python -m benchmarks.freezing TEST_IMAGES CHECKPOINT ... --calibration TRAINING_IMAGES

Without --calibration it measures the frozen models (.safetensors) that lie beside the checkpoints. Of several
checkpoints each image counts with the one that codes it best.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from coders.backends import backend_for
from coders.model_choice import best_model
from coders.placement import best_placement
from coders.scan import SCANS
from datasets.augmentation import augmentation_of
from datasets.calibration import calibration_images
from datasets.images import find_images, read_image
from models.checkpoint import network_of, read_checkpoint, settings_of
from models.freeze import freeze
from models.measure import image_bits
from models.model_file import read_model
from utils.tasks.report import table

CHOICES = [(4095, 1.1), (8191, 1.1), (16383, 1.1), (32767, 1.0), (32767, 1.1), (32767, 1.2), (32767, 1.5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="directory of test images")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--calibration", help="directory of images to freeze on, see datasets/calibration.py")
    parser.add_argument("--order", choices=SCANS, default="wavefront", help="scan order (default wavefront)")
    parser.add_argument("--every", type=int, default=1, help="take every n-th test image (default 1)")
    options = parser.parse_args()
    payloads = [read_checkpoint(path) for path in options.checkpoints]
    nets = [network_of(payload, path) for payload, path in zip(payloads, options.checkpoints, strict=True)]
    channels, backend, scan = nets[0].description.channels, backend_for("cpu"), SCANS[options.order]
    images = [read_image(path, channels) for path in find_images(options.images)[:: options.every]]
    if options.calibration:
        calibration = [
            calibration_images(options.calibration, channels, augmentation_of(settings_of(payload)))[0]
            for payload in payloads
        ]
        first = [freeze(net, own) for net, own in zip(nets, calibration, strict=True)]
    else:
        first = [read_model(path.with_name(path.name.split(".")[0] + ".safetensors")) for path in options.checkpoints]

    suited = [best_model(first, image, scan, backend) for image in images]
    best = [next(index for index, model in enumerate(first) if model is one) for one in suited]
    phases = [
        best_placement(model, image, scan, backend, turn=False).phase
        for model, image in zip(suited, images, strict=True)
    ]
    cases = list(zip(images, best, phases, strict=True))

    def float_rate(image, index, phase) -> float:
        taps = scan.taps(nets[index].description.taps)
        return image_bits(nets[index].in_phase(phase), image, taps, kinds=("coded",))["coded"].sum() / image.size

    floats = np.array([float_rate(*case) for case in cases])

    def row(models, limit, margin) -> list:
        frozen = np.array(
            [
                backend.measure(image, models[index].phases[phase], scan).sum() / image.size
                for image, index, phase in cases
            ]
        )
        cost = 100 * (frozen / floats - 1)
        return [limit, margin, frozen.mean(), 100 * (frozen.mean() / floats.mean() - 1), cost.max()]

    if options.calibration:
        rows = []
        for limit, margin in CHOICES:
            models = {index: freeze(nets[index], calibration[index], limit, margin) for index in set(best)}
            rows.append(row(models, limit, margin))
    else:
        limits = sorted({first[index].limit for index in best})
        rows = [row(first, ", ".join(map(str, limits)), "")]
    print(f"{len(images)} images, float model {floats.mean():.5f} bpsp")
    print(table(rows, ["limit", "margin", "frozen bpsp", "cost %", "worst %"], ["", ".1f", ".5f", "+.4f", "+.4f"]))


if __name__ == "__main__":
    main()
