"""The settings of a device: ipa.json over these defaults."""

import json
from errno import ENOENT

DEFAULTS = {
    "modem": "auto",  # a name of ipa.modem.driver; auto: the one in board.py
    "apn": "iot",  # if the profile has none; a table by operator: apn.py
    "attach_timeout_s": 180,
    "dtls": "auto",  # in the "board"'s tls module or in the "modem"; auto: on the board if its tls has DTLS
    "dtls_timeout_s": 120,  # a handshake with all retransmissions of mbedTLS
    "poll_interval_s": 86400,
    "poll_jitter_percent": 10,  # random part of the interval, so that a fleet does not poll at the same time
    "poll_window": "any",  # part of the day in which polls begin: "02:00-04:30", UTC; any: all day
    "sleep": "none",  # of the board between polls: "light" keeps RAM, "deep" restarts the program
    "psm_periodic_s": 0,  # PSM: periodic update (T3412 extended); 0: do not change the modem's setting
    "psm_active_s": 16,  # PSM: reachable for this time after each transmission (T3324)
    "edrx_cycle_s": 0,  # eDRX cycle; 0: do not change the modem's setting
    "keep_association_s": 0,  # how long DTLS stays open after a poll; 0: not at all
    "backoff_s": 15,  # pause after the first failure; doubles up to
    "backoff_max_s": 3600,
    "block_size": 1024,  # largest CoAP block in bytes; reduced if the path does not carry such datagrams
    "q_block": False,  # receive profiles in bursts of blocks (RFC 9177) if the eIM supports it
    "packages_per_poll": 16,
    "inject_wait_s": 0,  # how long to listen for injected packages after a poll; 0: not at all
    "rollback_window_s": 600,  # time to reach the eIM over a new profile, if a rollback is allowed
    # When the connection is lost for good, if the card has a fallback profile; the rules are in policy.py
    "fallback_unregistered_s": 86400,
    "fallback_unreached_s": 259200,
    "fallback_polls": 100,
    "fallback_weak_dbm": -110,
    "fallback_moved_km": 10,
    "return_after_s": 86400,  # time on the fallback profile until the home profile is tried again
    "stop_when_idle": False,  # end once the eIM has nothing more and nothing waits on the card (lab)
    "ipae": "take-over",  # from an IPA inside the card; "stay-silent": leave the card to it
    "emulation": False,  # execute packages in place of a consumer card, and sign with a key of this device
    "segment": 255,  # bytes in a STORE DATA block; reduced if the modem refuses
    "eim_file": "eim.der",  # EimConfigurationData for AddInitialEim, used while the card has no eIM
    "transport": "coap",  # to the eIM, with DTLS; or "https"
    "binding": "asn1",  # encoding of the messages to it; or "json"
    "compact": False,  # leave out what it can reconstruct (minimizeEsipaBytes)
    # What the eIM does in a download, if it can: SM-DP+ address, ctxParams1, check of policy rules and names
    "eim_download_data": False,
    "eim_ctx_params_1": False,
    "eim_metadata": False,
    "download": "indirect",  # through the eIM; "direct": from the SM-DP+ if a trigger names one
    "eim_roots_file": "eim_roots.der",  # CAs for eIMs whose configuration on the card has no trust anchor
    "roots_file": "roots.der",  # trust anchors for SM-DP+ servers besides the card's CI: DER, one after the other
    # Client certificate for eIMs that ask for one, if the first file exists: DER, the key as RFC 5915 or 5208
    "client_certificate_file": "client.der",
    "client_key_file": "client_key.der",
    "journal_file": "ipa.journal",
    "log_level": 2,
    "app_tick_ms": 0,  # 0: main.py runs no application
}

_LARGEST = {
    "attach_timeout_s": 3600,
    "dtls_timeout_s": 600,
    "poll_interval_s": 31536000,
    "poll_jitter_percent": 50,
    "psm_periodic_s": 35712000,
    "psm_active_s": 11160,
    "edrx_cycle_s": 10485,
    "keep_association_s": 86400,
    "backoff_s": 3600,
    "backoff_max_s": 86400,
    "packages_per_poll": 100,
    "inject_wait_s": 86400,
    "rollback_window_s": 86400,
    "fallback_unregistered_s": 31536000,
    "fallback_unreached_s": 31536000,
    "fallback_polls": 10000,
    "fallback_weak_dbm": 0,
    "fallback_moved_km": 20000,
    "return_after_s": 31536000,
    "segment": 255,
    "log_level": 3,
    "app_tick_ms": 1000,
}
_SMALLEST = {  # every other number: 1
    "poll_jitter_percent": 0, "psm_periodic_s": 0, "edrx_cycle_s": 0, "keep_association_s": 0, "inject_wait_s": 0,
    "fallback_weak_dbm": -150, "segment": 32, "log_level": 0, "app_tick_ms": 0,
}  # fmt: skip
_CHOICES = {
    "block_size": (64, 128, 256, 512, 1024),
    "sleep": ("none", "light", "deep"),
    "ipae": ("take-over", "stay-silent"),
    "transport": ("coap", "https"),
    "dtls": ("auto", "board", "modem"),
    "binding": ("asn1", "json"),
    "download": ("indirect", "direct"),
}


class ConfigError(Exception):
    """The message has the key, the value and what is allowed."""


def load(path="ipa.json", folder=None):
    """Settings as a dict with every key of DEFAULTS. Without a file: the defaults. Raises ConfigError.

    The trust anchors are in `folder`, by default the folder of the file; the journal is not, because it is kept
    over versions of the firmware.
    """
    try:
        with open(path) as file:
            given = json.load(file)
    except OSError as error:
        if error.errno != ENOENT:
            raise ConfigError("{}: {}".format(path, error)) from None
        given = {}
    except ValueError:
        raise ConfigError("{} is not JSON".format(path)) from None
    if not isinstance(given, dict):
        raise ConfigError("{} is not a JSON object".format(path))
    for key, value in given.items():
        _check(path, key, value)
    return settings(given, path[: path.rfind("/") + 1] if folder is None else folder)


def settings(given, folder):
    """The given settings over the defaults; trust anchors are in `folder` ("" or with a slash at the end)."""
    found = dict(DEFAULTS)
    found.update(given)
    for key in ("eim_file", "eim_roots_file", "roots_file", "client_certificate_file", "client_key_file"):
        if found[key][0] != "/":
            found[key] = folder + found[key]
    return found


def _check(path, key, value):
    if key not in DEFAULTS:
        raise ConfigError("{}: there is no setting {}".format(path, key))
    if key == "apn":
        from ipa import apn

        try:
            apn.check(value)
        except ValueError as error:
            raise ConfigError("{}: apn {}".format(path, str(error).strip())) from None
        return
    kind = type(DEFAULTS[key])
    if type(value) is not kind:
        raise ConfigError("{}: {} is {}, not {}".format(path, key, repr(value), kind.__name__))
    if kind is str and not value:
        raise ConfigError("{}: {} is empty".format(path, key))
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            choices = ", ".join([str(choice) for choice in _CHOICES[key]])
            raise ConfigError("{}: {} is {}, allowed are {}".format(path, key, value, choices))
    elif kind is int and not _SMALLEST.get(key, 1) <= value <= _LARGEST[key]:
        bounds = "{} to {}".format(_SMALLEST.get(key, 1), _LARGEST[key])
        raise ConfigError("{}: {} is {}, allowed are {}".format(path, key, value, bounds))
    if key == "poll_window" and value != "any":
        from ipa import schedule

        try:
            schedule.window(value)
        except ValueError:
            raise ConfigError("{}: {} is {}, not like 22:00-04:30 or any".format(path, key, value)) from None
