"""Where the runs of a study execute: this machine, a Dask cluster or a Ray cluster."""

from typing import TYPE_CHECKING

from kerasunet.lazy import lazy_members

if TYPE_CHECKING:
    from kerasunet.study.executors.run import (
        EXECUTORS as EXECUTORS,
        RETRIES as RETRIES,
        Done as Done,
        Failed as Failed,
        attempt_item as attempt_item,
        run_all as run_all,
        slot_environments as slot_environments,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
