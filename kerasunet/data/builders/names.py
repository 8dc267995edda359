"""Names of the data sets that have a builder; importing them loads nothing else."""

PETS = "oxford_iiit_pet"
NAMES = (
    "bus_bra",
    "bus_uclm",
    "busi",
    "duts",
    "ecssd",
    "jsrt",
    "montgomery",
    "msra10k",
    "oasbud",
    PETS,
    "shenzhen",
    "udiat",
    "xpie",
)
"""Data sets that `load_cases` knows."""
