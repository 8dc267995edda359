"""Finds every mistake in a data set in one pass, before any training.

An error is what would stop training or cannot be a mask. A warning is what a person has to look at.
A note is a suspicion.
"""

from kerasunet.data.checking.problem import KINDS, Problem
from kerasunet.data.checking.report import Report, check
from kerasunet.data.groups import read_groups, with_groups, write_groups

__all__ = ["KINDS", "Problem", "Report", "check", "read_groups", "with_groups", "write_groups"]
