"""A modem asleep: what its serial line, memory and card are then, and what wakes it."""

from __future__ import annotations

import asyncio

from microipa.modem.dialect import InPsm, Modem
from microipa.modem.power import granted

_QUIET_S = 0.5  # of the lab's clock: a modem that its board talks to does not fall asleep
_KEPT = ("+CPSMS", "+CEDRXS")  # what the modem needs to stay registered as it is, over the loss of its memory


class Sleeping:
    """Falls asleep when the radio does (PSM), and wakes with the radio, or by key or pin."""

    def __init__(self, modem: Modem) -> None:
        self._modem = modem
        self.asleep = False
        """The serial line is dead."""
        self._heard_at = 0.0
        rrc = modem.link.rrc
        rrc.granted = lambda: granted(modem)
        rrc.may_sleep = self._is_quiet
        rrc.on_sleep = self._fall_asleep
        rrc.on_wake = self._wake

    def heard(self) -> None:
        """The board has said something."""
        self._heard_at = self._modem.network.clock.time()

    def wake(self) -> None:
        """The power key or the wake pin of a modem in PSM."""
        self._modem.link.rrc.wake()
        self._wake()

    def reset(self) -> None:
        """Power went or came."""
        self.asleep = False

    def _is_quiet(self) -> bool:
        quiet_s = self._modem.network.clock.time() - self._heard_at
        return quiet_s >= _QUIET_S and not self._modem.interpreter.busy

    def _fall_asleep(self) -> None:
        modem = self._modem
        if modem.behaviour.card_off_in_psm:
            modem.sim.power_off()
        if modem.dialect.in_psm is InPsm.ANSWERS:
            return
        self.asleep = True
        if modem.dialect.in_psm is InPsm.OFF:
            modem.background(modem.lose_memory())

    def _wake(self) -> None:
        modem = self._modem
        if modem.behaviour.card_off_in_psm and not modem.sim.powered:
            modem.background(modem.sim.power_on())
        if not self.asleep:
            return
        self.heard()
        if modem.dialect.in_psm is InPsm.OFF:
            modem.background(self._boot())
        else:
            self.asleep = False

    async def _boot(self) -> None:
        modem = self._modem
        await asyncio.sleep(modem.link.settings.wait_s(modem.dialect.boot_s))
        self.asleep = False
        modem.go_on()


def kept(settings: dict[str, str]) -> dict[str, str]:
    """The settings that are left of these."""
    return {name: settings[name] for name in _KEPT if name in settings}

