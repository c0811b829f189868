"""The rungs: what is set up again when polls keep failing at one layer (layers.py). Loaded after such a failure.

    a poll failed at    repeated in place; then, from the nth failure in a row on
    modem               power key; 2: modem reset
    card                a new channel
    network             wait and ask; if denied 1: radio off and on
                        if the modem does not search 1: start a search; 2: radio off and on
                        if it searches: radio off and on after an hour
    data context        1: closed and opened; 2: radio off and on
    eIM, no byte        a new association; 2: data context closed and opened; 4: radio off and on
    eIM, which answers  a new association: everything below works
    any layer           8, 16, 32, 64 …: modem and board are restarted; only the board if the eIM answers

The radio is switched off and on once an hour at most.
"""

from ipa.compat import ERROR, INFO, const, log, ticks_ms
from ipa.layers import MODEM, NAMES, NETWORK
from ipa.modem import ModemError, power

_CONTEXT_AT = (None, None, None, 1, 2)  # by layer: failures from which on the data context is set up again
_RADIO_AT = (None, None, 1, 2, 4)
_RESET_AT = const(2)
_LAST = (8, 16, 32, 64)
_LAST_AGAIN = const(128)


async def step(layers, failures, heard, board):
    """Called before the next poll: take the measure for this number of failed polls in a row.

    `heard`: the last poll received something over the data context, so everything below the eIM works.
    """
    if failures in _LAST or failures % _LAST_AGAIN == 0:
        await _begin_again(layers, board, heard)
        return
    try:
        await _step(layers)
    except ModemError as error:  # climb() will check the modem first
        log(ERROR, "ladder:", error)


async def _step(layers):
    modem = layers.modem
    layer = layers.at
    count = layers.failures[layer]
    if layer == MODEM:
        if count >= _RESET_AT:
            log(INFO, "ladder: modem reset")
            await power.reset(modem)
        return
    if modem.sleeps:  # since the poll that failed, perhaps, and after a deep sleep nobody listens to it yet
        await layers.wake()
    if _RADIO_AT[layer] and count >= _RADIO_AT[layer] and await _may_switch_radio(layers, layer, count):
        log(INFO, "ladder:", NAMES[layer], "fails, radio off and on")
        layers.goes("radio off and on")
        layers.channel.is_open = False
        await modem.power_cycle_card()
    elif _CONTEXT_AT[layer] and count >= _CONTEXT_AT[layer] and modem.registered():
        log(INFO, "ladder:", NAMES[layer], "fails, data context anew")
        await modem.close_context()


async def _may_switch_radio(layers, layer, count):
    if layer == NETWORK:
        modem = layers.modem
        await modem.ask_registration()
        if modem.registered():
            return False
        if modem.searching():
            if layers.radio_ms is None:
                layers.radio_ms = ticks_ms()  # the hour of the search begins
                layers.searched = True
        elif not modem.denied() and count == 1:
            log(INFO, "ladder: no network is searched for")
            await modem.select_network(True)
            return False
        elif layers.searched:  # the search has ended; the radio was not switched in this hour
            layers.radio_ms = None
    return layers.radio_due()


async def _begin_again(layers, board, heard):
    """The last rung: reset the modem, unless it works, and the board, if it has reset()."""
    log(ERROR, "ladder: many polls have failed, the board begins again,", "alone" if heard else "the modem too")
    if not heard:
        try:
            await power.reset(layers.modem)  # because the board's reset does not reset it
        except (ModemError, MemoryError, OSError) as error:
            log(ERROR, "ladder:", error)
    if hasattr(board, "reset"):
        board.reset()
