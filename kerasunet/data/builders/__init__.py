"""TensorFlow Datasets builders for the field's public image and mask sets.

`load_cases` prepares a set once, in random-access files, and reads it as NumPy-backed cases. To
import `<name>.<name>_dataset_builder` registers an ordinary TFDS builder, for `tfds.load`.
"""

from kerasunet._lazy import lazy_members

_MEMBERS = {
    "NAMES": "kerasunet.data.builders.names",
    "TfdsCase": "kerasunet.data.builders.loading",
    "load_cases": "kerasunet.data.builders.loading",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
