"""Fixtures that several test files share: tiny models, tiny data, the command line."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from helpers import AS_INSTALLED

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["KERASUNET_PRECISION"] = "float32"  # The same on every machine.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - or its workers wait for all other tests.
os.environ["PYTHONPATH"] = AS_INSTALLED  # Of what the tests start, not of themselves.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Each process would compile the package anew.
ROOT = Path(__file__).parents[1]
gc.set_threshold(200_000)  # Importing leaves next to nothing; see `pytest_collection_finish`.
_MEMORY, _ROOM = Path("/dev/shm"), 4 * 2**30
_LONG = 60
"""How many quick tests take as long as one that is marked as slow or needs a browser."""
_MOST_LONG = 10
"""How many of the parameters of one such test count as long: many share what takes long."""
_SHARING = {
    f"tests/demo/test_demo_{name}.py": demo
    for demo, names in {
        "url": ("api", "compare"),
        "demo_url": ("finetune", "hostile", "hostile_browser", "layers", "mcp", "study"),
    }.items()
    for name in names
}
"""The files that use one demo, by the fixture that starts it: one process has all of them."""


def pytest_addoption(parser):
    parser.addoption("--reversed", action="store_true", help="run the tests from last to first")


def pytest_configure(config):
    """Let pytest-xdist give out files in the order of `pytest_collection_modifyitems`."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if not hasattr(config, "workerinput"):  # Processes of pytest-xdist have what this one has.
        _keep_temporary_files_in_memory()


def _keep_temporary_files_in_memory():
    """Spare the tests the disk: what they write has to reach it before they go on.

    Where memory is short or no file system, temporary files are where they usually are.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM:
        return
    folder = tempfile.mkdtemp(prefix="kerasunet-tests-", dir=_MEMORY)
    os.environ["TMPDIR"], tempfile.tempdir = folder, None
    # At the exit, when pytest has removed what is its own.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)  # There is no such hook without pytest-xdist.
def pytest_xdist_make_scheduler(config, log):
    """Give out files whole, as `--dist loadfile` does, and those that share a demo together."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class BySharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _whole(nodeid)

    return BySharing(config, log)


def _whole(nodeid: str) -> str:
    """Return the name of what one process has to run as a whole: a file, or those of a demo."""
    file = nodeid.partition("::")[0]
    return _SHARING.get(file, file)


@pytest.hookimpl(trylast=True)  # Once the tests that were not asked for are out.
def pytest_collection_modifyitems(config, items):
    """Begin with the files that take longest, lest one process works at them alone in the end.

    With `--reversed`, run each file's last test first: none may depend on those before it.
    """
    work: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for item in items:
        function = item.nodeid.partition("[")[0]
        seen[function] += 1
        markers = [*item.iter_markers("slow"), *item.iter_markers("browser")]
        is_long = markers and seen[function] <= _MOST_LONG
        times = max((*marker.args, 1)[0] for marker in markers) if markers else 0
        work[_whole(item.nodeid)] += _LONG * times if is_long else 1
    items.sort(key=lambda item: work[_whole(item.nodeid)], reverse=True)
    if config.getoption("--reversed"):
        items.reverse()


def pytest_collection_finish():
    """Spare the garbage collection what the test files have imported: it stays in any case.

    Each traced network would have it looked through again, for part of the time of all tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep the decoded images of the suite, and of every process it starts, in a folder apart."""
    os.environ["KERASUNET_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_pretraining():
    """Return the settings of a few steps of pre-training of a U-Net of depth 1 with 4 filters."""
    from kerasunet.training import Architecture, Optimization, PretrainSettings

    return PretrainSettings(
        data="simulated-natural:16",
        validation_data="simulated-natural:4",
        image_size=32,
        architecture=Architecture(base_filters=4, depth=1),
        optimization=Optimization(steps=12, batch_size=4, validate_every=6),
    )


@pytest.fixture(scope="session")
def tiny_model_file(tiny_pretraining, tmp_path_factory) -> Path:
    """Return the file of the U-Net that this pre-training makes."""
    from kerasunet.training import pretrain

    directory = tmp_path_factory.mktemp("pretrained")
    pretrain(tiny_pretraining, directory)
    return directory / "model.keras"


@pytest.fixture(scope="session")
def demo_place(tiny_model_file, tmp_path_factory) -> Path:
    """Return the folder that the demo of `demo_url` uses: `models/`, `studies/`, `temporary/`."""
    from helpers.study_makers import make_study

    place = tmp_path_factory.mktemp("demo")
    for source, name in ((ROOT / "saved_models" / "natural", "natural"), (tiny_model_file, "tiny")):
        for suffix in (".keras", ".json"):
            target = place / "models" / f"{name}{suffix}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source.with_suffix(suffix), target)
    make_study(place / "studies", "bus_bra", sizes=(20, 80))
    make_study(place / "studies", "jsrt", missing=1)
    (place / "temporary").mkdir()
    return place


@pytest.fixture(scope="session")
def demo_url(demo_place):
    """Yield the address of a running demo that may train, on what `demo_place` holds."""
    from helpers.browser import running_demo

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASUNET_STUDIES", str(demo_place / "studies"))
        with running_demo(demo_place / "models", demo_place / "temporary") as address:
            yield address


@pytest.fixture(scope="module")
def one_worker():
    """Let one process execute the runs of all studies of a file, as it does those of one study.

    Starting a process takes seconds.
    """
    from kerasunet.processes import environment
    from kerasunet.study import workers as pool

    def of_any_test(additions=None) -> dict[str, str]:
        own = environment(additions)
        own.pop("PYTEST_CURRENT_TEST", None)
        return own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "environment", of_any_test)
        patch.setattr(pool.workers, "end", lambda: None)
        yield
    pool.workers.end()


@pytest.fixture
def call_cli(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command line in this process, in an empty folder.

    It answers as `run_cli` does, and spares the seconds that importing TensorFlow takes.
    """
    from kerasunet.cli import main

    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> subprocess.CompletedProcess:
        try:
            status = main([*map(str, words)])
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, said.out, said.err)

    return call


@pytest.fixture
def run_cli(tmp_path):
    """Return a function that runs `python -m kerasunet …` in an empty folder."""

    def run(*words: object, environment: dict[str, str] | None = None, timeout: float = 300):
        return subprocess.run(
            [sys.executable, "-m", "kerasunet", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
