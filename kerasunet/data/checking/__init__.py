"""Checks that find every mistake in a data set in one pass, before any training.

An error would stop training or cannot be a mask. A warning needs a person to look at it. A note is
a suspicion.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.data.checking.data_set import check as check
    from kerasunet.data.checking.report import (
        KINDS as KINDS,
        Problem as Problem,
        Report as Report,
    )
    from kerasunet.data.groups import with_groups as with_groups
    from kerasunet.data.layouts.tables import (
        read_groups as read_groups,
        write_groups as write_groups,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
