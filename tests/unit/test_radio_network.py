"""The network: EPS AKA (TS 33.401, TS 33.102), coverage, access points, names."""

import asyncio

import pytest
from microipa.crypto.milenage import Milenage
from microipa.radio import AkaAnswer, AttachRefused, Network, NoCoverage, PdnRefused

IMSI = "901700000000001"
K, OPC = bytes(range(16)), bytes(range(16, 32))


class Usim:
    """A USIM of TS 33.102 6.3.3: checks MAC and SQN, answers RES or AUTS."""

    def __init__(self, imsi=IMSI, k=K, opc=OPC, sqn=0):
        self.imsi = imsi
        self.sqn = sqn
        self.milenage = Milenage(k, opc)
        self.challenges = 0

    async def authenticate(self, rand, autn):
        self.challenges += 1
        ak = self.milenage.f5(rand)
        sqn = bytes(x ^ y for x, y in zip(autn[:6], ak, strict=True))
        if self.milenage.f1(rand, sqn, autn[6:8]) != autn[8:]:
            return AkaAnswer()
        if int.from_bytes(sqn, "big") <= self.sqn:
            own = self.sqn.to_bytes(6, "big")
            concealed = bytes(x ^ y for x, y in zip(own, self.milenage.f5_star(rand), strict=True))
            return AkaAnswer(auts=concealed + self.milenage.f1_star(rand, own, bytes(2)))
        self.sqn = int.from_bytes(sqn, "big")
        return AkaAnswer(res=self.milenage.f2(rand))


@pytest.fixture
def network():
    network = Network()
    network.add_subscriber(IMSI, K, OPC)
    return network


async def test_right_keys_attach_at_home(network):
    attachment = await network.attach(Usim())
    assert (attachment.operator, attachment.roaming) == ("90170", False)


async def test_a_line_of_a_test_network_attaches_by_the_xor_algorithm_ts_34_108_8_1_2(network):
    network.add_subscriber("001010000000001", K, bytes(16), algorithm="usim-test-algorithm")

    class TestUsim:
        imsi = "001010000000001"

        async def authenticate(self, rand, autn):
            out = bytes(k ^ r for k, r in zip(K, rand, strict=True))
            counted = bytes(a ^ b for a, b in zip(autn[:6], out[3:9], strict=True)) + autn[6:8]
            assert autn[8:] == bytes(a ^ b for a, b in zip(out[:8], counted, strict=True))
            return AkaAnswer(res=out)

    await network.attach(TestUsim())
    network.add_subscriber("001010000000001", bytes(16), bytes(16), algorithm="usim-test-algorithm")
    with pytest.raises(AssertionError):  # another K, another MAC
        await network.attach(TestUsim())


async def test_another_operators_imsi_roams(network):
    network.add_subscriber("001010000000001", K, OPC, operator="90170")
    assert (await network.attach(Usim("001010000000001"))).roaming


async def test_sqn_out_of_range_is_resynchronised_ts_33_102_6_3_5(network):
    usim = Usim(sqn=1 << 20)
    await network.attach(usim)
    assert usim.challenges == 2
    assert usim.sqn == (1 << 20) + 32
    await network.attach(usim)
    assert usim.challenges == 3


@pytest.mark.parametrize("wrong", [{"k": bytes(16)}, {"opc": bytes(16)}])
async def test_wrong_keys_are_refused_as_illegal_ue(network, wrong):
    with pytest.raises(AttachRefused) as refused:
        await network.attach(Usim(**wrong))
    assert refused.value.cause == 3


async def test_a_wrong_res_is_refused(network):
    usim = Usim()

    async def lie(rand, autn):
        return AkaAnswer(res=bytes(8))

    usim.authenticate = lie
    with pytest.raises(AttachRefused, match="RES"):
        await network.attach(usim)


@pytest.mark.parametrize("auts", [bytes(14), bytes(13), b""])
async def test_a_forged_auts_is_refused_and_leaves_sqn_alone(network, auts):
    usim = Usim()

    async def lie(rand, autn):
        return AkaAnswer(auts=auts)

    honest, usim.authenticate = usim.authenticate, lie
    with pytest.raises(AttachRefused, match="AUTS"):
        await network.attach(usim)
    usim.authenticate = honest
    await network.attach(usim)
    assert usim.challenges == 1


async def test_an_unknown_imsi_is_refused_with_cause_8(network):
    with pytest.raises(AttachRefused) as refused:
        await network.attach(Usim("901700000000002"))
    assert refused.value.cause == 8


async def test_without_coverage_of_the_operator_there_is_no_cell(network):
    network.add_subscriber("001010000000001", K, OPC, operator="00101")
    network.set_coverage("90170", False)
    with pytest.raises(NoCoverage):
        await network.attach(Usim())
    assert (await network.attach(Usim("001010000000001"))).operator == "00101"
    assert network.operators == ["00101"]


async def test_coverage_decided_before_the_first_subscriber_stays():
    network = Network()
    network.set_coverage("90170", False)
    network.add_subscriber(IMSI, K, OPC)
    with pytest.raises(NoCoverage):
        await network.attach(Usim())


async def test_a_change_of_coverage_wakes_who_waits(network):
    waiting = asyncio.ensure_future(network.coverage_change())
    await asyncio.sleep(0)
    network.set_coverage("90170", False)
    await asyncio.wait_for(waiting, 1)


async def test_a_wrong_apn_is_refused_with_esm_cause_27(network):
    network.add_subscriber(IMSI, K, OPC, apns=["iot.example"])
    attachment = await network.attach(Usim())
    assert network.open_pdn(attachment, "IOT.example") != network.open_pdn(attachment, "iot.example")
    with pytest.raises(PdnRefused) as refused:
        network.open_pdn(attachment, "wrong")
    assert refused.value.cause == 27


async def test_names_lead_where_they_are_routed(network):
    network.add_subscriber(IMSI, K, OPC)
    attachment = await network.attach(Usim())
    network.route("EIM.example", 5684, ("127.0.0.1", 40000))
    assert network.resolve("eim.EXAMPLE", 5684) == ("127.0.0.1", 40000)
    assert network.knows(attachment, "eim.example")
    assert network.resolve("eim.example", 5683) is None
    assert not network.knows(attachment, "other.example")


def test_keys_are_not_shown(network):
    assert K.hex() not in repr(network._subscribers)
    assert repr(K) not in repr(network._subscribers)
