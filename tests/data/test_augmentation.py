"""Random views and training batches: pure functions of the seed, image and mask moved together."""

import threading
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kerasunet.data import NO_AUGMENTATION, Augmentation, DecodedCases, augment
from kerasunet.data.augmentation import Batches, change_appearance

pytestmark = pytest.mark.filterwarnings("error")

GEOMETRY = {"flip": 1.0, "rotation": 30.0, "scale": 0.3, "shift": 0.1, "elastic": 0.02}
GRAY_LEVELS = {"gamma": 0.5, "contrast": 0.4, "speckle": 0.3}


def only(**changes):
    return replace(NO_AUGMENTATION, **changes)


def disc(shape=(96, 96), center=(50, 40), radius=18):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2
    return np.where(mask, 200, 40).astype(np.uint8)[..., None], mask


def noise(height=48, width=40, channels=1):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, channels))
    return pixels.astype(np.uint8), pixels[..., 0] > 128


def view(settings_, seed=0, picture=None):
    image, mask = picture or noise()
    return augment(image, mask, settings_, rng=np.random.default_rng(seed))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


# --- views ----------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_view_is_a_pure_function_of_the_generator(seed, channels):
    image, mask = noise(channels=channels)
    before = image.copy(), mask.copy()
    one, two = (view(Augmentation(), seed, (image, mask)) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert np.array_equal(image, before[0]) and np.array_equal(mask, before[1])
    assert not np.array_equal(one[0], view(Augmentation(), seed + 1, (image, mask))[0])


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_form_of_a_view(seed, channels):
    extreme = Augmentation(1, 180, 1, shift=1, elastic=0.1, gamma=1, contrast=1, speckle=1)
    for settings_ in (Augmentation(), extreme):
        image, mask = view(settings_, seed, noise(channels=channels))
        assert image.dtype == np.float32 and image.shape == (48, 40, channels)
        assert image.min() >= 0 and image.max() <= 255
        assert mask.dtype == bool and mask.shape == (48, 40)


def test_all_zero_is_the_identity():
    image, mask = noise()
    new_image, new_mask = view(NO_AUGMENTATION, 0, (image, mask))
    assert new_image.dtype == np.float32 and np.array_equal(new_image, image)
    assert np.array_equal(new_mask, mask)


@pytest.mark.parametrize("picture", [noise(), noise(31, 50), noise(20, 20, 3)])
def test_flip_is_exact(picture):
    image, mask = view(only(flip=1.0), 0, picture)
    assert np.array_equal(image, picture[0][:, ::-1])
    assert np.array_equal(mask, picture[1][:, ::-1])


def test_flip_happens_as_often_as_asked():
    image, mask = noise()
    flipped = [
        np.array_equal(view(only(flip=0.3), seed, (image, mask))[1], mask[:, ::-1])
        for seed in range(400)
    ]
    assert 0.23 < np.mean(flipped) < 0.37


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_image_and_mask_move_together(seed):
    image, mask = view(only(**GEOMETRY), seed, disc())
    assert iou(image[..., 0] > 120, mask) > 0.9


@pytest.mark.parametrize(("name", "value"), GEOMETRY.items())
def test_each_change_of_geometry_moves_image_and_mask(name, value):
    image, mask = disc()
    overlap = []
    for seed in range(10):
        new_image, new_mask = view(only(**{name: value}), seed, (image, mask))
        assert iou(new_image[..., 0] > 120, new_mask) > 0.9
        overlap.append(iou(mask, new_mask))
    assert 0.3 < np.mean(overlap) < 0.97


@pytest.mark.parametrize(("name", "value"), GRAY_LEVELS.items())
def test_each_change_of_gray_levels_leaves_the_mask_alone(name, value):
    image, mask = disc()
    for seed in range(5):
        new_image, new_mask = view(only(**{name: value}), seed, (image, mask))
        assert np.array_equal(new_mask, mask)
        assert np.abs(new_image - image).mean() > 1


def test_sizes_of_changes_are_those_asked_for():
    image, mask = disc((128, 128), (64, 64), 25)
    growth = [view(only(scale=0.5), s, (image, mask))[1].sum() / mask.sum() for s in range(60)]
    assert 0.42 < min(growth) < 0.5 and 2 < max(growth) < 2.35
    rows = [
        np.argwhere(view(only(shift=0.1), seed, (image, mask))[1])[:, 0].mean()
        for seed in range(60)
    ]
    assert 64 - 13.5 < min(rows) < 64 - 8 and 64 + 8 < max(rows) < 64 + 13.5


def test_rotation_turns_by_the_angle_asked_for():
    image, mask = disc((128, 128), (64, 104), 8)
    angles = []
    for seed in range(60):
        row, column = np.argwhere(view(only(rotation=30), seed, (image, mask))[1]).mean(axis=0)
        angles.append(np.rad2deg(np.arctan2(row - 63.5, column - 63.5)))
    assert -31.5 < min(angles) < -20 and 20 < max(angles) < 31.5


def test_gamma_keeps_black_and_white_and_the_order():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for seed in range(5):
        changed = view(only(gamma=0.5), seed, (ramp, ramp[..., 0] > 9))[0].ravel()
        assert changed[0] == 0 and changed[-1] == pytest.approx(255)
        assert (np.diff(changed) > 0).all()


def test_noise_is_the_same_in_all_channels_and_grows_with_the_signal():
    gray = np.repeat(np.array([0, 60, 120], np.uint8), 2000).reshape(60, 100, 1)
    image = view(only(speckle=0.3), 3, (gray.repeat(3, axis=2), gray[..., 0] > 0))[0]
    assert np.array_equal(image[..., 0], image[..., 2])
    deviations = [image[..., 0][gray[..., 0] == level].std() for level in (0, 60, 120)]
    assert deviations[0] == 0
    assert deviations[2] / deviations[1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("name", [field.name for field in fields(Augmentation)])
@pytest.mark.parametrize("value", [-0.1, 181, float("nan")])
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        only(**{name: value})


# --- how it might look elsewhere ------------------------------------------------------------------

APPEARANCE = {
    "gain": 0.5,
    "blur": 0.03,
    "shadow": 1.0,
    "opacity": 1.0,
    "marks": 1.0,
    "inversion": 1.0,
}


@pytest.mark.parametrize(("name", "value"), APPEARANCE.items())
def test_each_change_of_appearance_leaves_the_mask_alone(name, value):
    image, mask = disc()
    changes = []
    for seed in range(8):
        new_image, new_mask = view(only(**{name: value}), seed, (image, mask))
        assert np.array_equal(new_mask, mask) and new_image.dtype == np.float32
        assert new_image.min() >= 0 and new_image.max() <= 255
        changes.append(np.abs(new_image - image).mean())
    assert np.mean(changes) > 0.4 and np.ptp(changes) > 0 or name == "inversion"


def test_effects_that_are_off_draw_nothing():
    image, mask = disc()
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    same, same_mask = change_appearance(image.astype(np.float32), mask, Augmentation(), rng=rng)
    assert np.array_equal(same, image) and np.array_equal(same_mask, mask)
    assert rng.bit_generator.state == untouched.bit_generator.state


def test_a_frame_hides_image_and_mask():
    image, mask = np.full((80, 100, 1), 200, np.uint8), np.ones((80, 100), bool)
    views = [view(only(frame=1.0), seed, (image, mask)) for seed in range(12)]
    assert all(np.array_equal(new_image[..., 0] == 200, new_mask) for new_image, new_mask in views)
    shares = [new_mask.mean() for _, new_mask in views]
    assert min(shares) > 0.4 and min(shares) < 0.9


def test_an_opaque_half_is_white_and_still_object():
    image, mask = disc()
    dark = np.where(mask, 20, 90).astype(np.uint8)[..., None]
    for seed in range(6):
        new_image, new_mask = view(only(opacity=1.0), seed, (dark, mask))
        assert np.array_equal(new_mask, mask)
        columns = np.arange(96)[None, :] * np.ones((96, 1))
        left, right = (
            new_image[..., 0][mask & half].mean() for half in (columns < 40, columns > 40)
        )
        assert abs(left - right) > 10
        assert np.array_equal(new_image[:, :8], dark[:, :8])


def test_inversion_and_aspect():
    image, mask = disc()
    assert np.array_equal(view(only(inversion=1.0), 0, (image, mask))[0], 255.0 - image)
    ratios = []
    for seed in range(40):
        height, width = np.ptp(np.argwhere(view(only(aspect=0.5), seed, disc())[1]), axis=0)
        ratios.append(width / height)
    assert 0.6 < min(ratios) < 0.85 and 1.2 < max(ratios) < 1.6


def test_grain_makes_noise_coarser():
    flat = np.full((96, 96, 1), 120, np.uint8), np.zeros((96, 96), bool)

    def roughness(grain):
        images = [view(only(speckle=0.5, grain=grain), seed, flat)[0][..., 0] for seed in range(12)]
        return np.mean([np.abs(np.diff(one)).mean() / one.std() for one in images])

    assert roughness(0.1) < 0.7 * roughness(0.0)


# --- batches --------------------------------------------------------------------------------------

COUNT = 10


@pytest.fixture(scope="module")
def cases():
    """Case i has the gray level 20·i everywhere, so that a batch tells whom it holds."""
    levels = 20 * np.arange(COUNT, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (COUNT, 16, 16, 1)).copy()
    masks = np.broadcast_to((levels > 90)[:, None, None], (COUNT, 16, 16)).copy()
    keys = tuple(map(str, range(COUNT)))
    return DecodedCases(keys, keys, images, masks=masks, spacings=(None,) * COUNT)


def make_batches(cases, batch_size=4, settings_=NO_AUGMENTATION, seed=0):
    return Batches(cases, batch_size, settings_, seed=seed)


def indices(batch):
    return (batch[0][:, 0, 0, 0] / 20).astype(int).tolist()


def test_form_of_a_batch(cases):
    images, masks = make_batches(cases, settings_=Augmentation()).batch(0)
    assert images.shape == masks.shape == (4, 16, 16, 1)
    assert images.dtype == masks.dtype == np.float32
    assert set(np.unique(masks)) == {0, 1}


def test_batch_holds_image_and_mask_of_the_same_case(cases):
    for step in range(5):
        images, masks = make_batches(cases).batch(step)
        assert np.array_equal(masks > 0, images > 90)


@pytest.mark.parametrize("settings_", [NO_AUGMENTATION, Augmentation()])
def test_batch_is_a_pure_function_of_seed_and_step(cases, settings_):
    batches = make_batches(cases, settings_=settings_)
    expected = [batches.batch(step) for step in range(6)]
    for step in (5, 0, 3, 3):
        again = make_batches(cases, settings_=settings_).batch(step)
        assert all(map(np.array_equal, again, expected[step]))
    other = make_batches(cases, settings_=settings_, seed=1)
    assert any(not np.array_equal(other.batch(s)[0], expected[s][0]) for s in range(6))


@pytest.mark.parametrize(("first", "last"), [(0, 8), (3, 6), (6, 8), (7, 8), (8, 8)])
def test_going_on_at_any_step_makes_the_same_batches(cases, first, last):
    batches = make_batches(cases, settings_=Augmentation())
    made = list(make_batches(cases, settings_=Augmentation()).steps(first, last))
    assert len(made) == last - first
    for step, batch in zip(range(first, last), made, strict=True):
        assert all(map(np.array_equal, batch, batches.batch(step)))


def test_stopping_early_leaves_no_thread_behind(cases):
    before = threading.active_count()
    stream = make_batches(cases).steps(0, 100)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 25])
def test_each_pass_holds_every_case_once_in_an_order_of_its_own(cases, batch_size):
    batches = make_batches(cases, batch_size)
    stream = []
    while len(stream) < 4 * COUNT:
        stream += indices(batches.batch(len(stream) // batch_size))
    passes = [stream[start : start + COUNT] for start in range(0, 4 * COUNT, COUNT)]
    assert all(sorted(one) == list(range(COUNT)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def test_views_of_a_case_differ_between_passes(cases):
    noisy = replace(cases, images=noise(16, 16, COUNT)[0].transpose(2, 0, 1)[..., None].copy())
    batches = make_batches(noisy, COUNT, settings_=Augmentation())
    assert not any(np.array_equal(a, b) for a in batches.batch(0)[0] for b in batches.batch(1)[0])


def test_order_does_not_depend_on_the_augmentation(cases):
    plain, flipped = (make_batches(cases, settings_=s) for s in (NO_AUGMENTATION, only(flip=0.5)))
    assert [indices(plain.batch(s)) for s in range(4)] == [
        indices(flipped.batch(s)) for s in range(4)
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_steps_of_several_sizes_are_a_pure_function_of_seed_and_step(channels):
    cases = DecodedCases(
        ("a",), ("a",), noise(64, 64, channels)[0][None], np.ones((1, 64, 64), bool), (None,)
    )
    sides = (32, 64, 96)

    def batches(seed):
        return Batches(cases, 2, Augmentation(), seed=seed, sides=sides)

    made = [batches(0).batch(step) for step in range(40)]
    found = [images.shape[1] for images, _ in made]
    assert set(found) == set(sides) and found.count(32) > found.count(96)
    assert all(
        i.shape == (2, s, s, channels) and m.shape == (2, s, s, 1)
        for (i, m), s in zip(made, found, strict=True)
    )
    again = batches(0).batch(7)
    assert np.array_equal(again[0], made[7][0]) and np.array_equal(again[1], made[7][1])
    assert found != [batches(1).batch(step)[0].shape[1] for step in range(40)]


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32])
def test_masks_of_wider_numbers_are_refused(dtype):
    image, mask = disc()
    for pair in ((image, mask.astype(dtype)), (image.astype(dtype), mask), (image[:48], mask)):
        with pytest.raises(ValueError, match="images must be uint8 with channels, masks bool or"):
            view(only(**GEOMETRY), picture=pair)
