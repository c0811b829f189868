"""Finds out what card it is, if it is not an IoT eUICC without an IPA. Loaded only then.

The kind follows from the templates in the answer to SELECT ISD-R (E1 of SGP.32, E0 of SGP.22), from EUICCInfo2, and
from refused commands: the ISD-R of an M2M card (SGP.02) accepts commands only over the air, not from the device.
"""

from ipa import tlv
from ipa.card.channel import CardError, StatusError
from ipa.compat import DEBUG, INFO, const, log
from ipa.modem import ModemError

IOT = const(0)
CONSUMER = const(1)
M2M = const(2)

_NAMES = ("an IoT eUICC (SGP.32)", "a consumer eUICC (SGP.22)", "an M2M eUICC (SGP.02)")


class CardUnfit(CardError):
    """An eIM cannot manage this card through this assistant with its settings."""


async def identify(channel, es10):
    """IOT, CONSUMER or M2M; its name is logged. Raises CardError."""
    kind = await _by_template(channel)
    version = ""
    try:
        info = await es10.get_euicc_info_2()
        svn = tlv.find(info, 0xBF22, 0x82)
        version = ".".join(str(part) for part in svn or b"")
        kind = IOT if kind == IOT or await _knows_eims(es10) else CONSUMER
    except StatusError:
        # A card of SGP.22 or SGP.32 always returns EUICCInfo2.
        if kind is None:
            kind = M2M
        elif kind != M2M:
            raise
    log(INFO, "card:", _NAMES[kind] + (", SVN " + version if version else ""))
    return kind


async def _knows_eims(es10):
    """Whether it has GetEimConfigurationData: the only sign of the first IoT cards."""
    try:
        await es10.find_eim()
    except CardError:  # a status word, or no answer at all
        return False
    return True


async def _by_template(channel):
    """The kind by the answer to SELECT, None if the modem does not pass it on or it has no template."""
    try:
        fci = tlv.find(await channel.select(), 0x6F)
    except (ModemError, StatusError):
        return None
    inside = tlv.find(fci, 0xA5)  # some cards have the template here
    if tlv.find(fci, 0xE1) is not None or tlv.find(inside, 0xE1) is not None:
        return IOT
    if tlv.find(fci, 0xE0) is not None or tlv.find(inside, 0xE0) is not None:
        return CONSUMER
    return None


async def adapt(channel, es10, mode, settings, Journal):
    """The Es10 to use, None if the IPA inside the card is active and is to stay so (SGP.32 3.8).

    `mode`: result of es10.ipa_mode(); `Journal(path)`: where an emulation keeps its state. Raises CardUnfit.
    """
    if mode:
        if settings["ipae"] == "stay-silent":
            log(INFO, "card: the IPA inside it (IPAe) is in charge, this assistant stays silent")
            return None
        try:
            await channel.announce_on_basic()
        except ModemError as error:
            log(DEBUG, "card:", error)  # the modem does not allow that channel
        if await es10.ipa_mode():
            raise CardUnfit(
                "the IPA inside the card (IPAe) is in charge and does not yield: TERMINAL CAPABILITY does not"
                " reach it, see whether the modem has a setting for that"
            )
        log(INFO, "card: taken over from the IPA inside it (IPAe)")
        return es10
    kind = await identify(channel, es10)
    if kind == CONSUMER and settings["emulation"]:
        from ipa.card.emulation import Emulation

        path = settings["journal_file"] + ".card"
        emulation = Emulation(channel, Journal(path), path)
        emulation.roots = settings["roots_file"]
        await emulation.begin()
        return emulation
    if kind == CONSUMER:
        raise CardUnfit(
            'this is a consumer eUICC (SGP.22), which obeys no eIM; with "emulation": true in ipa.json the'
            " assistant obeys one in its place"
        )
    if kind == M2M:
        raise CardUnfit(
            "this is an M2M eUICC (SGP.02), which takes commands from an SM-SR over the air and none from the"
            " device: no eIM can manage it, only a card of SGP.32 will do"
        )
    return es10
