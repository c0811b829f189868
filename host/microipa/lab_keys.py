"""Whose keys a lab plays with besides its own: folders of certificates of other makers, noted in the lab's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from microipa.crypto.key_folder import KeysInvalid

FILE = "keys.json"


@dataclass(frozen=True)
class LabKeys:
    """Folders, absolute; the lab's own PKI where there is none. ``smdpp``: one for each CI, the preferred first."""

    smdpp: tuple[Path, ...] = ()
    eim: Path | None = None
    card: Path | None = None

    @classmethod
    def of(cls, folder: Path) -> LabKeys:
        """What the lab in ``folder`` was started with last. Raises KeysInvalid."""
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            noted = json.loads(path.read_text())
            eim, card = (Path(noted[name]) if noted[name] else None for name in ("eim", "card"))
            return cls(tuple(Path(one) for one in noted["smdpp"]), eim, card)
        except (ValueError, KeyError, TypeError) as error:
            raise KeysInvalid(f"{path} does not name folders of keys: remove it") from error

    def over(self, noted: LabKeys) -> LabKeys:
        """These, and what was noted before where these say nothing."""
        return LabKeys(self.smdpp or noted.smdpp, self.eim or noted.eim, self.card or noted.card)

    def note(self, folder: Path) -> None:
        """For later starts, and for whoever opens the lab beside it. Paths only: keys stay where they are."""
        names = {
            "smdpp": [str(path.resolve()) for path in self.smdpp],
            "eim": str(self.eim.resolve()) if self.eim else None,
            "card": str(self.card.resolve()) if self.card else None,
        }
        (folder / FILE).write_text(json.dumps(names, indent=1))
