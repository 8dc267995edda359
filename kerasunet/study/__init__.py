"""Studies: many fine-tuning runs, planned, executed, collected in one table, and compared."""

from kerasunet import lazy_members

_MEMBERS = {
    "PlannedRun": "kerasunet.study.plan",
    "StudySettings": "kerasunet.study.plan",
    "StudyResults": "kerasunet.study.results",
    "plan": "kerasunet.study.plan",
    "read_results": "kerasunet.study.results",
    "read_tables": "kerasunet.study.tables",
    "run_study": "kerasunet.study.execution",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
