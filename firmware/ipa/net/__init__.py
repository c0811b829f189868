"""Between the assistant and its servers: channels (DTLS and CoAP, HTTPS) and the messages they carry."""


class NetError(Exception):
    """A channel to a server could not be had or broke; the next try may go better."""


class ServerError(Exception):
    """A server answered, but not with what it was asked for."""


class Refused(ServerError):
    """It said no."""
