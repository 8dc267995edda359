"""Checks that find every mistake in a data set in one pass, before any training.

An error would stop training or cannot be a mask. A warning needs a person to look at it. A note is
a suspicion.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "KINDS": "kerasunet.data.checking.inspection",
    "Problem": "kerasunet.data.checking.inspection",
    "Report": "kerasunet.data.checking.report",
    "check": "kerasunet.data.checking.report",
    "read_groups": "kerasunet.data.groups",
    "with_groups": "kerasunet.data.groups",
    "write_groups": "kerasunet.data.groups",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
