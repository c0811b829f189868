"""The first eIM of a card: AddInitialEim with what a file on the board says (SGP.32 3.5.2, 5.9.4). Loaded for that."""

import os

from ipa.compat import INFO, const, log
from ipa.eim import EimUnknown

_LARGEST_CONFIGURATION = const(4096)


async def add(es10, path):
    """Give the card the EimConfigurationData in the file. Returns its value as the card has it now.

    Raises EimUnknown, CardRefused.
    """
    try:
        size = min(os.stat(path)[6], _LARGEST_CONFIGURATION)
        with open(path, "rb") as file:
            configuration = file.read(size)
    except OSError:
        raise EimUnknown("the card knows no eIM and there is no {}".format(path)) from None
    await es10.add_initial_eim(configuration)
    log(INFO, "card: eIM added from", path)
    configuration = await es10.find_eim()
    if configuration is None:
        raise EimUnknown("the card took the eIM and does not know it")
    return configuration
