"""Which eIMs a card obeys: AddInitialEim and the eCOs, each with its results (SGP.32 3.5.1, 5.9.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from euicc_peer import Eim, Terminal, code
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto.pki import Credential, Pki
from odd_certificates import crl, forged, issued

ADD, DELETE, UPDATE, LIST = 0xA8, 0xA9, 0xAA, tlv(0xAB)
FOREIGN_CI = tlv(0x88, bytes(20))
Run = Callable[..., list[str]]


@pytest.fixture
def run(terminal: Terminal, eim: Eim) -> Run:
    return lambda *operations: eim.run(terminal, *operations, eco=True)


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    """The signing key of an eIM under another roof."""
    return Pki.open(tmp_path_factory.mktemp("other")).eim_signing


def second(eim: Eim, **changes: object) -> Eim:
    return replace(eim, eim_id="second.example", counter=0, token=None, **changes)  # type: ignore[arg-type]


def delete_eim(eim_id: bytes) -> bytes:
    return tlv(DELETE, tlv(0x80, eim_id))


def configurations(terminal: Terminal, search: str = "BF5500") -> dict[str, Tlv]:
    return {item[0x80].value.decode(): item for item in parse(terminal.es10(search))[0xA0]}


def without(configuration: bytes, *tags: int) -> bytes:
    whole = parse(configuration)
    return tlv(whole.tag, *(item.raw for item in whole if item.tag not in tags))


def initial(terminal: Terminal, *configured: bytes) -> str:
    """The result of AddInitialEim."""
    return code("AddInitialEimResponse", terminal.es10(tlv(0xBF57, tlv(0xA0, *configured))))


# ---- AddInitialEim


@pytest.mark.covers("es10b.addInitialEim.ok", "EimConfigurationData.associationToken")
def test_5_9_4_add_initial_eim_answers_each_with_its_token_or_ok(terminal, pki):
    eims = [Eim(pki, eim_id=f"eim{number}.example") for number in range(3)]
    listed = [eims[0].configuration(), eims[1].configuration(token=None), eims[2].configuration()]
    answer = terminal.es10(tlv(0xBF57, tlv(0xA0, *listed)))
    assert [item.raw for item in parse(answer)[0xA0]] == [integer(0x84, 1), tlv(0x05), integer(0x84, 2)]
    assert list(configurations(terminal)) == ["eim0.example", "eim1.example", "eim2.example"]


@pytest.mark.covers("es10b.addInitialEim.associatedEimAlreadyExists")
def test_5_9_4_add_initial_eim_only_while_there_is_none(terminal, eim):
    assert initial(terminal, second(eim).configuration()) == "associatedEimAlreadyExists"
    assert list(configurations(terminal)) == [eim.eim_id]


@pytest.mark.covers(
    "es10b.addInitialEim.insufficientMemory",
    "es10b.addInitialEim.ciPKUnknown",
    "EimConfigurationData.euiccCiPKId",
    "es10b.addInitialEim.invalidAssociationToken",
    "es10b.addInitialEim.counterValueOutOfRange",
    "es10b.addInitialEim.commandError",
)
@pytest.mark.parametrize("result", [
    "insufficientMemory", "ciPKUnknown", "invalidAssociationToken", "counterValueOutOfRange", "commandError",
])  # fmt: skip
def test_5_9_4_add_initial_eim_takes_all_or_nothing(terminal, pki, result):
    good = Eim(pki, eim_id="good.example").configuration()
    eim = Eim(pki)
    bad = {
        "insufficientMemory": [Eim(pki, eim_id=f"{number}.example").configuration() for number in range(8)],
        "ciPKUnknown": [eim.configuration(FOREIGN_CI)],
        "invalidAssociationToken": [eim.configuration(token=5)],
        "counterValueOutOfRange": [replace(eim, counter=1 << 31).configuration()],
        "commandError": [without(eim.configuration(), 0xA5)],
    }
    assert initial(terminal, good, *bad[result]) == result
    assert configurations(terminal) == {}
    assert initial(terminal, good) == "ok"
    assert configurations(terminal)["good.example"][0x84].value == b"\x01"


# ---- addEim


@pytest.mark.covers("eco.addEim.associationToken")
@pytest.mark.covers("EimConfigurationData.counterValue", "EimConfigurationData.eimPublicKeyData.eimPublicKey")
def test_3_5_1_1_an_added_eim_commands_with_its_own_counter_and_token(terminal, eim, run):
    new = second(eim)
    answer = terminal.es10(eim.package(new.configuration(tag=ADD), eco=True))
    assert eim.results(answer)[0][0x84].value == b"\x02"  # the next of the card's one row of tokens
    new.token = 2
    assert new.run(terminal, LIST, eco=True) == ["listEim.ok"]
    assert eim.run(terminal, LIST, eco=True) == ["listEim.ok"]


@pytest.mark.covers("eco.addEim.ok")
def test_3_5_1_1_an_eim_without_a_token_signs_with_84_01_00(terminal, eim, run):
    new = second(eim)
    answer = terminal.es10(eim.package(new.configuration(tag=ADD, token=None), eco=True))
    assert eim.results(answer)[0].raw == tlv(0xA8, integer(0x02, 0))
    assert new.suffix == bytes.fromhex("840100")
    assert new.run(terminal, LIST, eco=True) == ["listEim.ok"]


@pytest.mark.covers("EimConfigurationData.eimPublicKeyData.eimCertificate")
def test_2_11_1_an_eim_key_may_come_as_a_certificate(terminal, pki):
    eim = Eim(pki)
    fields = parse(without(eim.configuration(token=None), 0xA5)).value
    certificate = tlv(0xA5, tlv(0xA1, parse(pki.eim_signing.der).value))
    assert initial(terminal, tlv(0x30, fields, certificate)) == "ok"
    assert eim.run(terminal, LIST, eco=True) == ["listEim.ok"]


def certified(eim: Eim, credential: Credential) -> bytes:
    """The eIM's configuration with a certificate in place of the bare key."""
    fields = parse(without(eim.configuration(token=None), 0xA5)).value
    return tlv(0x30, fields, tlv(0xA5, tlv(0xA1, parse(credential.der).value)))


def test_2_11_1_an_eim_certificate_that_the_cards_ci_did_not_make_is_commandError(terminal, pki):
    genuine = issued(pki.ci, None)
    for wrong in (
        forged(genuine, issued(pki.ci, None)),  # names the CI's key, and another has signed it
        issued(pki.ci, None, ca=True),
        issued(pki.ci, None, age=2),
    ):
        assert initial(terminal, certified(Eim(pki, signer=wrong), wrong)) == "commandError"
    assert initial(terminal, certified(Eim(pki, signer=genuine), genuine)) == "ok"


def test_2_11_1_a_revoked_eim_certificate_is_commandError(terminal, pki):
    revoked = issued(pki.ci, None)
    terminal.es10(tlv(0xBF35, crl(pki.ci, revoked.certificate)))
    assert initial(terminal, certified(Eim(pki, signer=revoked), revoked)) == "commandError"


def test_2_11_1_an_eim_certificate_of_an_issuer_the_card_does_not_know_counts_as_a_key(terminal, pki):
    own = issued(pki.operators, None)
    eim = Eim(pki, signer=own)
    assert initial(terminal, certified(eim, own)) == "ok"
    assert eim.run(terminal, LIST, eco=True) == ["listEim.ok"]


ADD_RESULTS: dict[str, Callable[[Eim], bytes]] = {
    "associatedEimAlreadyExists": lambda eim: eim.configuration(tag=ADD),
    "ciPKUnknown": lambda eim: second(eim).configuration(FOREIGN_CI, tag=ADD),
    "invalidAssociationToken": lambda eim: second(eim).configuration(token=1, tag=ADD),
    "counterValueOutOfRange": lambda eim: replace(second(eim), counter=-1).configuration(tag=ADD),
}


@pytest.mark.covers(*(f"eco.addEim.{result}" for result in ADD_RESULTS))
@pytest.mark.parametrize("result", ADD_RESULTS)
def test_3_5_1_1_add_eim_refuses(terminal, eim, run, result):
    assert run(ADD_RESULTS[result](eim)) == [f"addEim.{result}"]
    assert list(configurations(terminal)) == [eim.eim_id]


@pytest.mark.covers("eco.addEim.insufficientMemory")
def test_3_5_1_1_a_card_has_room_for_eight_eims(terminal, eim, run):
    added = [replace(second(eim), eim_id=f"{number}.example").configuration(tag=ADD) for number in range(8)]
    assert run(*added) == ["addEim.ok"] * 7 + ["addEim.insufficientMemory"]


@pytest.mark.covers("eco.addEim.commandError")
@pytest.mark.parametrize("lacking", [0x80, 0x83, 0xA5])
def test_3_5_1_1_add_eim_needs_name_counter_and_key(eim, run, lacking):
    assert run(without(second(eim).configuration(tag=ADD), lacking)) == ["addEim.commandError"]


@pytest.mark.covers("eco.addEim.commandError")
@pytest.mark.parametrize("field", [
    tlv(0xA5, tlv(0xA0, b"\x30\x00")), tlv(0xA5, tlv(0xA1, b"\x30\x00")), tlv(0x80), tlv(0x80, b"x" * 129),
    tlv(0x80, b"\xff"), tlv(0xA6, tlv(0xA0, b"\x30\x00")),
])  # fmt: skip
def test_3_5_1_1_add_eim_wants_fields_it_can_use(eim, run, field):
    whole = without(second(eim).configuration(tag=ADD), parse(field).tag)
    assert run(tlv(ADD, parse(whole).value, field)) == ["addEim.commandError"]


def test_2_2_a_deleted_and_added_eim_has_a_new_token_and_old_packages_are_worth_nothing(terminal, eim, run):
    new = second(eim)
    run(new.configuration(tag=ADD))
    new.token = 2
    kept = new.package(LIST, eco=True)
    assert run(delete_eim(b"second.example"), replace(new, counter=0).configuration(tag=ADD)) == [
        "deleteEim.ok",
        "addEim.ok",
    ]
    assert configurations(terminal)["second.example"][0x84].value == b"\x03"
    assert 0xA2 in parse(terminal.es10(kept))
    terminal.es10("BF640482020204")  # forget all eIMs: tokens go on all the same
    assert parse(terminal.es10(tlv(0xBF57, tlv(0xA0, eim.configuration()))))[0xA0][0x84].value == b"\x04"


# ---- deleteEim


@pytest.mark.covers("eco.deleteEim.ok", "eco.deleteEim.eimNotFound", "eco.deleteEim.commandError")
def test_3_5_1_2_delete_eim(terminal, eim, run):
    run(second(eim).configuration(tag=ADD))
    assert run(*map(delete_eim, (b"second.example", b"second.example", b"", b"\xff", b"x" * 129))) == [
        "deleteEim.ok",
        "deleteEim.eimNotFound",
        "deleteEim.commandError",
        "deleteEim.commandError",
        "deleteEim.commandError",
    ]


@pytest.mark.covers("eco.deleteEim.lastEimDeleted")
def test_3_5_1_2_an_eim_may_delete_itself_and_the_last_makes_room_for_an_initial_one(terminal, eim, run):
    assert run(delete_eim(eim.eim_id.encode())) == ["deleteEim.lastEimDeleted"]
    assert 0xA2 in parse(terminal.es10(eim.package(LIST, eco=True)))
    assert initial(terminal, second(eim).configuration()) == "ok"


# ---- updateEim


def update(eim: Eim, *fields: bytes) -> bytes:
    return tlv(UPDATE, tlv(0x80, eim.eim_id.encode()), *fields)


@pytest.mark.covers("eco.updateEim.ok")
def test_3_5_1_3_update_changes_what_is_given_and_keeps_the_token(terminal, eim, run):
    assert run(update(eim, tlv(0x81, b"new.example:5683"), integer(0x84, 77))) == ["updateEim.ok"]
    known = configurations(terminal)[eim.eim_id]
    assert (known[0x81].value, known[0x84].value) == (b"new.example:5683", b"\x01")
    assert 0xA5 in known


@pytest.mark.covers("eco.updateEim.ok")
def test_3_5_1_3_a_key_is_changed_and_the_counter_may_begin_anew(terminal, eim, run, other_key):
    key = tlv(0xA5, tlv(0xA0, parse(other_key.spki).value))
    assert run(update(eim, integer(0x83, 0), key)) == ["updateEim.ok"]
    assert 0xA2 in parse(terminal.es10(eim.package(LIST, eco=True)))  # signed with the old key
    renewed = replace(eim, signer=other_key, counter=0)
    assert renewed.run(terminal, LIST, eco=True) == ["listEim.ok"]


@pytest.mark.covers("eco.updateEim.counterValueOutOfRange")
@pytest.mark.parametrize("form", ["SubjectPublicKeyInfo", "Certificate"])
def test_3_5_1_3_the_counter_does_not_begin_anew_with_the_key_of_before(terminal, eim, run, pki, form):
    own = pki.eim_signing
    whole = own.der if form == "Certificate" else own.spki
    key = tlv(0xA5, tlv(0xA1 if form == "Certificate" else 0xA0, parse(whole).value))
    old = eim.package(LIST, eco=True)
    terminal.es10(old)
    assert run(update(eim, integer(0x83, 0), key)) == ["updateEim.counterValueOutOfRange"]
    assert parse(terminal.es10(old))[0xA1][0x30][0x02].value == b"\x04"  # replayError


@pytest.mark.covers(
    "eco.updateEim.eimNotFound",
    "eco.updateEim.ciPKUnknown",
    "eco.updateEim.counterValueOutOfRange",
    "eco.updateEim.commandError",
)
def test_3_5_1_3_update_refuses(eim, run):
    refused = {
        update(second(eim)): "eimNotFound",
        update(eim, FOREIGN_CI): "ciPKUnknown",
        update(eim, integer(0x83, 0)): "counterValueOutOfRange",  # lower, and the key is the same
        update(eim, integer(0x83, 1 << 31)): "counterValueOutOfRange",
        update(eim, tlv(0xA5, tlv(0xA0, b"\x30\x00"))): "commandError",
        tlv(UPDATE): "commandError",
    }
    assert run(*refused) == [f"updateEim.{result}" for result in refused.values()]


# ---- listEim, GetEimConfigurationData


@pytest.mark.covers("eco.listEim.ok", "EimConfigurationData.eimId", "EimConfigurationData.eimIdType")
def test_3_5_1_4_list_eim_gives_names_and_their_types(terminal, eim, run):
    run(second(eim).configuration(tlv(0x82, b"\x02"), tag=ADD))
    answer = terminal.es10(eim.package(LIST, eco=True))
    names = [item.value for item in eim.results(answer)[0][0xA0]]
    assert names == [tlv(0x80, b"eim.microipa.example"), tlv(0x80, b"second.example") + b"\x82\x01\x02"]


@pytest.mark.covers("es10b.getEimConfigurationData.ok", "EimConfigurationData.indirectProfileDownload")
def test_5_9_18_configuration_is_as_given_with_the_token_and_without_the_counter(terminal, pki):
    eim = Eim(pki, counter=300)
    extra = tlv(0xA6, tlv(0xA1, parse(pki.ci.der).value)), bytes.fromhex("87020640"), tlv(0x89)
    given = parse(eim.configuration(*extra))
    assert initial(terminal, given.raw) == "ok"
    known = configurations(terminal)[eim.eim_id]
    assert [item.tag for item in known] == [0x80, 0x84, 0xA5, 0xA6, 0x87, 0x89]
    for tag in (0x80, 0xA5, 0xA6, 0x87, 0x89):
        assert known[tag].raw == given[tag].raw
    assert code("GetEimConfigurationDataResponse", terminal.es10("BF5500")) == "ok"


@pytest.mark.covers("es10b.getEimConfigurationData.ok")
def test_5_9_18_configuration_of_one_eim_or_none(terminal, eim, run):
    run(second(eim).configuration(tag=ADD))
    search = tlv(0xBF55, tlv(0xA0, tlv(0x80, b"second.example"))).hex()
    assert list(configurations(terminal, search)) == ["second.example"]
    assert terminal.es10(tlv(0xBF55, tlv(0xA0, tlv(0x80, b"third.example")))) == bytes.fromhex("BF5502A000")


def test_a_configuration_field_of_v1_3_is_skipped(terminal, pki):
    assert initial(terminal, Eim(pki).configuration(tlv(0xAA, b"\x80\x00"))) == "ok"
    assert 0xAA not in configurations(terminal)["eim.microipa.example"]
