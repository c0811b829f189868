"""The way to an eIM that the settings choose: over CoAP or HTTPS, in ASN.1 or JSON (SGP.32 6). Only that is loaded.

A link is opened for one eIM after the other: `async open(eim)`, `async exchange(parts, function) -> body`,
`set_aside(eim)` to close it until the next exchange, `close(keep)` with `keep` where it may stay open for the next
time, `end()`. While it is `doubtful` it was kept and nothing has been answered since; `answered` once something was,
until it is set back. `parts` make up the request;
`function` is None in the ASN.1 binding, else the name of that in JSON. The body has `async readinto(buf) -> n`,
0 at its end, and `close()`.
"""

import os


def client_files(settings):
    """The files of the device's certificate and its key, for eIMs that ask for them; None without."""
    name = settings.get("client_certificate_file")
    if not name:
        return None
    try:
        os.stat(name)
    except OSError:
        return None
    return name, settings["client_key_file"]


def chosen(modem, settings):
    """A link, whose buffers are made once, the class of an eIM's functions, to be called with the link, and None or
    what makes them shorter, to be called with them and the EID."""
    if settings["transport"] == "https":
        from ipa.net.https_link import HttpsLink as Link
    else:
        from ipa.net.coaps import CoapsLink as Link
    if settings["binding"] == "json":
        from ipa.net.esipa_json import EsipaJson as Esipa
    else:
        from ipa.net.esipa import Esipa
    Compact = None
    if settings["compact"]:
        from ipa.net.compact import Compact
    return Link(modem, settings), Esipa, Compact
