"""Drawing: what is where on overlays, comparisons and contact sheets, and lossless PNG files."""

import cv2
import numpy as np
import pytest

from kerasunet.drawing import (
    PREDICTION,
    TRUTH,
    contact_sheet,
    draw_comparison,
    overlay,
    to_rgb,
    write_png,
)

pytestmark = pytest.mark.filterwarnings("error")


def square(shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[20:40, 30:60] = True
    return mask


def has_color(picture, color):
    return (picture == color).all(axis=-1)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_to_rgb_rounds_and_clips(shape):
    picture = to_rgb(np.full(shape, 99.6, np.float32))
    assert picture.shape == (5, 7, 3) and picture.dtype == np.uint8 and (picture == 100).all()
    assert to_rgb(np.full(shape, 300.0)).max() == 255 and to_rgb(np.full(shape, -9.0)).max() == 0


def test_overlay_tints_inside_outlines_the_edge_and_leaves_the_outside():
    image = np.full((60, 80), 100, np.uint8)
    picture = overlay(image, square(), color=(200, 0, 100), opacity=0.5)
    assert picture.shape == (60, 80, 3) and picture.dtype == np.uint8
    assert picture[30, 45].tolist() == [150, 50, 100]
    assert np.abs(picture[20, 45] - np.array([200, 0, 100])).max() < 20
    assert (picture[:18] == 100).all() and (picture[:, :28] == 100).all()
    assert (image == 100).all()


def test_overlay_of_an_empty_mask_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(overlay(image, np.zeros((20, 30), bool)), image)


def test_overlay_outlines_holes():
    mask = square()
    mask[26:34, 40:50] = False
    outline = overlay(np.zeros((60, 80)), mask, color=TRUTH, opacity=0.0).any(axis=-1)
    assert outline[25, 45] and outline[20, 45]
    assert not outline[30, 45] and not outline[22, 45]


def test_comparison_has_a_panel_for_image_truth_and_each_prediction():
    image = np.full((60, 80), 100, np.uint8)
    sizes = []
    for count in range(3):
        predictions = {f"model {n}": square() for n in range(count)}
        picture = draw_comparison(image, square(), predictions)
        sizes.append(picture.shape)
        panels = np.array_split(picture, count + 2, axis=1)
        assert not has_color(panels[0], TRUTH).any()
        assert has_color(panels[1], TRUTH).any()
        assert all(has_color(panel, PREDICTION).any() for panel in panels[2:])
    assert len({height for height, _, _ in sizes}) == 1
    assert sizes[2][1] - sizes[1][1] == sizes[1][1] - sizes[0][1] == sizes[0][1] // 2


def test_panels_keep_proportions():
    image = np.full((100, 50), 200, np.uint8)
    panel = np.array_split(draw_comparison(image, np.zeros((100, 50), bool), {}), 2, axis=1)[0]
    rows, columns = np.nonzero(has_color(panel[22:], (200, 200, 200)))
    assert np.ptp(rows) + 1 == 256 and np.ptp(columns) + 1 == 128


@pytest.mark.parametrize(
    ("count", "columns", "grid"), [(1, 6, (1, 6)), (7, 3, (3, 3)), (4, 2, (2, 2))]
)
def test_contact_sheet_is_a_grid(count, columns, grid):
    images = [np.full((30 + 9 * n, 40), 90, np.uint8) for n in range(count)]
    masks = [np.ones(image.shape, bool) for image in images]
    sheet = contact_sheet(images, masks, [str(n) for n in range(count)], columns=columns)
    rows = np.array_split(sheet, grid[0], axis=0)
    cells = [cell for row in rows for cell in np.array_split(row, grid[1], axis=1)]
    assert len({cell.shape for cell in cells}) == 1
    assert [has_color(cell, TRUTH).any() for cell in cells] == [
        index < count for index in range(len(cells))
    ]


def test_contact_sheet_refuses_nothing_and_unequal_numbers():
    image, mask = np.zeros((9, 9)), np.zeros((9, 9), bool)
    with pytest.raises(ValueError, match="at least one pair"):
        contact_sheet([], [], [])
    with pytest.raises(ValueError):
        contact_sheet([image], [mask, mask], ["a"])


@pytest.mark.parametrize("caption", ["x", "W" * 80, "patient 7 malignant " * 6])
def test_captions_are_drawn_and_stay_in_their_panel(caption):
    image, mask = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), bool)
    sheet = contact_sheet([image], [mask], [caption], columns=1)
    dark = (sheet[:22] < 128).all(axis=-1)
    assert dark.any() and not dark[:, -4:].any()


def test_end_of_a_long_caption_is_what_is_kept():
    image, mask = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), bool)

    def drawn(caption):
        return contact_sheet([image], [mask], [caption], columns=1)

    assert np.array_equal(drawn("b" * 90 + "_0017"), drawn("b" * 70 + "_0017"))
    assert not np.array_equal(drawn("b" * 90 + "_0017"), drawn("b" * 90 + "_0018"))


@pytest.mark.parametrize("kind", ["rgb", "gray", "bool"])
def test_png_comes_back_as_written(tmp_path, kind):
    rng = np.random.default_rng(0)
    pictures = {
        "rgb": rng.integers(0, 256, (20, 30, 3)).astype(np.uint8),
        "gray": rng.integers(0, 256, (20, 30)).astype(np.uint8),
        "bool": rng.random((20, 30)) < 0.5,
    }
    path = tmp_path / "new folder" / "x.png"
    write_png(path, pictures[kind])
    back = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    expected = pictures[kind] * np.uint8(255) if kind == "bool" else pictures[kind]
    assert np.array_equal(back[..., ::-1] if kind == "rgb" else back, expected)
    assert [entry.name for entry in path.parent.iterdir()] == ["x.png"]
