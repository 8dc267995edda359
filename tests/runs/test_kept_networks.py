"""Networks that a process keeps give each run what a network of its own would."""

from dataclasses import replace

import pytest

from kerasunet import UNet, runs
from kerasunet.runs.finetuning import KeptNetworks
from kerasunet.training.settings import Architecture, FinetuneSettings, Optimization

SETTINGS = FinetuneSettings(
    layers="contracting+0.1*expanding",
    data="simulated-ultrasound:30",
    train_size=8,
    validation_size=0,
    image_size=32,
    architecture=Architecture(base_filters=4, depth=1),
    optimization=Optimization(steps=6, batch_size=4, validate_every=3, deterministic=True),
)
SHARE = [{"fold": 1, "optimization": replace(SETTINGS.optimization, seed=5)}]
OTHER = [
    {"layers": "none"},
    {"layers": "rgn"},
    {"init": "scratch"},
    {"optimization": replace(SETTINGS.optimization, learning_rate=1e-2)},
    {"optimization": replace(SETTINGS.optimization, pull=0.1)},
]
TRAINED = [{}, *SHARE, {**OTHER[1], **OTHER[4]}, {**OTHER[2], **OTHER[3]}, {}]


@pytest.mark.slow(10)
def test_a_kept_network_trains_as_a_new_one(tmp_path):
    kept, start = KeptNetworks(), tmp_path / "start.keras"
    UNet(base_filters=4, depth=1).save(start)
    for number, change in enumerate(TRAINED):
        settings = replace(SETTINGS, **{"init": str(start), **change})
        again = tmp_path / f"{number}-kept"
        runs.finetune(settings, again, compact=True, kept=kept)
        alone = tmp_path / f"{'first' if not change else number}-alone"
        runs.finetune(settings, alone, compact=True)  # The first is finished when it comes again.
        assert (again / "cases.csv").read_bytes() == (alone / "cases.csv").read_bytes(), change


def test_only_runs_that_differ_in_data_or_seed_share_a_network():
    built = []

    class Model:
        pass

    def build():
        built.append(Model())
        return built[-1]

    kept = KeptNetworks()
    first = kept.get(SETTINGS, build)
    for change in SHARE:
        assert kept.get(replace(SETTINGS, **change), build) is first
    for change in OTHER:
        assert kept.get(replace(SETTINGS, **change), build) is not first
    assert kept.get(SETTINGS, build) is first
    assert len(built) == 1 + len(OTHER)
