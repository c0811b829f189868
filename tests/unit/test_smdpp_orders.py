"""Download orders: states, limits, and what several processes share."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest
from microipa import saip
from microipa.crypto.pki import Pki
from microipa.smdpp import OrderInvalid, OrderState, OrderStateError, Refused, ServerBusy, Smdpp
from microipa.smdpp.identity import Identity
from microipa.smdpp.sessions import Authenticated, Sessions
from microipa.smdpp.store import Order, Store
from microipa.storage.database import StoreBusy
from microipa.storage.schema import StoreUnusable

EID = "89049032123451234512345678901235"


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def smdpp(pki, tmp_path) -> Smdpp:
    return Smdpp(pki, tmp_path)


@pytest.fixture(scope="module")
def profile() -> bytes:
    return saip.build(
        saip.ProfileSpec(iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16))
    )


def test_4_1_an_order_has_an_activation_code_with_a_matching_id_hard_to_guess(smdpp, profile):
    matching_id = smdpp.add_profile(profile)
    assert smdpp.activation_code(matching_id) == f"LPA:1$smdpp.microipa.example${matching_id}"
    assert len(set(matching_id.replace("-", ""))) > 4
    assert smdpp.add_profile(profile) != matching_id


def test_an_order_says_what_it_is(smdpp, profile):
    matching_id = smdpp.add_profile(profile, matching_id="ROOM-101", eid=EID)
    (order,) = smdpp.orders()
    assert (order.matching_id, order.eid, order.state) == (matching_id, EID, OrderState.RELEASED)
    assert order.iccid == saip.ProfilePackage.parse(profile).iccid
    assert order.attempts == 0


@pytest.mark.parametrize("matching_id", ["small", "A B", "A$B", "A" * 300, "ROOM-101\n"])
def test_4_1_a_matching_id_no_activation_code_can_carry_is_refused(smdpp, profile, matching_id):
    with pytest.raises(OrderInvalid):
        smdpp.add_profile(profile, matching_id=matching_id)


def test_a_matching_id_is_given_once(smdpp, profile):
    smdpp.add_profile(profile, matching_id="ROOM-101")
    with pytest.raises(OrderInvalid, match="taken"):
        smdpp.add_profile(profile, matching_id="ROOM-101")


@pytest.mark.parametrize("eid", ["", "8904", EID + "0", EID[:-1] + "F"])
def test_an_eid_that_is_none_is_refused(smdpp, profile, eid):
    with pytest.raises(OrderInvalid, match="32 digits"):
        smdpp.add_profile(profile, eid=eid)


def test_what_is_no_profile_package_is_refused(smdpp):
    with pytest.raises(saip.SaipError):
        smdpp.add_profile(b"\x30\x00")
    with pytest.raises(OrderInvalid, match="limit"):
        smdpp.add_profile(bytes(1_000_001))


def test_no_activation_code_without_an_order(smdpp):
    with pytest.raises(OrderInvalid, match="no order"):
        smdpp.activation_code("ROOM-101")


def test_3_1_6_a_state_is_not_skipped(smdpp):
    order = Order(matching_id="ROOM-101", state=OrderState.CONFIRMED)
    with pytest.raises(OrderStateError, match="ROOM-101 is confirmed and cannot become downloaded"):
        order.move(OrderState.DOWNLOADED)


def test_the_database_with_its_keys_is_for_its_owner_only(smdpp, profile, tmp_path):
    smdpp.add_profile(profile)
    for path in tmp_path.glob("smdpp.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_share_the_orders(smdpp, tmp_path, profile):
    (tmp_path / "profile.der").write_bytes(profile)
    script = (
        "import sys; from pathlib import Path\n"
        "from microipa.crypto.pki import Pki; from microipa.smdpp import Smdpp\n"
        "folder = Path(sys.argv[1]); smdpp = Smdpp(Pki.open(folder / 'pki'), folder)\n"
        "smdpp.add_profile((folder / 'profile.der').read_bytes(), matching_id='FROM-OUTSIDE')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert [order.matching_id for order in smdpp.orders()] == ["FROM-OUTSIDE"]


def test_a_database_somebody_sits_on_is_busy_not_broken(smdpp, tmp_path, monkeypatch):
    monkeypatch.setattr("microipa.storage.database.BUSY_TIMEOUT_MS", 1)
    other = sqlite3.connect(tmp_path / "smdpp.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="locked"):
        smdpp.cancel("ROOM-101")
    assert smdpp.orders() == []  # whoever only reads waits for nobody
    other.close()
    with pytest.raises(OrderInvalid):
        smdpp.cancel("ROOM-101")


def test_a_refusal_keeps_what_it_changed_an_error_does_not(tmp_path):
    store = Store(tmp_path / "smdpp.sqlite")
    fields = {"iccid": "1", "package": b"", "profile_metadata": b""}

    def add_and_raise(matching_id: str, error: Exception) -> None:
        with store.work() as database:
            database.add(Order(matching_id=matching_id, **fields))
            database.flush()
            raise error

    with pytest.raises(Refused):
        add_and_raise("KEPT", Refused("8.2.7", "3.8", "no"))
    with pytest.raises(KeyError):
        add_and_raise("LOST", KeyError())
    with store.work() as database:
        assert store.find(database, "KEPT", EID)
        assert store.find(database, "LOST", EID) is None


def test_a_database_of_another_program_is_named_and_left_alone(tmp_path):
    path = tmp_path / "smdpp.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE orders (matching_id)")
    with pytest.raises(StoreUnusable, match="stays so: no such table: downloads"):
        Store(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("orders",)]
    assert Store(tmp_path / "new.sqlite")
    assert Store(tmp_path / "new.sqlite")


# sessions


@pytest.fixture(scope="module")
def identity(pki) -> Identity:
    return Identity.of(pki)


def authenticated(pki: Pki) -> Authenticated:
    credential = pki.euicc(EID)
    return Authenticated(EID, credential.certificate.public_key(), credential.der, 1, bytes(64))


def test_a_session_grows_too_old(pki, identity):
    now = 0.0
    sessions = Sessions(max_age=60, clock=lambda: now)
    kept, unproven = sessions.begin(identity), sessions.begin(identity)
    kept.authenticated = authenticated(pki)
    sessions.keep(kept)
    now = 60.0
    assert sessions.get(kept.transaction_id) is kept
    assert sessions.get(unproven.transaction_id) == unproven
    now = 60.5
    for session in (kept, unproven):
        with pytest.raises(Refused, match=r"8\.10\.1/3\.9"):
            sessions.get(session.transaction_id)


def test_sessions_begun_by_anybody_push_out_neither_those_that_proved_something_nor_those_that_will(pki, identity):
    sessions = Sessions(limit=3)
    proven, about_to = sessions.begin(identity), sessions.begin(identity)
    proven.authenticated = authenticated(pki)
    sessions.keep(proven)
    names = {sessions.begin(identity).transaction_id for _ in range(1000)}
    assert len(names) == 1000
    assert sessions.get(proven.transaction_id) is proven
    assert sessions.get(about_to.transaction_id) == about_to


def test_a_session_that_is_over_does_not_begin_again(pki, identity):
    sessions = Sessions()
    session = sessions.begin(identity)
    session.authenticated = authenticated(pki)
    sessions.keep(session)
    sessions.end_others(session.authenticated.order_id)
    with pytest.raises(Refused, match=r"8\.10\.1/3\.9"):
        sessions.get(session.transaction_id)


@pytest.mark.parametrize("place", range(16))
def test_a_transaction_id_that_we_did_not_give_is_unknown(identity, place):
    sessions = Sessions()
    name = bytearray(sessions.begin(identity).transaction_id)
    name[place] ^= 1
    with pytest.raises(Refused, match=r"8\.10\.1/3\.9"):
        sessions.get(bytes(name))


def test_each_session_has_a_challenge_of_its_own(identity):
    sessions = Sessions()
    assert len({sessions.begin(identity).server_challenge for _ in range(100)}) == 100


def test_downloads_under_way_are_not_pushed_out(pki, identity):
    sessions = Sessions(limit=2)
    for _ in range(2):
        session = sessions.begin(identity)
        session.authenticated = authenticated(pki)
        sessions.keep(session)
    with pytest.raises(ServerBusy, match="2 downloads"):
        sessions.keep(sessions.begin(identity))
