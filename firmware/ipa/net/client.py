"""A certificate of the device, for eIMs that ask for one in TLS or DTLS. Loaded where its file is there."""

from ipa.net import NetError


class ClientUnusable(NetError):
    """The files of the device's certificate and key are no such things."""


def show(context, files):
    """Let a `tls` context show the certificate in the first of `files`, DER, and use the key in the second."""
    try:
        with open(files[0], "rb") as file:
            certificate = file.read()
        with open(files[1], "rb") as file:
            key = file.read()
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        from ipa.net import memory

        memory.check(error)
        raise ClientUnusable("{} and {} are no certificate with its key: {}".format(*files + (error,))) from None
