"""Adds what setup.cfg cannot say: saved_models/ is installed inside kerasunet/."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["kerasunet", "kerasunet.*"]),
        "kerasunet.saved_models",
    ],
    package_dir={"kerasunet.saved_models": "saved_models"},
)
