"""Studies: many fine-tuning runs, planned, executed, collected in one table, and compared."""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.study import plan as plan
    from kerasunet.study.execution import run_study as run_study
    from kerasunet.study.plan import PlannedRun as PlannedRun, StudySettings as StudySettings
    from kerasunet.study.results import StudyResults as StudyResults, read_results as read_results
    from kerasunet.study.tables import read_tables as read_tables
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
