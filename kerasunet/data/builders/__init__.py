"""TensorFlow Datasets builders for the field's public image and mask sets.

`load_cases` prepares a set once, in random-access files, and reads it as NumPy-backed cases.
Importing `<name>.<name>_dataset_builder` registers an ordinary TFDS builder, for `tfds.load`.
"""

from typing import TYPE_CHECKING

from kerasunet.objects import PUBLIC_SETS
from kerasunet.processes import lazy_members

# To add a set, add a folder beside this file and a name in `PUBLIC_SETS`.
NAMES = tuple(sorted(name for names in PUBLIC_SETS.values() for name in names))
PETS = "oxford_iiit_pet"

if TYPE_CHECKING:
    from kerasunet.data.builders.base import TfdsCase as TfdsCase, load_cases as load_cases
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
    __all__ += ["NAMES"]
