"""Saved models: plain Keras opens them, digests protect them, cards describe them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasunet import models
from kerasunet.files import NotWritten
from kerasunet.models.model_card import write_card

ELSEWHERE = models.DataNote(
    name="elsewhere", cases=7, digest="0" * 64, terms="free", citation="Nobody, Nowhere 2020"
)


@pytest.fixture
def copy(tiny_model_file, tmp_path) -> Path:
    """The tiny model with its card, in a folder of its own."""
    for suffix in (".keras", ".json", ".md"):
        shutil.copy(tiny_model_file.with_suffix(suffix), tmp_path)
    return tmp_path / tiny_model_file.name


def test_shipped_natural_model_is_listed_verified_and_good():
    assert "natural" in models.list()
    model = models.load("natural")
    assert model.count_params() == 1_945_233
    card = models.card("natural")
    assert card.held_out.dice.mean >= 0.80
    assert card.evaluation_data.name == "ecssd"
    assert card.evaluation_data.cases == 1000


@pytest.mark.slow
def test_every_shipped_model_opens_and_has_a_complete_card():
    for name in models.list():
        card = models.card(name)
        assert card.name == name
        assert card.data.terms
        models.load(name)
        text = (models.folder() / f"{name}.md").read_text(encoding="utf-8")
        assert "not a medical device" in text


def test_evaluation_on_another_set_is_recorded_once_in_the_card(copy):
    measured = replace(models.card(copy).held_out, data=ELSEWHERE, mirrored=False, seen=None)
    metrics = measured.metrics
    models.record(copy, replace(measured, metrics={**metrics, "n": 6}))
    models.record(copy, replace(measured, metrics={**metrics, "n": 7}))
    (found,) = models.card(copy).evaluations
    assert found.metrics["n"] == 7
    (written,) = json.loads(copy.with_suffix(".json").read_text())["evaluations"]
    assert [*written] == ["data", "image_size", "threshold", "mirrored", "metrics"]
    assert written["mirrored"] is False
    text = copy.with_suffix(".md").read_text(encoding="utf-8")
    assert text.count("## On `elsewhere`") == 1 and "Nobody, Nowhere 2020" in text
    models.record(copy, replace(measured, metrics={**metrics, "n": 8}, mirrored=True))
    plain, mirrored = models.card(copy).evaluations
    assert (plain.metrics["n"], mirrored.metrics["n"]) == (7, 8)
    text = copy.with_suffix(".md").read_text(encoding="utf-8")
    assert text.count("## On `elsewhere`") == 2 and text.count("Nobody, Nowhere 2020") == 1
    assert "none of which was trained on, with mirror images" in text
    models.load(copy)


def test_evaluations_that_are_recorded_at_once_are_all_kept(copy):
    measured = replace(models.card(copy).held_out, mirrored=False)
    each = [replace(measured, data=replace(ELSEWHERE, name=f"set{n}")) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(models.record, copy), each))
    assert {one.data.name for one in models.card(copy).evaluations} == {f"set{n}" for n in range(8)}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scratch", "scratch stands for random weights"),
        (b"mine", "is not a valid model name"),
        ("mine.keras", "and does not end in .keras, as files do"),
    ],
)
def test_names_that_would_mean_something_else_are_refused(copy, monkeypatch, name, message):
    monkeypatch.setenv("KERASUNET_MODELS", str(copy.parent / "registered"))
    with pytest.raises(ValueError, match=message):
        models.register(copy, name)
    assert not (copy.parent / "registered").exists()


@pytest.mark.parametrize("wrong", [{"image_size": np.int64(32)}, {"settings": {"data": Path("x")}}])
def test_a_card_that_could_not_be_read_back_replaces_no_model(copy, wrong):
    """The model would lie beside the card of another, and neither could be opened again."""
    before = {path.name: path.read_bytes() for path in copy.parent.iterdir()}
    known = models.card(copy)
    with pytest.raises(ValueError, match=r"model.keras: its card could not be read back: "):
        models.save(models.load(copy), copy, replace(known, **wrong))
    with pytest.raises(ValueError, match="its card could not be read back: not a model card: eval"):
        models.record(copy, replace(known.held_out, threshold=1.5))
    assert {path.name: path.read_bytes() for path in copy.parent.iterdir()} == before
    models.load(copy)


def test_shipped_models_stay_small():
    total = sum(path.stat().st_size for path in models.folder().iterdir())
    assert total < 80e6


@pytest.mark.slow
def test_saved_file_opens_where_kerasunet_cannot_be_imported(copy, tmp_path):
    """A fresh virtual environment that sees Keras but not this package, in an empty folder."""
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype("float32")
    expected = keras.models.load_model(copy).predict_on_batch(images)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(copy, elsewhere / "model.keras")
    np.save(elsewhere / "images.npy", images)
    code = (
        "import importlib.util, sys\n"
        "assert importlib.util.find_spec('kerasunet') is None\n"
        "import keras, numpy as np\n"
        "model = keras.models.load_model('model.keras')\n"
        "np.save('output.npy', model.predict_on_batch(np.load('images.npy')))\n"
    )
    python = clean_environment(tmp_path / "venv")
    subprocess.run([python, "-I", "-c", code], cwd=elsewhere, check=True, timeout=300)
    np.testing.assert_allclose(np.load(elsewhere / "output.npy"), expected, atol=1e-6)


def clean_environment(folder: Path) -> Path:
    """A virtual environment with this one's packages by path, but without editable installs."""
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    # A plain path line does not run the .pth files of that folder, so nothing editable follows.
    installed = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    (packages / "borrowed.pth").write_text(f"{installed}\n")
    return folder / "bin" / "python"


def test_saved_file_carries_no_frozen_flags_and_no_compile_settings(tmp_path, tiny_model_file):
    from kerasunet import set_trainable

    model = models.load(tiny_model_file)
    set_trainable(model, "head")
    models.save(model, tmp_path / "again.keras", models.card(tiny_model_file))
    loaded = keras.models.load_model(tmp_path / "again.keras")
    assert not loaded.compiled
    assert all(layer.trainable for layer in loaded.layers)
    assert len(loaded.trainable_variables) == len(loaded.weights) - 2 * 6


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_changed_file_is_refused_before_it_is_opened(copy, damage):
    content = bytearray(copy.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    else:
        del content[-100:]
    copy.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.keras: is not the file that model\.json"):
        models.load(copy)


def test_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / "fake.keras"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"fake\.keras: not a complete \.keras file"):
        models.load(path)


def test_code_in_a_model_file_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ValueError, match=r"lambda\.keras: it is a .*Sequential"):
        models.load(tmp_path / "lambda.keras")


def test_registered_model_needs_a_card(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path))
    assert models.list() == ("model",)
    copy.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="has no card"):
        models.load("model")


def test_registering_copies_model_and_card_under_the_new_name(
    tiny_model_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path / "zoo"))
    path = models.register(tiny_model_file, "mine")
    assert path == tmp_path / "zoo" / "mine.keras"
    assert models.card("mine").name == "mine"
    assert 'load_model("mine.keras")' in path.with_suffix(".md").read_text(encoding="utf-8")
    models.load("mine")


def recorded(card: models.ModelCard, name: str) -> models.RecordedEvaluation:
    return models.RecordedEvaluation(
        data=replace(card.data, name=name),
        image_size=card.image_size,
        threshold=card.threshold,
        metrics=card.metrics,
        seen=0,
    )


def test_registering_again_keeps_what_was_recorded(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path / "zoo"))
    path = models.register(copy, "mine", half_precision=True)
    models.record("mine", recorded(models.card("mine"), "there"))
    digest = models.digest("mine")
    models.register(copy, "mine", half_precision=True)
    assert models.digest("mine") == digest, "results that name the file stay true"
    models.record(copy, recorded(models.card("mine"), "here"))
    models.register(copy, "mine")
    names = [one.data.name for one in models.card("mine").evaluations]
    assert names == ["there", "here"] and models.card("mine").storage == "float32"
    words = path.with_suffix(".md")
    words.write_text(words.read_text(encoding="utf-8") + "Ask Eva first.\n", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"mine\.md: was changed by hand"):
        models.register(copy, "mine", half_precision=True)


def test_words_of_a_card_that_were_edited_are_not_replaced(copy, call_cli):
    words = copy.with_suffix(".md")
    edited = words.read_text(encoding="utf-8") + "Ask Eva first.\n"
    words.write_text(edited, encoding="utf-8")
    before = copy.with_suffix(".json").read_bytes()
    done = call_cli("evaluate", copy, "--data", "simulated-xray:2", "--record")
    assert done.returncode == 2 and "model.md: was changed by hand" in done.stderr
    assert words.read_text(encoding="utf-8") == edited
    assert copy.with_suffix(".json").read_bytes() == before


@pytest.mark.parametrize("suffix", [".json", ".md"])
def test_a_model_is_not_saved_beside_a_card_that_is_protected(copy, suffix):
    model, card, before = models.load(copy), models.card(copy), copy.read_bytes()
    copy.with_suffix(suffix).chmod(0o444)
    with pytest.raises(NotWritten, match="is write-protected"):
        models.save(model, copy, card)
    assert copy.read_bytes() == before


def test_unknown_name_lists_what_exists():
    with pytest.raises(FileNotFoundError, match="nonsense: neither .* registered are: .*natural"):
        models.load("nonsense")


def test_card_names_no_path_of_the_machine(tiny_model_file):
    text = tiny_model_file.with_suffix(".json").read_text(encoding="utf-8")
    assert str(tiny_model_file.parent) not in text
    assert json.loads(text)["settings"]["data"] == "simulated-natural"


@pytest.mark.slow
def test_half_precision_takes_half_the_space_and_computes_in_float32(
    tiny_model_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path))
    path = models.register(tiny_model_file, "small", half_precision=True)
    whole, half = models.load(tiny_model_file), keras.models.load_model(path)
    assert {weight.dtype for weight in half.weights} == {"float32"}
    for mine, theirs in zip(half.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2**-11, atol=1e-7)
    assert models.card("small").storage == "float16"
    models.load("small")


@pytest.mark.slow
def test_half_precision_of_the_shipped_model_changes_no_metric(tmp_path):
    from kerasunet.data import decode, load
    from kerasunet.models.saving import write_half_precision
    from kerasunet.training import evaluate

    shipped = models.folder() / "natural.keras"
    write_half_precision(shipped, tmp_path / "half.keras")
    assert (tmp_path / "half.keras").stat().st_size < 0.55 * shipped.stat().st_size
    cases = decode(load("simulated-ultrasound:12").cases, (128, 128))
    before = evaluate(models.load("natural"), cases).summary["dice"]["mean"]
    after = evaluate(models.load(tmp_path / "half.keras"), cases).summary["dice"]["mean"]
    assert after == pytest.approx(before, abs=1e-3)


def test_weights_beyond_half_precision_are_refused(tmp_path):
    from kerasunet.models.saving import write_half_precision

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="large")])
    model.set_weights([np.full((4, 2), 1e6, np.float32), np.zeros(2, np.float32)])
    model.save(tmp_path / "large.keras")
    with pytest.raises(ValueError, match=r"large\.keras: .*beyond half precision"):
        write_half_precision(tmp_path / "large.keras", tmp_path / "half.keras")
    assert not (tmp_path / "half.keras").exists()


@pytest.fixture
def zoo(tiny_model_file, tmp_path, monkeypatch) -> Path:
    """A folder of registered models: one start for ultrasound, and a name for its file."""
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path / "zoo"))
    file = models.register(tiny_model_file, "sound")
    start = replace(models.card("sound"), role="start", modality="ultrasound", sizes=(96, 192))
    write_card(file, start)
    write_card(
        file.with_name("also.keras"), replace(start, name="also", role="", weights_of="sound")
    )
    return tmp_path / "zoo"


def test_a_name_can_stand_for_the_file_of_another_model(zoo):
    assert models.list() == ("also", "sound")
    assert models.digest("also") == models.digest("sound")
    assert models.card("also").name == "also"
    models.load("also")
    measured = replace(models.card("also").held_out, data=ELSEWHERE)
    assert models.record("also", measured) == zoo / "also.json"
    assert models.card("also").evaluations and not models.card("sound").evaluations
    assert 'load_model("sound.keras")' in (zoo / "also.md").read_text(encoding="utf-8")
    (zoo / "sound.keras").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"is not the file that sound\.json describes"):
        models.load("also")


def test_starts_are_listed_by_the_modality_that_they_fit(zoo, tiny_model_file):
    models.register(tiny_model_file, "natural")
    assert models.starts_for() == models.starts_for("ultrasound") == ("sound", "natural")
    assert models.starts_for("xray") == ("natural",)
    chosen = [models.start_for(kind) for kind in ("ultrasound", "xray", None)]
    assert chosen == ["sound", "natural", "natural"]
    assert models.card("sound").trained_sizes == (96, 192)
    assert models.card("natural").trained_sizes == (32, 32)


def test_what_a_registered_start_has_seen_is_looked_up_there(zoo):
    own, of_start = "0" * 80, models.card("sound").seen
    card = replace(models.card("also"), seen=(own,), seen_by=("sound",))
    assert models.seen_images(card) == ({own, *of_start}, True)
    assert models.seen_images(replace(card, seen_by=("gone",))) == ({own}, False)


def test_card_tells_of_hospitals_that_were_left_out_and_of_failures(zoo):
    left_out = models.LeftOut(
        trained_on="one",
        data="other",
        cases=7,
        image_size=160,
        dice={"mean": 0.75, "low": 0.7, "high": 0.8},
        parts={"small": 0.6, "benign": 0.76},
        empty=20,
        marked=0.1,
    )
    known = {"left_out": (left_out,), "failures": {"a": 0.0, "b": 0.25}, "modality": "xray"}
    card = replace(models.card("sound"), use="To begin with.", **known)
    write_card(zoo / "sound.keras", card)
    assert models.card("sound") == card
    text = (zoo / "sound.md").read_text(encoding="utf-8")
    assert "| 160 | 0.750 | 0.700 to 0.800 | small 0.600, benign 0.760 | 10% of 20 |" in text
    assert "trained from 96 to 192" in text and "To begin with." in text
    assert "`simulated-xray:100`, with their Dice: a, 0.000; b, 0.250." in text


@pytest.mark.parametrize("name", ["mine.json", "mine.md"])
def test_a_card_is_not_written_over_a_file_of_yours(tiny_model_file, tmp_path, name):
    (tmp_path / name).write_text("years of work", encoding="utf-8")
    model, card = models.load(tiny_model_file), models.card(tiny_model_file)
    with pytest.raises(FileExistsError, match=f"{name}: is not the card of a model"):
        models.save(model, tmp_path / "mine.keras", card)
    assert (tmp_path / name).read_text(encoding="utf-8") == "years of work"
    described = {**card.to_json(), "export": {"format": "onnx"}}
    (tmp_path / "net.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"net\.json: describes an export, and the card of"):
        models.save(model, tmp_path / "net.keras", card)
    assert not list(tmp_path.glob("*.keras"))
