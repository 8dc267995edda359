"""The report of a study: one HTML file that needs nothing else; figures and tables beside it."""

from kerasunet import lazy_members

_MEMBERS = {
    "markdown_document": "kerasunet.study.report.tables",
    "write_report": "kerasunet.study.report.page",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
