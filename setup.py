"""Adds what setup.cfg cannot say: saved_models/ and demo/ are installed inside kerasunet/."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["kerasunet", "kerasunet.*"]),
        "kerasunet.saved_models",
        "kerasunet.demo",
        *(f"kerasunet.demo.{name}" for name in find_namespace_packages("demo")),
    ],
    package_dir={"kerasunet.saved_models": "saved_models", "kerasunet.demo": "demo"},
)
