"""A UDP socket as the datagram stream that ipa.net.dtls wants, for scripts inside MicroPython.

``lose_out`` and ``lose_in`` name the datagrams, counted from 0, that get lost on the way.
"""

UDP = '''
import asyncio, errno, io, socket, time

class Udp(io.IOBase):
    def __init__(self, port, lose_out=(), lose_in=(), delay_ms=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
        self.socket.setblocking(False)
        self.lose_out, self.lose_in, self.delay_ms = lose_out, lose_in, delay_ms
        self.sent = self.received = 0
        self.closed = False
        self.late = []

    def _take(self):
        try:
            data = self.socket.recv(2000)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return
        self.received += 1
        if self.received - 1 not in self.lose_in:
            self.late.append((time.ticks_add(time.ticks_ms(), self.delay_ms), data))

    def readinto(self, buf):
        self._take()
        if not self.late or time.ticks_diff(self.late[0][0], time.ticks_ms()) > 0:
            return None
        data = self.late.pop(0)[1]
        buf[:len(data)] = data
        return len(data)

    def write(self, buf):
        self.sent += 1
        if self.sent - 1 not in self.lose_out:
            self.socket.send(buf)
        return len(buf)

    def ioctl(self, op, arg):
        return 0

    async def wait(self, ms):
        await asyncio.sleep_ms(min(ms, 5))

    def close(self):
        assert not self.closed
        self.closed = True
        self.socket.close()
'''
