"""Exports: opened by their own runtimes, equal to Keras, checked before they get their name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import openvino
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from helpers.images import disc_images

from kerasunet import models, processes
from kerasunet.data import load
from kerasunet.files import NotWritten, read_json, sha256, temporary_folder, write_json
from kerasunet.inference.export import FORMATS, Images, export, write
from kerasunet.inference.export_requests import sidecar_of
from kerasunet.processes import alone_in

IMAGES = disc_images(3, seed=9)[0][..., None].astype(np.float32)


@pytest.fixture(scope="module")
def images() -> Images:
    return Images.of(load("simulated-natural:12", size=32), 32, channels=1, count=4, calibrate=True)


@pytest.fixture(scope="module")
def network(tiny_model_file) -> keras.Model:
    return models.load(tiny_model_file)


def by_tensorflow(path, batch):
    loaded = tf.saved_model.load(str(path))  # Its variables go with it.
    return loaded.serve(batch).numpy()


def by_onnx_runtime(path, batch):
    return onnxruntime.InferenceSession(path).run(["channels_last"], {"image": batch})[0]


def by_openvino(path, batch):
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(path, "CPU", settings)({"image": batch})[0]


def by_litert(path, batch):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    outputs = []
    for image in batch:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(outputs)


def by_keras(path, batch):
    return keras.models.load_model(path, compile=False).predict_on_batch(batch)


RUNTIMES = {
    "savedmodel": by_tensorflow,
    "onnx": by_onnx_runtime,
    "openvino": by_openvino,
    "litert": by_litert,
    "h5": by_keras,
}


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_the_formats_own_runtime_gives_the_probabilities_of_keras(
    format, tiny_model_file, network, images, tmp_path
):
    done = export(tiny_model_file, format, tmp_path / f"net{FORMATS[format].suffix}", images=images)
    sizes = [(32, 32), (16, 40)] if FORMATS[format].any_size else [(32, 32)]
    for height, width in sizes:
        batch = np.ascontiguousarray(np.resize(IMAGES, (3, height, width, 1)))
        found = RUNTIMES[format](done.path, batch)
        np.testing.assert_allclose(found, network.predict_on_batch(batch), rtol=0, atol=1e-4)
    assert done.comparison["max_abs_delta"] <= 1e-4
    check_sidecar(done, tiny_model_file, images)


def check_sidecar(done, model_file, images) -> None:
    facts = read_json(done.sidecar)
    assert done.sidecar.name == "net.json"
    card = read_json(model_file.with_suffix(".json"))
    assert {name: facts[name] for name in card} == card
    told = facts["export"]
    assert told["source_sha256"] == sha256(model_file)
    assert told["images"] == len(images.checking) == 4
    assert told["checked_on"] == "simulated-natural"
    folder = done.path.parent
    assert told["files_sha256"] == {name: sha256(folder / name) for name in told["files_sha256"]}
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(told["files_sha256"]) == written - {"net.json"}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["litert", "openvino"])
def test_eight_bits_are_smaller_and_tell_their_loss(
    format, tiny_model_file, network, images, tmp_path
):
    if format == "openvino":
        pytest.importorskip("nncf")
    path = tmp_path / f"net{FORMATS[format].suffix}"
    done = export(tiny_model_file, format, path, images=images, int8=True)
    told = read_json(done.sidecar)["export"]
    assert told["int8"] is True
    assert told["calibration_images"] == len(images.calibration) == 6
    loss = told["dice_keras"] - told["dice_exported"]
    assert told["dice_loss"]["mean"] == pytest.approx(loss, abs=1e-9)
    assert told["max_abs_delta"] > 1e-4
    found = RUNTIMES[format](done.path, IMAGES)
    assert np.abs(found - network.predict_on_batch(IMAGES)).mean() < 0.05
    assert eight_bit_constants(done.path) > 5


def eight_bit_constants(path) -> int:
    if path.suffix == ".tflite":
        details = Interpreter(str(path)).get_tensor_details()
        return sum(tensor["dtype"] == np.int8 for tensor in details)
    graph = openvino.Core().read_model(path)
    constants = (node for node in graph.get_ops() if node.get_type_name() == "Constant")
    return sum(
        node.get_element_type() in (openvino.Type.i8, openvino.Type.u8) for node in constants
    )


def test_calibration_and_check_share_no_image(images):
    seen = {image.tobytes() for image in images.checking.images}
    assert not seen & {image.tobytes() for image in images.calibration}
    with pytest.raises(ValueError, match="at least two cases"):
        Images.of(load("simulated-natural:1", size=32), 32, channels=1, count=4, calibrate=True)


def test_what_fails_the_check_is_not_written(tiny_model_file, images, tmp_path):
    broken = models.load(tiny_model_file)
    head = broken.get_layer("head")
    head.set_weights([np.full_like(weight, np.nan) for weight in head.get_weights()])
    broken.save(tmp_path / "model.keras")
    card = read_json(tiny_model_file.with_suffix(".json"))
    write_json(tmp_path / "model.json", {**card, "sha256": sha256(tmp_path / "model.keras")})
    with pytest.raises(ValueError, match="net.onnx: a probability differs from Keras by nan"):
        export(tmp_path / "model.keras", "onnx", tmp_path / "out" / "net.onnx", images=images)
    assert not (tmp_path / "out").exists()


def exported(model, format, path, images, **options):
    """Export, and return the bytes of every file that is there then."""
    export(model, format, path, images=images, **options)
    return files_of(path.parent)


def files_of(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.mark.slow
def test_an_older_savedmodel_is_replaced_but_not_with_a_file_of_yours_in_it(
    tiny_model_file, images, tmp_path
):
    path = tmp_path / "net"
    first = exported(tiny_model_file, "savedmodel", path, images)
    assert exported(tiny_model_file, "savedmodel", path, images).keys() == first.keys()
    (path / "thesis.txt").write_text("three years of work")
    with pytest.raises(FileExistsError, match="net/thesis.txt: is not this export of this model"):
        export(tiny_model_file, "savedmodel", path, images=images)
    assert (path / "thesis.txt").is_file() and (path / "saved_model.pb").is_file()


@pytest.mark.slow
def test_an_export_stays_protected_and_a_link_stays_a_link(tiny_model_file, images, tmp_path):
    exported(tiny_model_file, "openvino", tmp_path / "net.xml", images)
    (tmp_path / "net.bin").chmod(0o444)
    before = files_of(tmp_path)
    with pytest.raises(NotWritten, match=r"net\.bin: is write-protected"):
        exported(tiny_model_file, "openvino", tmp_path / "net.xml", images)
    assert files_of(tmp_path) == before
    (tmp_path / "link.onnx").symlink_to("elsewhere/real.onnx")
    for _ in range(2):
        exported(tiny_model_file, "onnx", tmp_path / "link.onnx", images)
        assert (tmp_path / "link.onnx").is_symlink()
        assert (tmp_path / "elsewhere" / "real.onnx").is_file()


@pytest.mark.slow
def test_an_export_that_was_killed_while_it_replaced_another_goes_on(
    tiny_model_file, images, tmp_path, monkeypatch
):
    exported(tiny_model_file, "openvino", tmp_path / "net.xml", images)

    def killed(source, target):
        if Path(target).suffix == ".xml":
            raise KeyboardInterrupt
        return rename(source, target)

    rename = os.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        exported(tiny_model_file, "openvino", tmp_path / "net.xml", images)
    exported(tiny_model_file, "openvino", tmp_path / "net.xml", images)
    assert "replaced_sha256" not in (tmp_path / "net.json").read_text(encoding="utf-8")


def test_an_export_removes_what_a_killed_one_left_and_nothing_of_a_living_one(
    tiny_model_file, images, tmp_path
):
    dead, mine = tmp_path / ".exporting-a1b2c3d4", tmp_path / ".exporting-thesis"
    for folder in (dead, mine):
        folder.mkdir()
        (folder / "net.onnx").write_bytes(b"half of it")
        os.utime(folder, (0, 0))
    with temporary_folder(tmp_path, ".exporting-") as living:
        os.utime(living, (0, 0))
        export(tiny_model_file, "h5", tmp_path / "net.h5", images=images)
        assert living.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"net.h5", "net.json", ".exporting-thesis"}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "savedmodel", "h5"])
def test_an_export_for_which_there_is_no_room_is_named(
    tiny_model_file, images, tmp_path, monkeypatch, format
):
    """As on a full disk, where each library that writes has words of its own."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_little(*words, **more):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        write(*words, **more)

    monkeypatch.setattr("kerasunet.inference.export.write", write_little)
    path = tmp_path / f"net{FORMATS[format].suffix}"
    try:
        with pytest.raises(NotWritten, match=rf"^{path}: cannot be written: .*too large"):
            export(tiny_model_file, format, path, images=images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_two_exports_into_one_folder_wait_for_each_other(
    tiny_model_file, images, tmp_path, monkeypatch
):
    """Otherwise both would find the name free, and one would replace the other."""
    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.2)
    with (
        alone_in(tmp_path),
        pytest.raises(ValueError, match="another process is using it; wait until it ends"),
    ):
        export(tiny_model_file, "h5", tmp_path / "net.h5", images=images)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def others(tiny_model_file, tmp_path):
    """Two runs' models, whose files have the same name, and another network in the second."""
    for name in ("first", "second"):
        shutil.copytree(tiny_model_file.parent, tmp_path / name)
    model = models.load(tiny_model_file)
    model.get_layer("head").bias.assign([0.125])
    models.save(model, tmp_path / "second" / "model.keras", models.card(tiny_model_file))
    return tmp_path / "first" / "model.keras", tmp_path / "second" / "model.keras"


@pytest.mark.slow
def test_an_export_never_replaces_that_of_another_model(others, images, tmp_path):
    path = tmp_path / "out" / "model.onnx"
    first = exported(others[0], "onnx", path, images)
    with pytest.raises(FileExistsError, match="model.json: does not describe this export of this"):
        export(others[1], "onnx", path, images=images)
    assert files_of(path.parent) == first


@pytest.mark.slow
def test_exports_to_several_formats_are_each_described(tiny_model_file, images, tmp_path):
    for format, path in (("onnx", "net.onnx"), ("litert", "net.tflite")):
        export(tiny_model_file, format, tmp_path / path, images=images)
    for format, path, sidecar in (
        ("onnx", "net.onnx", "net.json"),
        ("litert", "net.tflite", "net.litert.json"),
    ):
        told = read_json(tmp_path / sidecar)["export"]
        assert told["files_sha256"] == {path: sha256(tmp_path / path)}
        source = told["source_sha256"]  # An export again would replace its own files.
        assert sidecar_of(tmp_path / path, format, False, source=source) == tmp_path / sidecar
    told = read_json(tmp_path / "net.json")
    write_json(tmp_path / "net.json", {**told, "note": "for the ward"})
    export(tiny_model_file, "onnx", tmp_path / "net.onnx", images=images)
    assert read_json(tmp_path / "net.json") == {**told, "note": "for the ward"}


@pytest.mark.slow
def test_an_export_beside_its_model_leaves_the_card(others, images):
    card = others[1].with_suffix(".json").read_bytes()
    done = export(others[0], "onnx", others[1].with_suffix(".onnx"), images=images)
    assert done.sidecar.name == "model.onnx.json"
    assert others[1].with_suffix(".json").read_bytes() == card
    models.load(others[1])


@pytest.mark.parametrize("name", ["net.xml", "net.bin", "net.json"])
def test_an_export_never_replaces_a_file_of_yours(tiny_model_file, images, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name}: .*give another name with --output, or"):
        export(tiny_model_file, "openvino", tmp_path / "net.xml", images=images)
    assert files_of(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "torchscript"], "format must be one of savedmodel, onnx,"),
        (["--format", "onnx", "--int8"], "8 bits are for openvino and litert, not for onnx"),
        (["--format", "onnx", "--output", "net.xml"], "net.xml: the name of this format's file"),
        (
            ["--format", "onnx", "--images", "0"],
            "--images 0: give a whole number of 1 to 1,000,000",
        ),
        (["--format", "onnx", "--data", "nowhere"], "nowhere: not a folder"),
    ],
)
def test_command_line_names_what_is_wrong(words, message, tiny_model_file, call_cli):
    done = call_cli("export", tiny_model_file, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_command_line_writes_file_and_sidecar(tiny_model_file, call_cli, tmp_path):
    done = call_cli("export", tiny_model_file, "--format", "onnx", "--data", "simulated-natural:3")
    assert done.returncode == 0, done.stderr
    assert "compared with Keras on 3 images of simulated-natural" in done.stdout
    one = call_cli("export", tiny_model_file, "--format", "onnx", "--images", "1")
    assert "loss 0.0000 (unknown)" in one.stdout
    assert "written: model.onnx, model.json" in done.stdout
    assert read_json(tmp_path / "model.json")["export"]["format"] == "onnx"
    assert by_onnx_runtime(tmp_path / "model.onnx", IMAGES).shape == (3, 32, 32, 1)
