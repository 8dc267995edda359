"""How the demo is started, and that nothing is left when it ends."""

from __future__ import annotations

import shutil
import time
from configparser import ConfigParser

import pytest
from helpers.browser import ROOT, running_demo

from kerasunet.demo.context import ModelStore


@pytest.mark.slow
def test_nothing_is_left_when_the_demo_is_ended(models, tmp_path):
    with running_demo(models, tmp_path, gently=True):
        (folder,) = tmp_path.glob("kerasunet-demo-*")
    assert not folder.exists()


@pytest.mark.slow
def test_no_model_is_loaded_once_the_demo_has_ended(models, tmp_path, monkeypatch):
    """Python cannot end while a thread reads a model's file."""
    for number in range(12):
        for suffix in (".keras", ".json"):
            shutil.copy(models / f"natural{suffix}", tmp_path / f"natural-{number}{suffix}")
    monkeypatch.setenv("KERASUNET_MODELS", str(tmp_path))
    monkeypatch.setenv("KERASUNET_CACHE", str(tmp_path / "cache"))
    store = ModelStore()
    store.load_in_background()
    while not store.loaded_count:
        time.sleep(0.001)
    store.close()
    loaded = store.loaded_count
    time.sleep(1)
    assert loaded == store.loaded_count < len(store.registered)
    assert not store.finished


def test_space_installs_what_the_package_needs():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = setup["options"]["install_requires"] + setup["options.extras_require"]["demo"]
    given = (ROOT / "demo" / "requirements.txt").read_text().splitlines()
    assert set(wanted.split()) <= set(given)


def test_verb_tells_its_options_without_starting(run_cli):
    done = run_cli("demo", "--help")
    assert done.returncode == 0
    assert "--allow-training" in done.stdout
    assert "(default: this machine only)" in " ".join(done.stdout.split())


def test_without_gradio_the_verb_says_what_to_install(run_cli, tmp_path):
    (tmp_path / "gradio.py").write_text("raise ModuleNotFoundError('gone', name='gradio')")
    done = run_cli("demo", environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert done.returncode == 2
    assert 'the demo needs gradio, which is not installed: pip install "kerasunet[demo]"' in (
        done.stderr
    )
