"""Stack held-out cases of a finished run on simulated images: the picture of the README.

python docs/draw_before_after.py runs/simulated-ultrasound_shallow-3 docs/images/before-after.png
"""

import sys
from pathlib import Path

import cv2
import numpy as np

ROWS = 3


def main(run: str, picture: str) -> None:
    """Take the cases at the lower quartile, the median and the upper quartile of the Dice."""
    overlays = sorted((Path(run) / "overlays").glob("*.png"))  # From the worst Dice to the best.
    chosen = [overlays[len(overlays) * quarter // 4] for quarter in range(1, ROWS + 1)]
    cv2.imwrite(picture, np.vstack([cv2.imread(str(path)) for path in chosen]))


if __name__ == "__main__":
    main(*sys.argv[1:])
