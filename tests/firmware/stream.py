"""A TCP socket as the stream that ipa.net.https wants, for scripts inside MicroPython."""

TCP = '''
import asyncio, errno, io, socket

class Tcp(io.IOBase):
    """``most`` is what one call takes or gives."""
    opened = 0

    def __init__(self, port, most=1 << 20):
        Tcp.opened += 1
        self.socket = socket.socket()
        self.socket.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
        self.socket.setblocking(False)
        self.most = most
        self.closed = False
        self.sent = 0

    def readinto(self, buf):
        return self._try(self.socket.readinto, memoryview(buf)[:self.most])

    def write(self, buf):
        n = self._try(self.socket.write, memoryview(buf)[:self.most])
        self.sent += n or 0
        return n

    def _try(self, call, buf):
        try:
            return call(buf)
        except OSError as error:
            return None if error.errno == errno.EAGAIN else -error.errno

    def ioctl(self, op, arg):
        return 0

    async def wait(self, ms):
        await asyncio.sleep_ms(min(ms, 2))

    def close(self):
        assert not self.closed
        self.closed = True
        self.socket.close()
'''
