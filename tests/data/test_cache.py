"""The cache of decoded cases: same pixels, decoded once, whatever happens to its files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import IMPORTS
from helpers.cache_probe import NoiseCase, digest

from kerasunet.cli import main
from kerasunet.data import (
    DataSet,
    FileCase,
    cache as cache_module,
    cache_packs,
    decode,
    foreground_shares,
    load,
    split_cases,
)
from kerasunet.data.augmentation import Batches
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.cache import Store
from kerasunet.runs.preparation import PreparedData

pytestmark = pytest.mark.filterwarnings("error")
PROBE = Path(__file__).parents[1] / "helpers" / "cache_probe.py"
SIZE = (16, 16)
ROOT_ONLY = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount"
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KERASUNET_CACHE", str(folder))
    return folder


@pytest.fixture
def told(caplog):
    """What was logged in this test; `_warn_once` forgets before."""
    cache_module._warn_once.cache_clear()
    return caplog


def packs(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.pack"))


def unfinished(cache: Path) -> list[Path]:
    return list(cache.glob("*/.writing-*"))


def noise_cases(*seeds: int, log: Path | str = "", **more) -> list[NoiseCase]:
    return [NoiseCase(seed, str(log), **more) for seed in seeds]


def decoded_seeds(log: Path) -> list[int]:
    return sorted(int(line) for line in log.read_text().split()) if log.exists() else []


def uncached(cases, size=SIZE, channels=1):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASUNET_CACHE", "off")
        return decode(cases, size, channels)


def equal(one, other) -> bool:
    return (
        np.array_equal(one.images, other.images)
        and np.array_equal(one.masks, other.masks)
        and (one.keys, one.groups, one.spacings) == (other.keys, other.groups, other.spacings)
        and (one.images.dtype, one.masks.dtype) == (np.uint8, np.bool_)
    )


def start_probe(cache: Path, *words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(PROBE), *map(str, words)],
        env={
            **os.environ,
            "KERASUNET_CACHE": str(cache),
            "PYTHONPATH": IMPORTS,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """The digest that a probe printed, and its standard error."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.split()[-1], err


# --- pixels ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six images of several sizes, gray and color, with masks, whose time stamps are settled."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(6):
        shape = (30 + index, 50 - index)
        color = (3,) if index % 2 else ()
        cv2.imwrite(str(folder / f"images/{index}.png"), rng.integers(0, 256, (*shape, *color)))
        cv2.imwrite(str(folder / f"masks/{index}.png"), 255 * rng.integers(0, 2, shape))
    time.sleep(2.1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_pixels_are_the_same_with_and_without_cache(folder, cache, size, channels):
    cases = (*load(folder).cases, *load("simulated-ultrasound:2", size=48).cases)
    expected = uncached(cases, size, channels)
    assert not cache.exists()
    cold = decode(cases, size, channels)
    assert len(packs(cache)) == 1 and not unfinished(cache)
    before = packs(cache)[0].stat().st_ino
    warm = decode(cases, size, channels)
    assert equal(cold, expected) and equal(warm, expected)
    assert [path.stat().st_ino for path in packs(cache)] == [before]


def test_packs_hold_no_name_and_no_path(folder, cache):
    cases = [
        FileCase("Jane Doe", "Jane Doe", c.image, masks=c.masks, label="malignant")
        for c in load(folder).cases
    ]
    decode(cases, SIZE)
    for path in cache.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in ("Jane Doe", "malignant", folder.name):
            assert word.encode() not in content and word not in path.name


def test_arrays_of_one_pack_are_mapped_not_read(cache):
    cases = noise_cases(*range(20))
    for decoded in (decode(cases, SIZE), decode(cases, SIZE), decode(cases[4:9], SIZE)):
        assert not decoded.images.flags.owndata and not decoded.images.flags.writeable
        assert not decoded.masks.flags.writeable


@pytest.mark.parametrize("in_memory", [0, 2**28])
def test_any_selection_in_any_order(cache, monkeypatch, in_memory):
    monkeypatch.setattr(cache_packs, "_IN_MEMORY", in_memory)
    decode(noise_cases(*range(10)), SIZE)
    decode(noise_cases(*range(5, 20)), SIZE)
    wanted = noise_cases(3, 4, 5, 19, 0, 3, 30, 12, 11)
    assert equal(decode(wanted, SIZE), uncached(wanted))
    assert {path.suffix for path in cache.glob("*/*")} == {".pack", ""}


def test_sizes_channels_and_keys_do_not_mix(cache):
    cases = noise_cases(*range(4))
    for size, channels in [((16, 8), 1), ((8, 16), 1), ((16, 8), 3), ((16, 8), 1)]:
        assert equal(decode(cases, size, channels), uncached(cases, size, channels))
    assert len(packs(cache)) == 3


def test_keys_and_groups_are_those_asked_for(folder, cache):
    cases = load(folder).cases
    decode(cases, SIZE)
    renamed = [FileCase(f"new {c.key}", "all", c.image, masks=c.masks) for c in cases]
    decoded = decode(renamed, SIZE)
    assert decoded.keys[0] == "new 0" and set(decoded.groups) == {"all"}
    assert len(packs(cache)) == 1


def test_a_mask_read_in_another_way_is_another_case(folder, cache):
    from kerasunet.data import MaskCoding

    case = load(folder).cases[0]
    inverted = FileCase(
        case.key, case.group, case.image, masks=case.masks, label="", coding=MaskCoding(labels=(0,))
    )
    assert not np.array_equal(decode([case], SIZE).masks, decode([inverted], SIZE).masks)


def test_cases_of_unknown_origin_are_not_kept(cache):
    class Unknown(NoiseCase):
        origin = property()

    cases = [Unknown(1)]
    assert equal(decode(cases, SIZE), uncached(cases))
    assert not cache.exists()


def test_batches_do_not_depend_on_the_cache(cache):
    cases = noise_cases(*range(10))
    decode(cases[::2], SIZE)
    plain, cached = (
        Batches(decoded, 4, Augmentation(), seed=5)
        for decoded in (uncached(cases), decode(cases, SIZE))
    )
    for step in range(4):
        assert all(map(np.array_equal, plain.batch(step), cached.batch(step)))


# --- how often ------------------------------------------------------------------------------------


def test_folds_and_training_sizes_of_a_study_decode_every_case_once(cache, tmp_path):
    log = tmp_path / "log"
    data = DataSet("noise", tuple(noise_cases(*range(60), log=log)), "test")
    for fold in range(5):
        for train_size in (5, 10, 20, 40):
            split = split_cases(data.cases, train_size, 4, fold=fold, folds=5, seed=0)
            parts = PreparedData(data, split).decode(16, 1)
            assert equal(parts["test"], uncached(noise_cases(*map(_seed, split.test))))
    assert decoded_seeds(log) == list(range(60))


def _seed(key: str) -> int:
    return int(key.removeprefix("case-"))


def test_the_sizes_of_objects_are_measured_once(cache, tmp_path):
    log = tmp_path / "log"
    cases = noise_cases(*range(9), log=log)
    expected = {case.key: case.load().mask.mean() for case in noise_cases(*range(9))}
    assert foreground_shares(cases[:5]) == dict(list(expected.items())[:5])
    assert foreground_shares(cases[::-1]) == expected
    assert foreground_shares([]) == {}
    assert decoded_seeds(log) == list(range(9))


@pytest.mark.slow
def test_two_processes_at_once_decode_every_case_once(cache, tmp_path):
    log = tmp_path / "log"
    probes = [start_probe(cache, 60, 16, log, 0.01) for _ in range(2)]
    expected = digest(uncached(noise_cases(*range(60))))
    assert [finish(probe) for probe in probes] == [(expected, "")] * 2
    assert decoded_seeds(log) == list(range(60))
    assert len(packs(cache)) == 1


def test_a_suspended_process_does_not_hold_up_others(cache, monkeypatch):
    decode(noise_cases(0), SIZE)
    monkeypatch.setattr(cache_module, "_PATIENCE", 0.2)
    with cache_module._locked(packs(cache)[0].parent, "*") as alone:
        assert alone
        for path in packs(cache):
            os.utime(path, (1, 1))
        assert equal(decode(noise_cases(0, 1), SIZE), uncached(noise_cases(0, 1)))


def test_unusable_cases_are_told_and_the_others_kept(cache, tmp_path):
    log = tmp_path / "log"
    good = noise_cases(0, 2, 3, log=log)
    cases = [good[0], NoiseCase(1, broken=True), *good[1:]]
    with pytest.raises(ValueError, match="^1 of 4 cases cannot be used:\n  case-000001: broken$"):
        decode(cases, SIZE)
    assert equal(decode(good, SIZE), uncached(noise_cases(0, 2, 3)))
    assert decoded_seeds(log) == [0, 2, 3]
    assert not unfinished(cache)


# --- changed sources ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_changed_file_is_seen_though_size_and_time_are_the_same(folder, cache, tmp_path):
    path = shutil.copytree(folder, tmp_path / "copy") / "images/0.png"
    time.sleep(2.1)
    cases = load(tmp_path / "copy").cases
    old = decode(cases, SIZE)
    status = path.stat()
    content = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), content[::-1])
    path.write_bytes(path.read_bytes().ljust(status.st_size, b"\0")[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    new = decode(cases, SIZE)
    assert not np.array_equal(new.images[0], old.images[0])
    assert equal(new, uncached(cases))


def test_files_that_changed_a_moment_ago_are_not_kept(cache, tmp_path):
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    cases = [FileCase("a", "a", image, masks=(mask,))]
    for level in (10, 20):
        cv2.imwrite(str(image), np.full((8, 8), level, np.uint8))
        cv2.imwrite(str(mask), np.full((8, 8), 255, np.uint8))
        assert (decode(cases, SIZE).images == level).all()
        assert not packs(cache)


# --- damage and killing ---------------------------------------------------------------------------


def flip(at: float):
    """Damages the byte at a share of the file."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 255
        path.write_bytes(content)

    return damage


def swap(path: Path, one: int, other: int) -> None:
    """Exchanges two numbers of four bytes."""
    content = bytearray(path.read_bytes())
    content[one : one + 4], content[other : other + 4] = (
        content[other : other + 4],
        content[one : one + 4],
    )
    path.write_bytes(content)


def cut(share: float):
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


DAMAGES = {
    "magic": flip(0),
    "table": flip(0.02),
    "height and width": lambda path: swap(path, 28, 32),
    "image": flip(0.3),
    "mask": flip(1),
    "shorter": cut(0.7),
    "header only": cut(0.001),
    "empty": cut(0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "other": lambda path: path.write_bytes(b"text " * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_pack_is_made_again(cache, tmp_path, damage):
    log = tmp_path / "log"
    cases = noise_cases(*range(12), log=log)
    decode(cases, (16, 20))
    (old,) = packs(cache)
    damage(old)
    for _ in range(2):
        assert equal(decode(cases, (16, 20)), uncached(noise_cases(*range(12)), (16, 20)))
    assert decoded_seeds(log) == sorted([*range(12), *range(12)])
    assert len(packs(cache)) == 1 and not old.exists()


@pytest.mark.slow
def test_killed_while_writing(cache, tmp_path):
    process = start_probe(cache, 200, 16, tmp_path / "log", 0.05)
    deadline = time.monotonic() + 300
    while len(decoded_seeds(tmp_path / "log")) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(unfinished(cache)) == 1 and not packs(cache)
    cases = noise_cases(*range(30))
    assert equal(decode(cases, SIZE), uncached(cases))
    assert not unfinished(cache) and len(packs(cache)) == 1


# --- size -----------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first(cache, monkeypatch):
    first, second, third = (noise_cases(*range(s, s + 20)) for s in (0, 20, 40))
    decode(first, SIZE)
    size = Store(cache, 10**9).usage().size
    monkeypatch.setenv("KERASUNET_CACHE_LIMIT", str(int(2.5 * size)))
    (kept,) = packs(cache)
    for cases in (second, first, third):
        time.sleep(0.02)
        decode(cases, SIZE)
        assert Store(cache, 10**9).usage().size <= 2.5 * size
    assert len(packs(cache)) == 2 and kept in packs(cache)


def test_arrays_outlive_their_pack(cache, monkeypatch):
    cases = noise_cases(*range(20))
    decoded = decode(cases, SIZE)
    Store(cache, 10**9).clear()
    assert not packs(cache)
    assert equal(decoded, uncached(cases))


def test_clear_removes_only_the_caches_own_files(cache):
    decode(noise_cases(1, 2), SIZE)
    (pack,) = packs(cache)
    mine = [cache / "thesis.txt", pack.parent / "thesis.txt", cache / "64x64x1" / "mine.pack"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    Store(cache, 10**9).clear()
    assert not pack.exists() and all(path.is_file() for path in mine)


def test_more_than_the_limit_is_decoded_without_cache(cache, monkeypatch, told):
    monkeypatch.setenv("KERASUNET_CACHE_LIMIT", "3KB")
    for _ in range(2):
        assert equal(decode(noise_cases(*range(20)), SIZE), uncached(noise_cases(*range(20))))
    assert "KERASUNET_CACHE_LIMIT allows 3,000" in told.text and len(told.records) == 1
    assert not packs(cache) and not unfinished(cache)


@pytest.mark.parametrize("text", ["10 elephants", "-1", "GB"])
def test_a_limit_that_is_no_size(cache, monkeypatch, text):
    monkeypatch.setenv("KERASUNET_CACHE_LIMIT", text)
    with pytest.raises(ValueError, match=f"KERASUNET_CACHE_LIMIT={text}: give a size"):
        decode(noise_cases(1), SIZE)


@pytest.mark.slow
def test_memory_stays_bounded_for_many_cases(cache):
    """Their arrays take 78 MiB at this size; what is left are keys and the index."""
    process = start_probe(cache, 2_500, 128, "", 0, "batches")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert float(out.split()[0]) < 40
    assert Store(cache, 10**9).usage().entries == 2_500


# --- no room, no permission -----------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, options: str):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@ROOT_ONLY
@pytest.mark.parametrize("option", ["", "no-claim"])
def test_a_full_disk(tmp_path, option):
    cache = tmp_path / "full"
    expected = digest(uncached(noise_cases(*range(300))))
    with mounted(cache, "size=64k"):
        found, err = finish(start_probe(cache, 300, 16, "", 0, *filter(None, [option])))
        assert found == expected
        assert len(err.splitlines()) == 1
        assert f"{cache}: No space left on device; images are decoded without" in err
        assert not packs(cache) and not unfinished(cache)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("option", ["", "no-claim"])
def test_a_file_that_may_not_grow(cache, option):
    options = ["file-limit=20000", *filter(None, [option])]
    found, err = finish(start_probe(cache, 300, 16, "", 0, *options))
    assert found == digest(uncached(noise_cases(*range(300))))
    assert len(err.splitlines()) == 1 and "File too large" in err
    assert not packs(cache) and not unfinished(cache)


@ROOT_ONLY
def test_a_read_only_cache_still_serves_what_it_has(tmp_path, monkeypatch, told):
    cache, log = tmp_path / "mounted", tmp_path / "log"
    monkeypatch.setenv("KERASUNET_CACHE", str(cache))
    with mounted(cache, "size=1m"):
        decode(noise_cases(0, 1), SIZE)
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        decode(noise_cases(0, 1, log=log), SIZE)
        assert decoded_seeds(log) == [] and not told.records
        for _ in range(2):
            assert equal(decode(noise_cases(1, 2), SIZE), uncached(noise_cases(1, 2)))
        assert len(told.records) == 1 and "Read-only file system" in told.text


@pytest.mark.parametrize("place", ["below a file", "forbidden"])
def test_a_place_that_cannot_be_used(tmp_path, monkeypatch, told, place):
    parent = tmp_path / "parent"
    if place == "below a file":
        parent.write_text("no folder")
    elif os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    else:
        parent.mkdir(mode=0o500)
    monkeypatch.setenv("KERASUNET_CACHE", str(parent / "cache"))
    assert equal(decode(noise_cases(0, 1), SIZE), uncached(noise_cases(0, 1)))
    assert len(told.records) == 1 and str(parent) in told.text


@pytest.mark.parametrize("word", ["off", "OFF", "none", "0"])
def test_off(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERASUNET_CACHE", word)
    assert equal(decode(noise_cases(0), SIZE), uncached(noise_cases(0)))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their folders are elsewhere")
def test_default_folder_is_private_and_where_the_platform_has_it(tmp_path, monkeypatch):
    monkeypatch.delenv("KERASUNET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    decode(noise_cases(0), SIZE)
    cache = tmp_path / ".cache/kerasunet"
    assert len(packs(cache)) == 1
    assert cache.stat().st_mode & 0o077 == 0 and packs(cache)[0].stat().st_mode & 0o077 == 0


# --- the verb -------------------------------------------------------------------------------------


def test_the_verb_shows_and_removes(cache, capsys):
    decode(noise_cases(*range(7)), SIZE)
    mine = packs(cache)[0].with_name("notes.txt")
    mine.write_text("not of the cache")
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith(f"{cache}: 7 entries in 1 files, 0.0 MB")
    assert len(packs(cache)) == 1
    assert main(["cache", "--clear"]) == 0
    assert list(cache.glob("*/*")) == [mine]
    capsys.readouterr()
    assert main(["cache"]) == 0
    assert ": 0 entries in 0 files" in capsys.readouterr().out


def test_the_verb_without_a_cache(monkeypatch, capsys):
    monkeypatch.setenv("KERASUNET_CACHE", "off")
    assert main(["cache", "--clear"]) == 0
    assert "off" in capsys.readouterr().out
