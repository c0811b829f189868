# Runs inside MicroPython: DTLS over our own datagram stream to the eIM of test_eim_dtls.py.
# argv: port, CI certificate file, datagrams of ours to lose ("0,2" or "-"), application message
import io
import socket
import sys
import time

import tls


class Datagrams(io.IOBase):
    def __init__(self, sock, lose):
        self.sock = sock
        self.lose = lose
        self.count = 0

    def readinto(self, buf):
        try:
            return self.sock.readinto(buf)
        except OSError:
            return None

    def write(self, buf):
        number = self.count
        self.count += 1
        return len(buf) if number in self.lose else self.sock.write(buf)


port, ca, lose, message = sys.argv[1:]
with open(ca, "rb") as file:
    certificate = file.read()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(socket.getaddrinfo("127.0.0.1", int(port))[0][-1])
sock.setblocking(False)
context = tls.SSLContext(tls.PROTOCOL_DTLS_CLIENT)
context.verify_mode = tls.CERT_REQUIRED
context.load_verify_locations(certificate)
context.set_ciphers(["TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"])
stream = Datagrams(sock, [int(n) for n in lose.split(",")] if lose != "-" else [])
session = context.wrap_socket(stream, server_hostname="eim.microipa.example", do_handshake_on_connect=False)
end = time.ticks_add(time.ticks_ms(), 20000)
while session.send(message) is None and time.ticks_diff(end, time.ticks_ms()) > 0:
    time.sleep_ms(5)
answer = bytearray(2000)
while time.ticks_diff(end, time.ticks_ms()) > 0:
    count = session.recv_into(answer)
    if count:
        print(session.cipher()[0], str(answer[:count], "utf-8"), stream.count)
        break
    time.sleep_ms(5)
