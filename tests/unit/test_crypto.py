"""BSP, Milenage and signatures against published values; every altered byte is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from microipa.crypto import ec
from microipa.crypto.bsp import MAX_PLAIN, MAX_SEGMENT, Bsp, BspError
from microipa.crypto.milenage import Milenage, MilenageError, opc

Z = bytes.fromhex("c9a993dd4879a8f7161f2085410edd4f9652f1df37be097ba96ba2ca6be528fe")
EID = bytes.fromhex("89049032123451234512345678901235")


def session() -> Bsp:
    return Bsp.from_secret(Z, b"\x80" * 8, EID)


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


class TestMilenage:
    """3GPP TS 35.207/35.208, test set 1."""

    k = bytes.fromhex("465b5ce8b199b49faa5f0a2ee238a6bc")
    rand = bytes.fromhex("23553cbe9637a89d218ae64dae47bf35")
    sqn = bytes.fromhex("ff9bb4d0b607")
    amf = bytes.fromhex("b9b9")
    op = bytes.fromhex("cdc202d5123e20f62b6d676ac72cb318")

    def test_opc(self):
        assert opc(self.k, self.op).hex() == "cd63cb71954a9f4e48a5994e37a02baf"

    def test_functions(self):
        m = Milenage(self.k, opc(self.k, self.op))
        assert m.f1(self.rand, self.sqn, self.amf).hex() == "4a9ffac354dfafb3"
        assert m.f1_star(self.rand, self.sqn, self.amf).hex() == "01cfaf9ec4e871e9"
        assert m.f2(self.rand).hex() == "a54211d5e3ba50bf"
        assert m.f3(self.rand).hex() == "b40ba9a3c58b2a05bbf0d987b21bf8cb"
        assert m.f4(self.rand).hex() == "f769bcd751044604127672711c6d3441"
        assert m.f5(self.rand).hex() == "aa689c648370"
        assert m.f5_star(self.rand).hex() == "451e8beca43b"

    def test_wrong_length_names_the_input_but_not_its_value(self):
        with pytest.raises(MilenageError, match="^K has 15 bytes") as error:
            Milenage(self.k[:15], self.k)
        assert self.k[:15].hex() not in str(error.value)
        with pytest.raises(MilenageError, match="SQN has 5"):
            Milenage(self.k, self.k).f1(self.rand, self.sqn[:5], self.amf)


class TestSignatures:
    key = ec.generate_key()

    def test_raw_signature_of_64_bytes(self):
        signature = ec.sign(self.key, b"data")
        assert len(signature) == 64
        ec.verify(self.key.public_key(), signature, b"data")

    def test_der_signature_is_accepted(self):
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        ec.verify(self.key.public_key(), self.key.sign(b"data", ECDSA(SHA256())), b"data")

    def test_every_flipped_byte_is_refused(self):
        signature = ec.sign(self.key, b"data")
        for position in range(64):
            with pytest.raises(ec.SignatureInvalid):
                ec.verify(self.key.public_key(), flipped(signature, position), b"data")
        with pytest.raises(ec.SignatureInvalid):
            ec.verify(self.key.public_key(), signature, b"dato")
        with pytest.raises(ec.SignatureInvalid):
            ec.verify(ec.generate_key().public_key(), signature, b"data")

    @pytest.mark.parametrize("signature", [b"", bytes(64), b"\xff" * 64, bytes(70), b"\x30\x00"])
    def test_junk_is_refused(self, signature):
        with pytest.raises(ec.SignatureInvalid):
            ec.verify(self.key.public_key(), signature, b"data")

    def test_both_sides_agree_on_32_bytes(self):
        a, b = ec.generate_key(), ec.generate_key()
        assert ec.ecdh(a, ec.point(b.public_key())) == ec.ecdh(b, ec.point(a.public_key()))
        assert len(ec.ecdh(a, ec.point(b.public_key()))) == 32

    def test_point_off_the_curve_is_refused(self):
        good = ec.point(self.key.public_key())
        assert ec.load_point(good) == self.key.public_key()
        for junk in (flipped(good, 64), good[:64], b"\x02" + good[1:33], b"\x05" + good[1:], b""):
            with pytest.raises(ec.PointInvalid):
                ec.load_point(junk)
            with pytest.raises(ec.PointInvalid):
                ec.ecdh(self.key, junk)


class TestBsp:
    """SGP.22 clause 2.5.4 and annex G."""

    def test_key_derivation_and_first_segment(self):
        assert session().encrypt(0x87, bytes.fromhex("bf2400")).hex() == (
            "8718f6fe031e4b9cfe87c8e1e62f3fde85c49412d7722a6a2d89"
        )
        bf24 = bytes.fromhex("bf2400")
        direct = Bsp(
            bytes.fromhex("406d507b448a699e7a36a38494debbde"),
            bytes.fromhex("472f5bfadd97f21d34f3ce9b51b92751"),
            bytes.fromhex("9ec07f5b36a13e12a991d66e294e6242"),
        )
        assert direct.encrypt(0x87, bf24) == session().encrypt(0x87, bf24)

    @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=MAX_PLAIN)), max_size=5))
    def test_a_session_opens_what_its_peer_protects(self, parts):
        sender, receiver = session(), session()
        for enciphered, plain in parts:
            if enciphered:
                assert receiver.open_encrypted(sender.encrypt(0x86, plain)) == plain
            else:
                assert receiver.open_mac(sender.mac(0x88, plain)) == plain

    def test_largest_segment(self):
        assert len(session().encrypt(0x86, bytes(MAX_PLAIN))) == MAX_SEGMENT
        with pytest.raises(BspError, match="1008 bytes do not fit"):
            session().encrypt(0x86, bytes(MAX_PLAIN + 1))

    def test_every_flipped_byte_is_refused_and_changes_nothing(self):
        enciphered, clear = session().encrypt(0x87, b"configure"), session().mac(0x88, b"metadata")
        receiver = session()
        for position in range(len(enciphered)):
            with pytest.raises(BspError):
                receiver.open_encrypted(flipped(enciphered, position))
        for position in range(len(clear)):
            with pytest.raises(BspError):
                receiver.open_mac(flipped(clear, position))
        assert receiver.open_encrypted(enciphered) == b"configure"

    def test_order_matters(self):
        sender, receiver = session(), session()
        first, second = sender.encrypt(0x86, b"1"), sender.encrypt(0x86, b"2")
        with pytest.raises(BspError, match="MAC of segment 86 number 1"):
            receiver.open_encrypted(second)
        receiver.open_encrypted(first)
        with pytest.raises(BspError, match="number 2"):
            receiver.open_encrypted(first)
        assert receiver.open_encrypted(second) == b"2"

    def test_padding_is_checked(self):
        """Data of one block that has a right MAC but no 80 in it."""
        forger = session()
        with pytest.raises(BspError, match="padding"):
            session().open_encrypted(forger.mac(0x86, bytes(16)))
        with pytest.raises(BspError, match="whole number of AES blocks"):
            session().open_encrypted(session().mac(0x86, bytes(15)))

    @given(st.binary(max_size=40))
    def test_junk_raises_nothing_else(self, junk):
        with pytest.raises(BspError):
            session().open_encrypted(junk)
