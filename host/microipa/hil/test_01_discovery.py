"""The board finds its card and its eIM, and says who it is."""

from __future__ import annotations

import pytest

from microipa.hil.fixtures import Board, CardView, ModemView
from microipa.hil.servers import EimDesk


@pytest.mark.sgp("SGP.33-2: eIM configuration", "SGP.32 3.5.2.1")
def test_a_card_without_an_eim_is_given_the_one_beside_the_firmware(board: Board, eim: EimDesk) -> None:
    listing = eim.package(("listEim", {}))
    board.poll()
    assert eim.outcome(listing)[0] == "done"
    assert eim.name in (eim.device().eims or [])


@pytest.mark.sgp("SGP.33-2: IPA capabilities", "SGP.32 2.11.2.2")
def test_the_eim_learns_who_the_card_is_and_what_the_device_can(board: Board, eim: EimDesk) -> None:
    asked = eim.ask()
    board.poll()
    assert eim.outcome(asked)[0] == "done"
    device = eim.device()
    assert "ipaRetrieveCoaps" in device.ipa_capabilities["ipaSupportedProtocols"]
    assert device.certificates["euicc"]["subject"]
    assert device.euicc_info2["svn"]


@pytest.mark.sgp("SGP.33-2: network attach", "SGP.32 3.1.1")
@pytest.mark.needs("card contacts")
def test_the_modem_registers_and_carries_apdus_on_a_channel_of_its_own(
    board: Board, eim: EimDesk, modem: ModemView, card: CardView
) -> None:
    board.poll()
    commands = modem.commands()
    assert any(command.startswith("AT+CEREG") for command in commands)
    assert any(command.startswith(("AT+CCHO", "AT+CSIM")) for command in commands)
    assert card.asked(0xBF55) >= 1  # GetEimConfigurationData
    assert eim.messages() == ["in BF4F", "out BF4F"]
