"""ipa.agent under MicroPython: what a poll stands on, what follows from one that failed, what the product sees."""

from __future__ import annotations

import ast

import pytest
from board_run import Run

PRELUDE = """
import asyncio
from device import *
from ipa.card.es10 import UnexpectedAnswer
from ipa.eim import EimFailed
from ipa.modem import ModemError
from ipa.modem.at import AtTimeout
from ipa.modem.common import NoRegistration
from ipa.net import NetError, ServerError
"""


async def play(micropython: Run, script: str) -> list[object]:
    """What a script printed, each line a Python value."""
    out = await micropython(PRELUDE + script, heapsize="216K")
    return [ast.literal_eval(line) for line in out.splitlines() if line.startswith(("[", "("))]


async def test_a_registered_modem_is_found_so_and_stays_so(micropython: Run) -> None:
    (asked,) = await play(micropython, """
modem = Modem()
one = agent(modem)
Eims(one, True)
asyncio.run(polls(one, 3))
print([word for word in modem.asked if word != "open_context"])
""")
    assert asked == ["start", "join"]  # at the start of the program, and never again


FAULTS = {
    "the modem": 'dict(ask_registration=[AtTimeout("no answer")])',
    "a busy card": 'dict(card=[ModemError("+CME ERROR: 14")] * 2 + [None])',
    "the network": 'dict(join=[NoRegistration("modem: searching")])',
    "the data context": 'dict(open_context=[SocketError("no data connection")])',
}


@pytest.mark.parametrize("where", ["the modem", "the network", "the data context"])
async def test_what_fails_once_is_made_in_place_and_costs_no_attach(micropython: Run, where: str) -> None:
    fault = FAULTS[where].replace("]", ", None]")
    (waits, asked) = await play(micropython, f"""
class Once(Modem):
    def fail(self, name):
        waiting = self.faults.get(name)
        error = waiting.pop(0) if waiting else None
        if error:
            raise error
modem = Once()
one = agent(modem)
Eims(one, True)
waits = asyncio.run(polls(one, 1))
modem.faults = {fault}
waits += asyncio.run(polls(one, 2))
print([wait > 1000 for wait in waits])
print(modem.asked)
""")
    assert "power_cycle_card" not in asked
    assert "close_context" not in asked
    assert waits[0] is waits[-1] is True


@pytest.mark.parametrize(("outcome", "rungs"), [
    # The rungs by failures in a row: data context from the 2nd, radio at the 4th and not again within the hour.
    ('NetError("no answer")', ["close_context", "close_context", "power_cycle_card"] + ["close_context"] * 3),
    ('"heard"', []),  # an eIM that answers says that everything below works
    ('ServerError("unreadable")', []),
    ('EimFailed("1 of 2 eIMs are still to be served")', []),
])
async def test_a_failure_at_the_eim_climbs_the_ladder_rung_by_rung(
        micropython: Run, outcome: str, rungs: list[str]) -> None:
    (asked,) = await play(micropython, f"""
modem = Modem()
one = agent(modem, Bare())
Eims(one, {outcome})
asyncio.run(polls(one, 8))
print([word for word in modem.asked if word in ("close_context", "power_cycle_card", "reset")])
""")
    assert asked[:2] == rungs[:2]
    assert asked.count("power_cycle_card") == rungs.count("power_cycle_card")
    assert "reset" not in asked


async def test_a_context_that_does_not_come_up_costs_one_attach_an_hour(micropython: Run) -> None:
    (asked,) = await play(micropython, """
modem = Modem(open_context=[SocketError("no data connection with APN 'iot'")])
one = agent(modem, Bare())
Eims(one, True)
asyncio.run(polls(one, 8))
print(modem.asked)
""")
    assert asked.count("power_cycle_card") == 1
    assert asked.count("open_context") == 8 * 3  # three tries in each poll
    assert asked.count("close_context") >= 5


async def test_a_modem_that_has_forgotten_the_apn_is_told_it_again_once_an_hour(micropython: Run) -> None:
    (asked,) = await play(micropython, """
class Forgetful(Modem):
    async def join(self, apn, timeout_ms):
        self.other_apn = False
        await super().join(apn, timeout_ms)
    async def open_context(self, apn):
        await super().open_context(apn)
        if self.other_apn:
            raise SocketError("the attach has another APN")
modem = Forgetful()
one = agent(modem, Bare())
Eims(one, True)
asyncio.run(polls(one, 1))
modem.asked = []
for _ in range(2):
    modem.other_apn = True
    asyncio.run(polls(one, 1))
print(modem.asked)
""")
    assert asked[:3] == ["open_context", "join", "open_context"]
    assert asked.count("join") == 1
    assert "power_cycle_card" not in asked


async def test_a_network_that_is_away_is_waited_for_and_not_searched_anew(micropython: Run) -> None:
    (asked,) = await play(micropython, """
class Away(Modem):
    def registered(self):
        return False
modem = Away(join=[NoRegistration("modem: searching")])
one = agent(modem, Bare())
Eims(one, True)
asyncio.run(polls(one, 8))
print(modem.asked)
""")
    assert "power_cycle_card" not in asked
    assert asked.count("join") == 8


async def test_a_modem_that_no_longer_looks_for_a_network_is_told_to_and_then_begins_again_once_an_hour(
        micropython: Run) -> None:
    (asked,) = await play(micropython, """
class Idle(Modem):
    def registered(self):
        return False
    def searching(self):
        return self.asked.count("join") == 1
    async def select_network(self, anew=False):
        self.asked.append("select_network")
modem = Idle(join=[NoRegistration("modem: unknown")])
one = agent(modem, Bare())
Eims(one, True)
asyncio.run(polls(one, 1))
modem.asked = []
asyncio.run(polls(one, 6))
print([word for word in modem.asked if word in ("select_network", "power_cycle_card")])
""")
    assert asked == ["select_network", "power_cycle_card"]


async def test_a_network_that_comes_ends_the_waiting(micropython: Run) -> None:
    (asked, left) = await play(micropython, """
class Away(Modem):
    here = False
    def registered(self):
        return self.here
modem = Away(join=[NoRegistration("modem: searching")])
settings["backoff_s"] = 3600
settings["stop_when_idle"] = True
one = agent(modem)
Eims(one, True)
async def life():
    task = asyncio.create_task(one.run())
    while not modem.on_registered:
        await asyncio.sleep_ms(10)
    print([one.state, one.next_poll_ms() > 2000000])
    modem.here, modem.faults = True, {}
    modem.on_registered()
    await asyncio.wait_for(task, 20)
asyncio.run(life())
print([one.layers.failures, one.state])
""")
    assert asked == ["sleeping", True]
    assert left == [[0, 0, 0, 0, 0], "polling"]


async def test_the_end_of_the_ladder_is_modem_and_board_and_the_count_goes_on_over_it(micropython: Run) -> None:
    lives = await play(micropython, """
for life in range(2):
    modem = Modem(start=[AtTimeout("modem does not answer AT")])
    one = agent(modem)
    waits = asyncio.run(polls(one, 20))
    print([len(waits), waits[-1], Journal("journal").get("failures"), modem.asked.count("reset")])
""")
    # Of eight failures the ladder ends with the ninth poll. The modem was reset before, from its second failure on.
    assert [life[:3] for life in lives] == [[9, "reset", 8], [9, "reset", 16]]
    assert all(life[3] == 7 for life in lives)


async def test_an_eim_that_answers_and_is_no_good_restarts_the_board_alone(micropython: Run) -> None:
    (waits, asked) = await play(micropython, """
modem = Modem()
one = agent(modem)
Eims(one, "heard")
waits = asyncio.run(polls(one, 20))
print([len(waits), waits[-1]])
print(modem.asked)
""")
    assert waits == [9, "reset"]
    assert not {"reset", "power_cycle_card", "close_context"} & set(asked)


async def test_one_eim_that_stays_away_while_others_are_served_restarts_nothing(micropython: Run) -> None:
    (waits, asked) = await play(micropython, """
modem = Modem()
one = agent(modem)
Eims(one, EimFailed("1 of 2 eIMs are still to be served"))
print([len(asyncio.run(polls(one, 20)))])
print(modem.asked)
""")
    assert waits == [20]
    assert not {"reset", "power_cycle_card", "close_context"} & set(asked)


async def test_a_defect_of_ours_is_a_failed_poll_like_any_other_and_is_printed(micropython: Run) -> None:
    out = await micropython(PRELUDE + """
one = agent(Modem(), Bare())
Eims(one, KeyError(7))
asyncio.run(polls(one, 3))
print(one.layers.failures)
""", heapsize="216K")
    lines = out.splitlines()
    assert lines.count("KeyError: 7") == 3
    assert lines[-1] == "[0, 0, 0, 0, 3]"


MEMORY = ['MemoryError("allocating 16717 bytes")', "OSError(12)"]


@pytest.mark.parametrize("error", MEMORY)
async def test_want_of_memory_resets_the_board_at_once_and_is_no_lost_connection(micropython: Run, error: str) -> None:
    before, after = await play(micropython, f"""
Journal("journal").set(switch=dict(eim="61", undo="rollback", left=40))
one = agent(Modem())
one.layers.reset_due = False
Eims(one, {error})
print([asyncio.run(polls(one, 5)), Journal("journal").get("switch")["left"]])
settings["stop_when_idle"] = True
two = agent(Modem())
Eims(two, True)
asyncio.run(two.run())
print([Journal("journal").get("switch")["left"], Journal("journal").get("short")])
""")
    assert before == [["reset"], 40]
    assert after == [40, None]  # the reboot took nothing of the window, and a poll that worked ends the count


async def test_a_board_without_a_block_for_tls_begins_again_before_the_modem_is_asked(micropython: Run) -> None:
    (told,) = await play(micropython, """
class Small(Board):
    tls_bytes = 10 << 20
modem = Modem()
one = agent(modem, Small())
one.layers.reset_due = False
Eims(one, True)
print([asyncio.run(polls(one, 5)), modem.asked, Journal("journal").get("short")])
""")
    assert told == [["reset"], [], 1]


async def test_the_block_for_tls_is_kept_between_polls_and_free_for_its_handshake(micropython: Run) -> None:
    (free,) = await play(micropython, """
import gc
from ipa import net

class Roomy(Board):
    tls_bytes = 17408
free = []
one = agent(Modem(), Roomy())
Eims(one, True)

def look():
    gc.collect()
    free.append(gc.mem_free())

async def life():
    await polls(one, 1)
    look()
    net.free_room()
    look()
asyncio.run(life())
print(free)
""")
    assert free[1] - free[0] > 16000


async def test_a_board_that_has_no_memory_again_and_again_waits_longer_before_each_poll(micropython: Run) -> None:
    (waits,) = await play(micropython, """
from ipa.recovery import Recovery
settings["backoff_s"] = 10
journal = Journal("journal")
waits = []
for short in range(5):
    journal.set(short=short)
    one = agent(Modem(), journal=journal)
    waits.append(Recovery(one.layers, journal, settings, Board()).resume(0))
print(waits)
""")
    assert waits[:2] == [0, 0]
    assert waits[2] < waits[3] < waits[4] or waits[2] * 1.2 < waits[4]


NOT_LOST = ['UnexpectedAnswer("BF2D where BF22 was due")', 'ServerError("unreadable")', "KeyError(1)", "OSError(28)",
            'ModemError("+CME ERROR: 14")']


@pytest.mark.parametrize("error", NOT_LOST)
async def test_only_a_lost_connection_takes_of_the_window_of_a_switch(micropython: Run, error: str) -> None:
    """SGP.32 3.3.2"""
    (left,) = await play(micropython, f"""
Journal("journal").set(switch=dict(eim="61", undo="rollback", left=40))
one = agent(Modem(), Bare())
one.layers.reset_due = False
Eims(one, {error})
asyncio.run(polls(one, 3))
print([Journal("journal").get("switch")["left"]])
""")
    assert left == [40]


async def test_a_lost_connection_takes_of_the_window(micropython: Run) -> None:
    (left,) = await play(micropython, """
Journal("journal").set(switch=dict(eim="61", undo="rollback", left=40))
one = agent(Modem(), Bare())
one.layers.reset_due = False
Eims(one, NetError("no answer"))
asyncio.run(polls(one, 3))
print([Journal("journal").get("switch")["left"]])
""")
    assert left[0] < 40


async def test_a_flash_that_takes_nothing_more_neither_stops_the_polls_nor_makes_them_come_every_minute(
        micropython: Run) -> None:
    (waits,) = await play(micropython, """
class Full(Journal):
    def set(self, **changes):
        raise OSError(28)
settings["backoff_s"] = 10
Journal("journal").set(failures=3, profile="98" * 10, imei="490154203237518")
one = agent(Modem(), journal=Full("journal"))
one.layers._look = one.layers._identify_device = lambda *args: asyncio.sleep(0)
Eims(one, True)
waits = asyncio.run(polls(one, 10))
print([len(waits), waits[3] > waits[0], waits[-1]])
""")
    assert waits == [6, True, "reset"]


async def test_the_product_hears_of_polls_of_profiles_and_of_the_network_going(micropython: Run) -> None:
    """A handler that fails is the product's own business."""
    (heard,) = await play(micropython, """
heard = []
def handler(event, detail):
    heard.append((event, detail if isinstance(detail, (bool, str)) else type(detail).__name__))
def broken(event, detail):
    raise ValueError("the product's")
Journal("journal").set(profile="77" * 10, switch=dict(eim="61"))
one = agent(Modem(), Bare())
one.on(broken)
one.on(handler)
Eims(one, True, NetError("no answer"))
asyncio.run(polls(one, 2))
print(heard)
""")
    assert heard == [(2, "the card is reset"), (1, "98" * 10), (3, True), (3, "NetError")]


async def test_the_product_has_the_modem_to_itself_for_as_long_as_it_leases_it(micropython: Run) -> None:
    (order,) = await play(micropython, """
modem = Modem()
one = agent(modem)
order = []
class Noted(Eims):
    async def poll(self):
        order.append("poll")
        return await super().poll()
Noted(one, True)
async def life():
    async with one.modem() as leased:
        order.append(leased is modem)
        task = asyncio.create_task(one.poll_once())
        await asyncio.sleep_ms(50)
        order.append("given back")
    await task
    order.append(one.under_way)
asyncio.run(life())
print(order)
""")
    assert order == [True, "given back", "poll", None]


async def test_a_lease_that_cannot_be_had_says_why_and_keeps_nobody_out(micropython: Run) -> None:
    out = await micropython(PRELUDE + """
from rooms import failing
modem = Modem(join=[NoRegistration("modem: searching")])
one = agent(modem)
async def lease():
    async with one.modem():
        pass
async def life():
    print(await failing(lease()))
    modem.faults = {}
    await lease()
    print("had")
asyncio.run(life())
""", heapsize="216K")
    assert out.splitlines() == ["NoRegistration modem: searching", "had"]


@pytest.mark.parametrize(("taken", "left"), [
    (True, [{"cause": 1, "undo": "fallback"}, {"from": "77", "left": 900}]),
    (False, [None, {"from": "77", "left": 0}]),
])
async def test_5_9_21_a_return_whose_outcome_nobody_knows_is_found_out_and_tried_again(
        micropython: Run, taken: bool, left: list[object]) -> None:
    (found,) = await play(micropython, f"""
from ipa import recovery
journal = Journal("journal")
trial = dict(cause=1, undo="fallback", was={{"from": "77", "left": 100}})
journal.set(switch=trial, fallback={{"from": "77", "left": 900}})
recovery.settle(journal, {taken})
print([journal.get("switch"), journal.get("fallback")])
""")
    assert found == left
