"""The report of a study: one HTML file that needs nothing else; figures and tables beside it."""

from typing import TYPE_CHECKING

from kerasunet.lazy import lazy_members

if TYPE_CHECKING:
    from kerasunet.study.report.page import write_report as write_report
    from kerasunet.study.report.tables import markdown_document as markdown_document
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
