"""Where the runs of a study execute: this machine, a Dask cluster or a Ray cluster."""

from kerasunet import lazy_members

_MEMBERS = {
    "Done": "kerasunet.study.executors.attempt",
    "EXECUTORS": "kerasunet.study.executors.run",
    "Failed": "kerasunet.study.executors.attempt",
    "RETRIES": "kerasunet.study.executors.attempt",
    "attempt_item": "kerasunet.study.executors.attempt",
    "run_all": "kerasunet.study.executors.run",
    "slot_environments": "kerasunet.study.executors.attempt",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
