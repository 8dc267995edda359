"""Cases, and everything that is done to them before a network sees them."""

from kerasunet import lazy_members

_MEMBERS = {
    "NO_AUGMENTATION": "kerasunet.data.augmentation_settings",
    "AnnotatedCase": "kerasunet.data.cases",
    "Augmentation": "kerasunet.data.augmentation_settings",
    "Case": "kerasunet.data.cases",
    "DataSet": "kerasunet.data.cases",
    "DecodedCases": "kerasunet.data.decoding",
    "FileCase": "kerasunet.data.cases",
    "MaskCoding": "kerasunet.data.cases",
    "SIMULATED": "kerasunet.data.loading",
    "Sample": "kerasunet.data.cases",
    "SimulatedCase": "kerasunet.data.cases",
    "Split": "kerasunet.data.splits",
    "augment": "kerasunet.data.augmentation",
    "decode": "kerasunet.data.decoding",
    "foreground_shares": "kerasunet.data.decoding",
    "load": "kerasunet.data.loading",
    "read_image": "kerasunet.data.readers",
    "resize_image": "kerasunet.data.decoding",
    "resize_mask": "kerasunet.data.decoding",
    "split_cases": "kerasunet.data.splits",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
