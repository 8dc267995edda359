"""TensorFlow Datasets builders for the field's public image and mask sets.

`load_cases` prepares a set once, in random-access files, and reads it as NumPy-backed cases.
Importing `<name>.<name>_dataset_builder` registers an ordinary TFDS builder, for `tfds.load`.
"""

from kerasunet import lazy_members

# To add a set, add a folder beside this file and a line here.
PETS = "oxford_iiit_pet"
NAMES = (
    "bus_bra",
    "bus_uclm",
    "busi",
    "duts",
    "ecssd",
    "jsrt",
    "montgomery",
    "msra10k",
    "oasbud",
    PETS,
    "shenzhen",
    "udiat",
    "xpie",
)

_MEMBERS = {
    "TfdsCase": "kerasunet.data.builders.loading",
    "load_cases": "kerasunet.data.builders.loading",
}
__all__ = sorted([*_MEMBERS, "NAMES"])
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
