"""Uploaded files of several frames, with masks of one frame or of several."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from kerasunet.demo.visitors import open_image, open_mask  # noqa: E402

PAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)


def stack(path, pages):
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others)
    return str(path)


def test_the_mask_is_that_of_the_frame(tmp_path):
    image = open_image(stack(tmp_path / "loop.tif", PAGES), frame=2)
    masks = (PAGES > 128).astype(np.uint8)
    several = open_mask(stack(tmp_path / "masks.tif", masks), image)
    np.testing.assert_array_equal(several, PAGES[2] > 128)
    one = open_mask(stack(tmp_path / "mask.png", masks[1:2]), image)
    np.testing.assert_array_equal(one, PAGES[1] > 128)
    assert (image.frame, image.frames) == (2, 3)


@pytest.mark.parametrize("count", [2, 3])
def test_a_mask_of_more_frames_than_the_image_is_refused(tmp_path, count):
    Image.fromarray(PAGES[0]).save(tmp_path / "x.png")
    image = open_image(str(tmp_path / "x.png"))
    masks = stack(tmp_path / "masks.tif", (PAGES[:count] > 128).astype(np.uint8))
    with pytest.raises(ValueError, match=rf"^masks\.tif: has {count} frames, the image 1; export"):
        open_mask(masks, image)


@pytest.mark.slow
def test_a_batch_has_no_frame_to_choose(tmp_path):
    with pytest.raises(ValueError, match=r"^loop\.tif: it has 3 frames; say which: frame 0 to 2"):
        open_image(stack(tmp_path / "loop.tif", PAGES))
