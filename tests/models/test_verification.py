"""Model files are code until proved to be data: the shapes of published exploits are refused.

Each is made by code and carries an order to create a canary file. It is refused before Keras sees
it, and the canary is not there. Where Keras itself would obey, a test shows that the canary lives.
"""

from __future__ import annotations

import base64
import json
import marshal
import os
import shutil
import socket
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import ROOT
from helpers.hostile_files import hdf5, layer, model, network, zipped

from kerasunet import UNet, models
from kerasunet.models import checked_weights


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """The file that every exploit would create; no network, and nothing else is opened."""
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))

    def no_network(*_, **__):
        raise AssertionError("a model file made a connection")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    yield path
    assert not path.exists()


@pytest.fixture
def opened_files():
    """Paths that Python opens, by the interpreter's own audit."""
    found: list[str] = []
    listening = [True]

    def listen(event: str, arguments: tuple) -> None:
        if listening and event == "open":
            found.append(str(arguments[0]))

    sys.addaudithook(listen)
    yield found
    listening.clear()


def refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        models.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=message):
        models.check(path)
    assert path.read_bytes() == content


# -- config.json: what Keras would build ----------------------------------------------------------


def bytecode() -> str:
    """A function that creates the canary, as old Keras files carry functions."""
    code = (lambda x: open(__import__("os").environ["CANARY"], "w") and x).__code__  # noqa: SIM115
    return base64.b64encode(marshal.dumps(code)).decode()


def instead(module: str, name: str, registered: str | None = None, **config) -> bytes:
    """A model one of whose layers is of another class."""

    def change(one: dict) -> None:
        one.update(module=module, class_name=name, registered_name=registered)
        one["config"] = {"name": one["name"], **config}

    return model(layer(change, "Activation"))


CLASSES = {
    "Lambda with bytecode": ("keras.layers", "Lambda", None, {"function": {
        "class_name": "__lambda__", "config": {"value": [bytecode(), None, None]}}}),
    "Lambda of old files": ("keras.layers", "Lambda", None, {
        "function": [bytecode(), None, None], "function_type": "lambda"}),
    "Lambda of a registered name": ("keras.src.layers.core.lambda_layer", "Lambda", "Lambda", {}),
    "TFSMLayer that loads a SavedModel": ("keras.layers", "TFSMLayer", None, {
        "filepath": "/tmp/evil", "call_endpoint": "serve"}),
    "TorchModuleWrapper that unpickles": ("keras.layers", "TorchModuleWrapper", None, {
        "torch_module": "gASV"}),
    "StringLookup that reads a file (CVE-2025-12058)": ("keras.layers", "StringLookup", None, {
        "vocabulary": "/etc/passwd"}),
    "StringLookup that asks a server": ("keras.layers", "StringLookup", None, {
        "vocabulary": "http://127.0.0.1:9/words.txt"}),
    "any function of any module (CVE-2025-1550)": ("subprocess", "run", None, {
        "args": ["touch", "canary"]}),
    "os.system": ("posix", "system", None, {"command": "touch canary"}),
    "builtins.eval": ("builtins", "eval", None, {"source": "1"}),
    "a function of Keras that downloads (get_file)": ("keras.utils", "get_file", None, {
        "fname": "x", "origin": "http://127.0.0.1:9/x", "extract": True}),
    "a function of Keras that loads another file": ("keras.models", "load_model", None, {
        "filepath": "/tmp/evil.keras", "safe_mode": False}),
    "a function that switches safe mode off": (
        "keras.config", "enable_unsafe_deserialization", None, {}),
    "a class that another package registered": ("other.package", "Layer", "other>Layer", {}),
    "a module above this one": ("..", "Activation", None, {}),
    "a private module of Keras": ("keras.src.layers.activations.activation", "Activation",
                                  "Activation", {}),
    "a whole network within": ("keras.src.models.functional", "Functional", "Functional", {}),
    "a class whose module is a list": (["keras.layers"], "Activation", None, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_layers_that_are_not_those_of_a_unet_are_refused(tmp_path, opened_files, name):
    module, class_name, registered, config = CLASSES[name]
    content = instead(module, class_name, registered, **config)
    refused(tmp_path / "m.keras", content, "only these of Keras are opened: InputLayer, .*")
    assert not {"/etc/passwd", "/tmp/evil", "/tmp/evil.keras"} & set(opened_files)


def at(place: str, value: object, kind: str = "Conv2D"):
    return layer(lambda one: one["config"].update({place: value}), kind)


EVIL = {"module": "posix", "class_name": "system", "config": {"command": "touch canary"}}
LAMBDA = {"class_name": "__lambda__", "config": {"value": [bytecode(), None, None]}}  # fmt: skip
VALUES = {
    "initializer that is a function": (at("kernel_initializer", EVIL), "posix.system"),
    "initializer that is bytecode": (at("kernel_initializer", LAMBDA), "None.__lambda__"),
    "initializer by name": (at("kernel_initializer", "evil>Evil"), "is given by name"),
    "regularizer": (at("kernel_regularizer", EVIL), "posix.system"),
    "constraint": (at("kernel_constraint", EVIL), "posix.system"),
    "activation that is a function": (at("activation", EVIL), "posix.system"),
    "activation by name": (at("activation", "evil>evil", "Activation"), "an activation that is"),
    "dtype policy that is a function": (at("dtype", EVIL), "posix.system"),
    "part within a part": (
        at("dtype", {"module": "keras", "class_name": "DTypePolicy", "config": {"name": EVIL}}),
        "settings that are not plain",
    ),
    "argument of a call": (
        layer(lambda one: one["inbound_nodes"][0]["kwargs"].update(x=EVIL)), "more than tensors"
    ),
    "tensor that is a function": (
        layer(lambda one: one["inbound_nodes"][0].update(args=[EVIL])), "that is not a tensor"
    ),
    "tensor that is a big array": (
        layer(
            lambda one: one["inbound_nodes"][0].update(
                args=[{"class_name": "__tensor__", "config": {"value": [1], "dtype": "int8"}}]
            )
        ),
        "that is not a tensor",
    ),
    "network that is a function": (network(lambda facts: facts.update(EVIL)), "not describe a net"),
    "network of a class of its own": (
        network(lambda facts: facts.update(module="mine", class_name="Mine")),
        "it is a mine.Mine; only a functional network is opened",
    ),
    "network of another registered name": (
        network(lambda facts: facts.update(registered_name="evil>Functional")), "only a functional"
    ),
    "setting of the network that is a function": (
        network(lambda facts: facts["config"].update(name=EVIL)), "posix.system"
    ),
    "key of a layer that is unknown": (
        layer(lambda one: one.update(compile_config=EVIL)), "in a way that is not known"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_not_plain_are_refused(tmp_path, name):
    change, message = VALUES[name]
    refused(tmp_path / "m.keras", model(change), message)


@pytest.mark.slow
def test_compile_settings_are_never_looked_at(tmp_path):
    """A model saved after training names losses and optimizers; Keras is told not to build them."""
    content = model(network(lambda facts: facts.update(compile_config={"loss": LAMBDA, **EVIL})))
    (tmp_path / "m.keras").write_bytes(content)
    assert not models.load(tmp_path / "m.keras").compiled


@pytest.mark.slow
def test_an_honest_copy_loads_and_predicts_alike(tmp_path):
    (tmp_path / "m.keras").write_bytes(model())
    image = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 1)).astype(np.float32)
    copies = [models.load(source) for source in (tmp_path / "m.keras", "ultrasound-auto")]
    first, second = (copy.predict_on_batch(image) for copy in copies)
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_keras_alone_would_have_obeyed(tmp_path, canary):
    """The canary is no dummy: with its safe mode off, Keras runs the very bytecode."""
    code = (
        "import keras, sys\n"
        "keras.config.enable_unsafe_deserialization()\n"
        "function = keras.saving.deserialize_keras_object("
        "{'class_name': '__lambda__', 'config': "
        f"{{'value': [{bytecode()!r}, None, None]}}}}, safe_mode=False)\n"
        "function(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, capture_output=True)
    assert canary.exists()
    canary.unlink()


# -- the zip file ---------------------------------------------------------------------------------


def test_a_link_in_place_of_a_member_is_refused(tmp_path):
    members = {"config.json": b"/etc/passwd", "metadata.json": b"{}", "model.weights.h5": b"x"}
    content = zipped(members, zipfile.ZIP_STORED, stat.S_IFLNK | 0o777)
    refused(tmp_path / "m.keras", content, "is a link or a device, not a file")


@pytest.mark.parametrize("name", ["../canary", "/canary", "assets/../../canary", "canary"])
def test_other_members_are_refused_and_nothing_is_unpacked(tmp_path, name):
    content = model(lambda members: members.update({name: b"evil"}))
    refused(tmp_path / "m.keras", content, "each once and nothing else")
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    def change(members):
        members["config.json"] = bytes(300 << 20)

    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        members: dict[str, bytes] = {"metadata.json": b"{}", "model.weights.h5": b""}
        change(members)
        for member, content in members.items():
            archive.writestr(member, content)
    content = (tmp_path / "m.keras").read_bytes()
    assert len(content) < 1 << 20
    refused(tmp_path / "m.keras", content, "config.json has 314,572,800 bytes, more than the limit")


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path):
    content = zipped({"config.json": bytes(9 << 20), "metadata.json": b"", "model.weights.h5": b""})
    size = (9 << 20).to_bytes(4, "little")
    content = content.replace(size, (10).to_bytes(4, "little"))
    refused(tmp_path / "m.keras", content, "not a complete .keras file")


# -- HDF5 -----------------------------------------------------------------------------------------


def linked(link) -> bytes:
    return hdf5(lambda file: file.require_group("layers").__setitem__("x", link))


def external_storage() -> bytes:
    return hdf5(
        lambda file: file.create_dataset("x", (9,), "f4", external=[("/etc/passwd", 0, 36)])
    )


def virtual() -> bytes:
    layout = h5py.VirtualLayout((9,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (9,))
    return hdf5(lambda file: file.create_virtual_dataset("x", layout))


def circle(file: h5py.File) -> None:
    group = file.create_group("a")
    group["b"] = file["/"]


FILES = {
    "external link": (lambda: linked(h5py.ExternalLink("/etc/passwd", "/")), "is a link"),
    "soft link": (lambda: linked(h5py.SoftLink("/y")), "is a link"),
    "external storage": (external_storage, "is kept in another file"),
    "virtual array": (virtual, "is kept in another file"),
    "array of a terabyte that nobody stored": (
        lambda: hdf5(lambda f: f.create_dataset("x", (1 << 38,), "f4", chunks=(1 << 20,))),
        "numbers that are not in the file",
    ),
    "array of zeros, compressed a thousandfold": (
        lambda: hdf5(
            lambda f: f.create_dataset("x", data=np.zeros(40 << 20, "f4"), compression="gzip")
            and f.create_dataset("y", (1 << 36,), "f4", chunks=(1 << 20,), compression="gzip")
        ),
        "numbers that are not in the file",
    ),
    "objects": (
        lambda: hdf5(lambda f: f.create_dataset("x", data="evil", dtype=h5py.string_dtype())),
        "is not an array of numbers",
    ),
    "references": (
        lambda: hdf5(lambda f: f.create_dataset("x", (1,), h5py.ref_dtype)),
        "is not an array of numbers",
    ),
    "a type with a name": (
        lambda: hdf5(lambda f: f.__setitem__("x", np.dtype("f4"))), "is not an array of numbers"
    ),
    "a rare filter": (
        lambda: hdf5(lambda f: f.create_dataset("x", data=np.zeros(99), compression="lzf")),
        "is stored in an unsupported way",
    ),
    "a circle": (lambda: hdf5(circle), "appears twice"),
    "20,001 groups": (
        lambda: hdf5(lambda f: [f.create_group(str(n)) for n in range(20_001)]), "too many"
    ),
    "text": (lambda: b"no HDF5", "damaged HDF5"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("inside", [True, False], ids=["in .keras", "alone"])
def test_weights_that_are_not_plain_arrays_are_refused(tmp_path, opened_files, name, inside):
    make, message = FILES[name]
    content = make()
    if inside:
        archive = model(lambda members: members.update({"model.weights.h5": content}))
        refused(tmp_path / "m.keras", archive, message)
    else:
        path = tmp_path / "m.weights.h5"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message), checked_weights(path):
            pass
    assert "/etc/passwd" not in opened_files


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "m.weights.h5"
    path.write_bytes(hdf5(lambda file: file.create_dataset("x", data=np.zeros(3, "f4"))))
    with pytest.raises(ValueError, match=r"m\.weights\.h5: these weights do not fit this U-Net"):
        UNet((16, 16, 1), 2, 1, weights=path)


def test_layers_larger_than_the_stored_weights_are_refused(tmp_path):
    """Keras would make room for 3.8 billion weights before it compared any shape."""

    def change(facts: dict) -> None:
        layers = facts["config"]["layers"]
        wide = 65_536
        for one in layers:
            if one["class_name"].startswith("Conv"):
                one["config"]["filters"] = wide
            one.pop("build_config", None)

    refused(tmp_path / "m.keras", model(network(change)), "its layers have .* weights, but the fil")


def test_an_old_whole_model_file_is_no_way_around(tmp_path):
    """Keras below 3.11.3 took code out of `.h5` files whatever the safe mode said."""
    facts = {"class_name": "Sequential", "config": {"layers": [LAMBDA]}}
    content = hdf5(lambda file: file.attrs.update(model_config=json.dumps(facts)))
    for name in ("m.h5", "m.hdf5", "m"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileNotFoundError, match="neither a registered model nor a .keras file"):
            models.load(tmp_path / name)
    refused(tmp_path / "m.keras", content, "not a complete .keras file")
    (tmp_path / "m.weights.h5").write_bytes(content)
    with pytest.raises(ValueError, match="these weights do not fit this U-Net"):
        UNet((16, 16, 1), 2, 1, weights=tmp_path / "m.weights.h5")


# -- who may be loaded, and how -------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "registry"
    folder.mkdir()
    for suffix in (".keras", ".json"):
        shutil.copy(ROOT / "saved_models" / f"ultrasound-auto{suffix}", folder / f"mine{suffix}")
    monkeypatch.setenv("KERASUNET_MODELS", str(folder))
    return folder


def test_a_registered_model_that_was_exchanged_is_refused_everywhere(registry):
    from kerasunet import Segmenter, SideBySide
    from kerasunet.inference.engines import NetworkSource

    shutil.copy(ROOT / "saved_models" / "xray-auto.keras", registry / "mine.keras")
    message = "mine.keras: is not the file that mine.json describes"
    for use in (models.load, models.check, models.digest, Segmenter, NetworkSource.saved):
        with pytest.raises(ValueError, match=message):
            use("mine")
    with pytest.raises(ValueError, match=message):
        SideBySide(["mine"])
    with pytest.raises(ValueError, match=message):
        UNet(weights="mine")
    with pytest.raises(ValueError, match=message):
        models.register(registry / "mine.keras", "again")
    assert sorted(path.name for path in registry.iterdir()) == ["mine.json", "mine.keras"]


def test_by_path_a_registered_model_needs_its_card_too(registry, monkeypatch):
    (registry / "mine.json").unlink()
    monkeypatch.chdir(registry)
    for path in (registry / "mine.keras", "mine.keras", registry / ".." / "registry/mine.keras"):
        with pytest.raises(ValueError, match="has no card"):
            models.load(path)


@pytest.mark.parametrize("name", ["../mine", "..", "a/b", "", ".mine", "a b", "x" * 101, "a\0"])
def test_names_that_are_paths_are_not_registered(registry, name):
    with pytest.raises(ValueError, match="is not a valid model name"):
        models.register(registry / "mine.keras", name)
    assert len(list(registry.iterdir())) == 2


def test_a_file_exchanged_after_the_check_is_not_the_one_that_is_loaded(tmp_path, monkeypatch):
    """The check and Keras see one private copy, gone when the model is there."""
    import keras

    path = tmp_path / "m.keras"
    path.write_bytes(model())
    seen: list[Path] = []
    load = keras.models.load_model

    def exchange(given, **options):
        path.write_bytes(instead("keras.layers", "Lambda", function=[bytecode(), None, None]))
        seen.append(Path(given))
        assert options == {"compile": False, "safe_mode": True}
        return load(given, **options)

    monkeypatch.setattr(keras.models, "load_model", exchange)
    assert models.load(path).count_params() > 0
    (copy,) = seen
    assert copy != path and not copy.exists()


def test_one_loader_opens_all_model_files():
    """No other place of the package lets Keras open a file, but the check of an own export."""
    calls = ("load_model(", "load_weights(", "model_from_json(", "deserialize_keras_object(")
    found = {
        str(path.relative_to(ROOT))
        for folder in ("kerasunet", "demo", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(f".{call}" in line for call in calls)
        and "run.load_model()" not in line
        and 'keras.models.load_model("' not in line
        and "load        keras.models.load_model({" not in line  # Printed, to be pasted.
        and 'keras.saving.load_model("' not in line
    }
    assert found == {"kerasunet/models/saving.py", "kerasunet/inference/export.py"}
    opened = ROOT / "kerasunet/inference/export.py"
    assert "safe_mode=True" in opened.read_text(encoding="utf-8")


def test_compiled_networks_are_kept_where_only_the_user_writes():
    from kerasunet.data.cache import cache_folder

    assert cache_folder().is_relative_to(os.environ["KERASUNET_CACHE"])


@pytest.mark.slow
def test_shipped_models_pass_without_keras():
    code = (
        "import sys\nfrom kerasunet import models\n"
        "for name in models.list(): models.check(name)\n"
        "print(len(models.list()), 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    count, heavy = done.stdout.split()
    assert int(count) >= 15 and heavy == "False"


def test_nothing_is_left_in_the_folder_of_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "m.keras").write_bytes(model())
    models.check(tmp_path / "m.keras")
    assert list((tmp_path / "tmp").iterdir()) == []
