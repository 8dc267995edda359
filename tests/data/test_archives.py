"""Zip files from strangers: honest ones unpack whole, all others leave nothing behind."""

from __future__ import annotations

import stat
import zipfile

import pytest

from kerasunet.data.archives import Limits, unpack


def _zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _refused(archive, tmp_path, message, limits=Limits()):
    with pytest.raises(ValueError, match=message) as caught:
        unpack(archive, tmp_path / "out", limits)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_archive_of_several_folders_unpacks_to_the_folder(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"images/a.png": b"one", "masks/a.png": b"two"})
    folder = unpack(archive, tmp_path / "out")
    assert folder == tmp_path / "out"
    assert (folder / "masks" / "a.png").read_bytes() == b"two"


def test_an_archive_of_one_folder_unpacks_to_that_folder_without_what_a_mac_adds(tmp_path):
    files = {"scans/images/a.png": b"one", "__MACOSX/scans/._a.png": b"x", "scans/.DS_Store": b"x"}
    folder = unpack(_zip(tmp_path / "a.zip", files), tmp_path / "out")
    assert folder == tmp_path / "out" / "scans"
    assert [path.name for path in folder.iterdir()] == ["images"]


@pytest.mark.parametrize(
    "name", ["../a.png", "images/../../a.png", "/etc/a.png", "C:/a.png", "images\\..\\a.png"]
)
def test_names_that_lead_out_are_refused_and_nothing_is_written(tmp_path, name):
    archive = _zip(tmp_path / "a.zip", {"images/good.png": b"one"})
    with zipfile.ZipFile(archive, "a") as file:
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        file.writestr(entry, b"two")
    _refused(archive, tmp_path, "leads out of the folder")
    assert not list(tmp_path.rglob("a.png"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("images/link.png")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    _refused(tmp_path / "a.zip", tmp_path, "is a link or a device")


def test_a_bomb_is_refused_by_what_comes_out(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"a.png": bytes(9 << 20), "b.png": bytes(9 << 20)})
    assert archive.stat().st_size < 1 << 20
    _refused(archive, tmp_path, "more than 16 MB, the limit", Limits(bytes=16 << 20))


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"a.png": bytes(9 << 20)})
    size = (9 << 20).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with zipfile.ZipFile(archive) as file:
        assert file.infolist()[0].file_size == 10
    _refused(archive, tmp_path, "not a complete zip file|the limit", Limits(bytes=1 << 20))


def test_too_many_files_are_refused(tmp_path):
    archive = _zip(tmp_path / "a.zip", {f"{number}.png": b"" for number in range(12)})
    _refused(archive, tmp_path, "12 files, the limit is 10", Limits(files=10))


def test_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.png", b"two")
    _refused(tmp_path / "a.zip", tmp_path, "not a complete zip file")


@pytest.mark.parametrize("data", [b"", b"no zip file", b"PK\x03\x04 and then nothing"])
def test_what_is_no_zip_file_is_refused(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    _refused(tmp_path / "a.zip", tmp_path, "not a complete zip file")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_cut_off_archive_is_refused(tmp_path, kept):
    archive = _zip(tmp_path / "a.zip", {f"{n}.png": bytes(range(256)) for n in range(20)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * kept)])
    _refused(archive, tmp_path, "not a complete zip file")


def test_a_damaged_file_is_refused(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"a.png": b"some pixels"}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"some pixels", b"more pixels"))
    _refused(archive, tmp_path, "not a complete zip file")


def test_an_empty_archive_is_refused(tmp_path):
    _refused(_zip(tmp_path / "a.zip", {}), tmp_path, "holds no files")
