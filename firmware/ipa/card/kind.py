"""What a card is when it is not plainly an IoT eUICC that listens to us. Loaded for those only.

A card tells by the templates in the answer to SELECT ISD-R, E1 of SGP.32 and E0 of SGP.22, by EUICCInfo2, and
by what its ISD-R refuses: that of an M2M card (SGP.02) takes commands over the air, none from the device.
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
    """Not a card that an eIM can manage through this assistant, as it is set up."""


async def identify(channel, es10):
    """IOT, CONSUMER or M2M; its name goes to the log. Raises CardError."""
    kind = await _by_template(channel)
    version = ""
    try:
        info = await es10.get_euicc_info_2()
        svn = tlv.find(info, 0xBF22, 0x82)
        version = ".".join(str(part) for part in svn or b"")
        kind = IOT if kind == IOT or await _knows_eims(es10) else CONSUMER
    except StatusError:
        # A card of SGP.22 or SGP.32 gives EUICCInfo2 to everybody.
        if kind is None:
            kind = M2M
        elif kind != M2M:
            raise
    log(INFO, "card:", _NAMES[kind] + (", SVN " + version if version else ""))
    return kind


async def _knows_eims(es10):
    """Does it have GetEimConfigurationData? The first IoT cards say in no other way that they are such."""
    try:
        await es10.find_eim()
    except CardError:  # by a status word, or by no answer at all
        return False
    return True


async def _by_template(channel):
    """What the answer to SELECT tells, None when the modem keeps it to itself or it has no template."""
    try:
        fci = tlv.find(await channel.select(), 0x6F)
    except (ModemError, StatusError):
        return None
    inside = tlv.find(fci, 0xA5)  # where some cards put the template
    if tlv.find(fci, 0xE1) is not None or tlv.find(inside, 0xE1) is not None:
        return IOT
    if tlv.find(fci, 0xE0) is not None or tlv.find(inside, 0xE0) is not None:
        return CONSUMER
    return None


async def adapt(channel, es10, mode, settings, Journal):
    """The Es10 to work with, None when the IPA inside the card is in charge and shall stay so (SGP.32 3.8).

    `mode`: what es10.ipa_mode() told; `Journal(path)`: where an emulation keeps its state. Raises CardUnfit.
    """
    if mode:
        if settings["ipae"] == "stay-silent":
            log(INFO, "card: the IPA inside it (IPAe) is in charge, this assistant stays silent")
            return None
        try:
            await channel.announce_on_basic()
        except ModemError as error:
            log(DEBUG, "card:", error)  # the modem keeps that channel for itself
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
