"""Models as repositories of the Hugging Face Hub: a folder, or a stand-in server here."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
from helpers.hub_server import running_hub

from kerasunet import files, models, processes
from kerasunet.cli import main
from kerasunet.files import write_atomically
from kerasunet.models import hub
from kerasunet.models.model_card import write_card
from kerasunet.processes import alone_in

NAMES = ["README.md", "config.json", "metadata.json", "model.json", "model.keras"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Yield a server that this process takes for the Hub, with an empty cache of its own."""
    with running_hub() as running:
        for name, value in {
            "ENDPOINT": running.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": running.address
            + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        hub.fetched.cache_clear()
        yield running
        hub.fetched.cache_clear()


@pytest.fixture
def model(tmp_path, tiny_model_file) -> Path:
    """A copy of a model whose start, by its card, was trained on photographs."""
    for suffix in (".keras", ".json"):
        shutil.copyfile(tiny_model_file.with_suffix(suffix), tmp_path / f"mine{suffix}")
    return tmp_path / "mine.keras"


def trained_on(model: Path, name: str, terms: str, start: tuple[str, ...] = ()) -> None:
    """Change what a card says of the training data."""
    card = models.card(model)
    data = replace(card.data, name=name, terms=terms)
    write_card(model, replace(card, data=data, start_data=start, modality=""))


def weights(model) -> list[np.ndarray]:
    return model.get_weights()


def same(one, other) -> bool:
    return all(map(np.array_equal, weights(one), weights(other)))


@pytest.mark.slow
def test_a_folder_is_a_repository(model, tmp_path, capsys):
    import keras

    trained_on(model, "bus_bra", "free use and redistribution with notice", ("duts",))
    place = tmp_path / "repository"
    assert main(["push", str(model), "--to", str(place)]) == 0
    assert capsys.readouterr().out == f"written: {place}\n"
    assert sorted(path.name for path in place.iterdir()) == sorted([*NAMES, "model.weights.h5"])
    facts = huggingface_hub.ModelCard.load(place / "README.md").data
    assert (facts.library_name, facts.pipeline_tag) == ("keras", "image-segmentation")
    assert (facts.license, facts.license_name) == ("other", "terms-of-the-training-data")
    assert "ultrasound" in facts.tags
    dice = next(one for one in facts.eval_results if one.metric_type == "dice")
    known = models.card(model).metrics["dice"]["mean"]
    assert dice.metric_value == pytest.approx(known, abs=1e-4)
    text = (place / "README.md").read_text()
    assert "`bus_bra`: free use and redistribution with notice." in text
    assert "`duts`: none stated; ImageNet photographs, research use. **Nobody has said" in text
    assert "Apache" not in text.partition("## Terms")[2].partition("```")[0]
    # Both ways to open it: this package verifies the file, Keras takes the unpacked parts.
    assert same(models.load(place / "model.keras"), models.load(model))
    assert same(keras.saving.load_model(place, compile=False), models.load(model))
    assert main(["push", str(model), "--to", str(place)]) == 0  # The same again.
    (place / "mine.txt").write_text("years of work")
    assert main(["push", str(model), "--to", str(place)]) == 2
    assert (
        "holds something other than this model; give a new or empty folder"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["README.md", "model.json"])
def test_words_of_a_push_that_were_edited_are_not_replaced(model, tmp_path, capsys, name):
    words = ["push", str(model), "--to", str(tmp_path / "repository")]
    assert main(words) == 0
    file = tmp_path / "repository" / name
    written = file.read_text()
    edited = written.replace("fine-tuned" if "fine-tuned" in written else "Research", "My")
    edited = written.replace('"title": "', '"title": "My ') if name == "model.json" else edited
    assert edited != written
    file.write_text(edited)
    assert main(words) == 2
    assert f"{name}: has been changed since it was written; move it away" in capsys.readouterr().err
    assert file.read_text() == edited
    file.write_text(written)
    trained_on(model, "own", "own patients")  # Another card of the same model.
    assert main(words) == 0 and "own patients" in file.read_text()


def test_nothing_is_pushed_among_registered_models_or_images(model, tmp_path, monkeypatch):
    """Its `model.keras` would be registered, and its `config.json` be taken for a card."""
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path / "registered"))
    with pytest.raises(ValueError, match="registered: is the folder of the registered models"):
        models.push(model, tmp_path / "registered")
    assert not (tmp_path / "registered").exists()
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "a.png").write_bytes(b"of a patient")
    with pytest.raises(ValueError, match="new: lies among the images in"):
        models.push(model, tmp_path / "data" / "images" / "new")


def test_two_pushes_into_one_folder_wait_for_each_other(model, tmp_path, monkeypatch):
    place = tmp_path / "repository"
    models.push(model, place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    trained_on(model, "own", "own patients")
    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.2)
    with (
        alone_in(place),
        pytest.raises(ValueError, match="repository: another process is using it"),
    ):
        models.push(model, place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    models.push(model, place)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "model.keras"])
def test_a_pushed_file_that_is_yours_now_is_not_replaced(model, tmp_path, capsys, name):
    words = ["push", str(model), "--to", str(tmp_path / "repository")]
    assert main(words) == 0
    mine, file = tmp_path / "mine.txt", tmp_path / "repository" / name
    mine.write_text("years of work")
    file.unlink()
    file.symlink_to(mine)
    assert main(words) == 2
    assert f"{name}: has been changed since it was written" in capsys.readouterr().err
    assert (file.is_symlink(), mine.read_text()) == (True, "years of work")
    file.unlink()
    assert main(words) == 0
    file.chmod(0o444)
    assert main(words) == 2
    assert f"{name}: is write-protected" in capsys.readouterr().err


@pytest.mark.parametrize("written", range(3))
def test_a_push_that_was_killed_goes_on(model, tmp_path, monkeypatch, written):
    place, done = tmp_path / "repository", []

    def write(path, *arguments):
        if len(done) == written:
            (path.parent / ".writing-a1b2c3d4").mkdir(parents=True)
            (path.parent / ".writing-a1b2c3d4" / path.name).write_bytes(b"half of it")
            raise KeyboardInterrupt
        done.append(path)
        write_atomically(path, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "write_atomically", write)
        models.push(model, place)
    models.push(model, place)
    assert sorted(path.name for path in place.iterdir()) == sorted([*NAMES, "model.weights.h5"])


@pytest.mark.slow
def test_what_others_wrote_on_the_hub_is_not_replaced(server, model, capsys):
    server.repositories["lab/book"] = {"README.md": b"years of work", ".gitattributes": b""}
    words = ["push", str(model), "--to"]
    assert main([*words, "hf://lab/breast"]) == main([*words, "hf://lab/breast"]) == 0
    files = server.repositories["lab/breast"]
    files["README.md"] += b"Written by hand.\n"
    files["LICENSE"] = b"mine"
    before = {name: dict(content) for name, content in server.repositories.items()}
    capsys.readouterr()
    assert main([*words, "hf://lab/breast"]) == main([*words, "hf://lab/book"]) == 2
    edited, foreign = capsys.readouterr().err.splitlines()
    assert "hf://lab/breast: its README.md has been changed since it was written" in edited
    assert "hf://lab/book: holds README.md but no model.json, so kerasunet push did" in foreign
    assert server.repositories == before
    files["README.md"] = files["README.md"].removesuffix(b"Written by hand.\n")
    written = files["model.json"]
    files["model.json"] = written.replace(b'"title": "', b'"title": "My ')
    assert main([*words, "hf://lab/breast"]) == 2
    assert "its model.json has been changed since it was written" in capsys.readouterr().err
    files["model.json"] = written
    assert main([*words, "hf://lab/breast"]) == 0 and files["LICENSE"] == b"mine"


@pytest.mark.parametrize("place", ["http://lab/breast", "hf:/lab/breast", "s3://lab/breast"])
def test_an_address_that_is_none_of_the_hub_is_no_folder(
    model, place, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["push", str(model), "--to", place]) == 2
    assert f"{place}: give a folder, or an address such as hf://" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_what_was_pushed_is_opened_by_keras_and_by_this_package(server, model):
    import keras

    assert models.push(model, "hf://lab/breast") == f"{server.address}/lab/breast"
    assert sorted(server.repositories["lab/breast"]) == sorted([*NAMES, "model.weights.h5"])
    expected = models.load(model)
    assert same(keras.saving.load_model("hf://lab/breast", compile=False), expected)
    assert same(models.load("hf://lab/breast"), expected)
    assert models.digest("hf://lab/breast") == models.digest(model)
    assert models.card("hf://lab/breast").name == models.card(model).name
    commit = huggingface_hub.HfApi(endpoint=server.address).model_info("lab/breast").sha
    assert same(models.load(f"hf://lab/breast@{commit}"), expected)
    with pytest.raises(ValueError, match="its card is kept by the Hub"):
        models.record("hf://lab/breast", models.card(model).held_out)


@pytest.mark.slow
def test_a_run_may_start_from_the_hub(server, model, tmp_path):
    models.push(model, "hf://lab/start")
    sizes = ["--train-size", 4, "--validation-size", 2, "--image-size", 32, "--steps", 2]
    words = ["finetune", "--init", "hf://lab/start", "--data", "simulated-xray:12", *sizes]
    words += ["--batch-size", 2, "--validate-every", 1, "--output", tmp_path / "run"]
    assert main([*map(str, words)]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert models.digest(model) in json.dumps(config)


@pytest.mark.slow
def test_what_was_fetched_before_is_there_without_a_network(server, model, monkeypatch):
    models.push(model, "hf://lab/breast")
    models.digest("hf://lab/breast")
    hub.fetched.cache_clear()
    monkeypatch.setattr(
        huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9"
    )  # Nobody there.
    assert same(models.load("hf://lab/breast"), models.load(model))
    with pytest.raises(
        OSError, match=r"^hf://lab/other: could not be fetched: .* cannot be reached"
    ):
        models.load("hf://lab/other")
    with pytest.raises(OSError, match="could not be pushed"):
        models.push(model, "hf://lab/other")


@pytest.mark.parametrize("fault", ["changed", "code", "no card", "huge"])
def test_what_is_fetched_is_verified_as_any_file(server, model, fault, monkeypatch):
    models.push(model, "hf://lab/breast")
    files = server.repositories["lab/breast"]
    saying = "is not the file that model.json describes"
    if fault == "changed":
        files["model.keras"] += b"\0"
    elif fault == "code":
        files["model.keras"] = b"cos\nsystem\n"
    elif fault == "no card":
        del files["model.json"]
        saying = "hf://lab/breast: holds no model.json; `kerasunet push` writes both"
    else:
        monkeypatch.setattr(hub, "MOST_BYTES", 1000)
        saying = "hf://lab/breast: its model.keras has more than 0 MB; not fetched"
    with pytest.raises(ValueError, match=saying):
        models.load("hf://lab/breast")


def test_terms_that_forbid_redistribution_are_obeyed(server, model, tmp_path, capsys):
    trained_on(model, "own", "own patients", ("jsrt",))
    assert main(["push", str(model), "--to", "hf://lab/chest"]) == 2
    said = capsys.readouterr().err
    assert "hf://lab/chest: the terms of jsrt forbid redistribution" in said
    assert server.asked == []
    assert main(["push", str(model), "--to", str(tmp_path / "here")]) == 0
    assert "> **The terms of jsrt, which these" in (tmp_path / "here" / "README.md").read_text()
    assert main(["push", str(model), "--to", "hf://lab/chest", "--despite-terms"]) == 0
    assert b"> **The terms of jsrt" in server.repositories["lab/chest"]["README.md"]


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("hf://lab", "hf://lab: not an address of a model; it looks like hf://owner/name"),
        ("hf://lab/../x", "not an address of a model"),
        ("hf://lab/none", "hf://lab/none: no such model, or a private one: check the spelling"),
        ("hf://lab/breast@none", "hf://lab/breast@none: has no such revision"),
    ],
)
def test_wrong_addresses_are_told_in_a_line(server, model, text, saying, capsys):
    models.push(model, "hf://lab/breast")
    assert main(["predict", text, "x.png"]) == 2
    said = capsys.readouterr().err
    assert saying in said and said.count("\n") == 1


def test_a_changed_model_is_not_pushed(model, tmp_path):
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="is not the file that mine.json describes"):
        models.push(model, tmp_path / "place")
    assert not (tmp_path / "place").exists()


@pytest.mark.slow
def test_another_server_is_named_by_the_environment(server, model, run_cli, tmp_path):
    environment = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "x",
    }
    done = run_cli("push", model, "--to", "hf://lab/far", environment=environment)
    assert (done.returncode, done.stdout) == (0, f"written: {server.address}/lab/far\n"), (
        done.stderr
    )
    assert "lab/far" in server.repositories
