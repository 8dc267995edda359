"""The directory of an adaptation: which images and objects it is about; none are ever mixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.adapt.settings import SMALLEST
from kerasunet.data.cases import DataSet
from kerasunet.data.identification import image_identities, known_images
from kerasunet.files import read_json, read_record, write_json

RECORD, ANSWER, MODEL = "adapt.json", "answer.json", "model.keras"
_OTHER = "give another folder"


@dataclass(frozen=True)
class AdaptDirectory:
    """The files by which a directory tells what it is an adaptation to.

    Attributes:
        path: The directory, which exists.
    """

    path: Path

    def claim(self, data: DataSet) -> dict[str, Any]:
        """Claim the directory for a data set, or refuse; images may come and go, if some stay.

        Args:
            data: The annotated cases, in their groups.

        Returns:
            The earlier answer in it, empty if there is none.

        Raises:
            FileExistsError: It holds something else.
            ValueError: It is an adaptation to other data or objects, or holds a model that would
                stay beside the answer about too few images.
        """
        record = self.path / RECORD
        images = image_identities(data.cases)
        asked = {"data": data.name, "objects": str(data.objects), "images": sorted(images.values())}
        if record.is_file():
            known = read_record(record, ("data",), "the record of an adaptation", remedy=_OTHER)
            self._require_same(known, asked)
            self._require_enough(data)
        elif others := sorted(path.name for path in self.path.iterdir()):
            raise FileExistsError(
                f"{self.path}: holds {others[0]} but no run of adapt; give a new folder"
            )
        write_json(record, asked)
        earlier = self.path / ANSWER
        return read_json(earlier) if earlier.is_file() else {}

    def _require_same(self, known: dict[str, Any], asked: dict[str, Any]) -> None:
        """Refuse another data set, by its name or its images, and other objects.

        Older records tell the name alone.
        """
        for what in ("data", "objects"):
            if known.get(what, asked[what]) != asked[what]:
                raise ValueError(
                    f"{self.path}: is an adaptation to {known[what]}, not to {asked[what]}; "
                    f"{_OTHER}"
                )
        earlier = known.get("images")
        if earlier and not known_images(asked["images"], earlier).any():
            raise ValueError(
                f"{self.path}: is an adaptation to other images, of another folder that is called "
                f"{asked['data']}: none of them is among these; {_OTHER}"
            )

    def _require_enough(self, data: DataSet) -> None:
        """Refuse images that are too few for a model where there is one of more images."""
        groups = {case.group for case in data.cases}
        if (self.path / MODEL).is_file() and (len(data) < SMALLEST or len(groups) < 2):
            raise ValueError(
                f"{self.path}: holds a model of more images than the {len(data)} that {data.name} "
                f"has now, which are too few to make another; {_OTHER}"
            )
