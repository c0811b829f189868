"""What files on the board say of eIMs: the first of a card (AddInitialEim, SGP.32 3.5.2, 5.9.4), and the CAs of those
whose configuration names no key (2.11.1.1.1). Loaded for that.
"""

import os

from ipa import tlv
from ipa.compat import INFO, const, log
from ipa.eim import EimUnknown
from ipa.net import memory

_LARGEST_CONFIGURATION = const(4096)


async def add(es10, path):
    """Give the card the EimConfigurationData in the file. Returns its value as the card has it now.

    Raises EimUnknown, CardRefused.
    """
    try:
        size = min(os.stat(path)[6], _LARGEST_CONFIGURATION)
        with open(path, "rb") as file:
            configuration = file.read(size)
    except OSError as error:
        memory.check_code(error)
        raise EimUnknown("the card knows no eIM and there is no {}".format(path)) from None
    await es10.add_initial_eim(configuration)
    log(INFO, "card: eIM added from", path)
    configuration = await es10.find_eim()
    if configuration is None:
        raise EimUnknown("the card took the eIM and does not know it")
    return configuration


def preinstalled(path):
    """What a Trust takes: the CAs in the file, DER, one behind the other. Raises EimUnknown where there are none."""
    try:
        with open(path, "rb") as file:
            roots = file.read()
        anchors = [bytes(raw) for _, _, raw in tlv.items(roots)]
    except OSError as error:
        memory.check_code(error)
        anchors = ()
    except tlv.TlvError as error:
        raise EimUnknown("{}: {}".format(path, error)) from None
    if not anchors:
        raise EimUnknown("eIM configuration without trustedPublicKeyDataTls, and no CA in {}".format(path))
    return ("ca",) + tuple(anchors)
