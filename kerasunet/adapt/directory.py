"""The directory of an adaptation: which images and objects it is about; none are ever mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.adapt.settings import AdaptSettings, suffice
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

    def check(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse what must not be mixed; images may come and go, if some stay.

        Args:
            asked: What `record_of` returned.

        Returns:
            The earlier answer in the directory, empty if there is none.

        Raises:
            FileExistsError: It holds something else.
            ValueError: It is an adaptation to other data or objects, or holds a model that would
                stay beside the answer about too few images.
        """
        record = self.path / RECORD
        if record.is_file():
            known = read_record(record, ("data",), "the record of an adaptation", remedy=_OTHER)
            self._require_same(known, asked)
        elif others := sorted(path.name for path in self.path.iterdir()):
            raise FileExistsError(
                f"{self.path}: holds {others[0]} but no run of adapt; give a new folder"
            )
        earlier = self.path / ANSWER
        return read_json(earlier) if earlier.is_file() else {}

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Write down what the directory is about, once nothing else can refuse the adaptation."""
        write_json(self.path / RECORD, asked)

    def _require_same(self, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
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

    def require_enough(self, data: DataSet) -> None:
        """Refuse images that are too few for a model where there is one of more images.

        Raises:
            ValueError: It would stay beside an answer that it has nothing to do with.
        """
        if (self.path / MODEL).is_file() and not suffice(data.cases):
            raise ValueError(
                f"{self.path}: holds a model of more images than the {len(data)} that {data.name} "
                f"has now, which are too few to make another; {_OTHER}"
            )


def record_of(settings: AdaptSettings, data: DataSet) -> dict[str, Any]:
    """Return what the directory of an adaptation says of it: data set, objects and images.

    Args:
        settings: What counts as an object.
        data: The annotated cases.
    """
    return {
        "data": data.name,
        "objects": settings.chosen_objects or str(data.objects),
        "images": sorted(image_identities(data.cases).values()),
    }
