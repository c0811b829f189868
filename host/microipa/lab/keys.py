"""Whose keys a lab plays with besides its own: folders of certificates of other makers, noted in the lab's folder."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path

from microipa.crypto.key_folder import KeysInvalid

FILE = "keys.json"


@dataclass(frozen=True)
class LabKeys:
    """Folders, absolute; the lab's own PKI where there is none. ``smdpp``, ``smds``: one for each CI, the preferred
    first."""

    smdpp: tuple[Path, ...] = ()
    eim: Path | None = None
    card: Path | None = None
    smds: tuple[Path, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> LabKeys:
        """What the lab in ``folder`` was started with last. Raises KeysInvalid."""
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            noted = json.loads(path.read_text())
            eim, card = (Path(noted[name]) if noted[name] else None for name in ("eim", "card"))
            smdpp, smds = (tuple(Path(one) for one in noted.get(name, ())) for name in ("smdpp", "smds"))
            return cls(smdpp, eim, card, smds)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KeysInvalid(f"{path} does not name folders of keys: remove it") from error

    def over(self, noted: LabKeys) -> LabKeys:
        """These, and what was noted before where these say nothing."""
        mine, before = astuple(self), astuple(noted)
        return LabKeys(*(here or there for here, there in zip(mine, before, strict=True)))

    def note(self, folder: Path) -> None:
        """For later starts, and for whoever opens the lab beside it. Paths only: keys stay where they are."""
        names = {
            "smdpp": [str(path.resolve()) for path in self.smdpp],
            "smds": [str(path.resolve()) for path in self.smds],
            "eim": str(self.eim.resolve()) if self.eim else None,
            "card": str(self.card.resolve()) if self.card else None,
        }
        (folder / FILE).write_text(json.dumps(names, indent=1))
