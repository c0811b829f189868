"""ipa.journal and ipa.config under MicroPython: what survives a power cut, and settings that are refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from board_run import Run
from microipa.common.paths import firmware

JOURNAL = 'from ipa.journal import Journal\njournal = Journal("ipa.journal")\n'


async def test_what_was_set_is_there_after_a_power_cut(micropython: Run, tmp_path: Path) -> None:
    await micropython(JOURNAL + """
assert journal.get("download") is None and journal.get("attempts", 0) == 0
journal.set(download="a1a2", attempts=1)
journal.set(attempts=2, switch=True)
journal.set(switch=None, unknown=None)
""")
    out = await micropython(JOURNAL + "print([journal.get(key) for key in ('download', 'attempts', 'switch')])")
    assert out.strip() == "['a1a2', 2, None]"
    assert not (tmp_path / "ipa.journal.new").exists()


@pytest.mark.parametrize("cut", ["half", "bit", "empty", "other"])
async def test_a_torn_journal_is_noticed_and_not_believed(micropython: Run, tmp_path: Path, cut: str) -> None:
    await micropython(JOURNAL + 'journal.set(download="a1a2")')
    path = tmp_path / "ipa.journal"
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "bit": whole.replace(b"a1a2", b"a1a3"), "empty": b"",
                      "other": b"not a journal\n"}[cut])
    out = await micropython(JOURNAL + 'print(journal.get("download"))')
    assert "not believed" in out
    assert out.split()[-1] == "None"


async def test_the_second_file_serves_when_the_cut_came_between_the_two_names(
        micropython: Run, tmp_path: Path) -> None:
    await micropython(JOURNAL + 'journal.set(download="a1a2")')
    (tmp_path / "ipa.journal").rename(tmp_path / "ipa.journal.new")
    out = await micropython(JOURNAL + 'print(journal.get("download"))')
    assert out.strip() == "a1a2"


async def test_an_unchanged_journal_is_not_written_again(micropython: Run, tmp_path: Path) -> None:
    out = await micropython(JOURNAL + """
import os
journal.set(switch=True)
os.remove("ipa.journal")
journal.set(switch=True)
print(os.listdir())
""")
    assert "ipa.journal" not in out


async def test_what_is_larger_than_the_journal_may_be_is_refused_before_it_is_written_and_named(
        micropython: Run) -> None:
    script = JOURNAL + """
journal.set(profile="8901", known=list(range(900)))
try:
    journal.set(cause={str(n): n for n in range(2000)})
except OSError as error:
    print(error)
journal.set(attempts=1)
"""
    said = (await micropython(script, heapsize="384K")).strip()
    assert re.fullmatch(r"ipa.journal: 16384 bytes are the most, cause has \d{5}", said)
    out = await micropython(JOURNAL + "print([journal.get(key) for key in ('profile', 'attempts', 'cause')])")
    assert out.strip() == "['8901', 1, None]"


async def test_a_journal_as_large_as_it_may_be_is_read_again(micropython: Run) -> None:
    script = JOURNAL + """
size = 16384
while True:
    try:
        journal.set(text="x" * size)
        break
    except OSError:
        size -= 1
print(size)
"""
    size = int(await micropython(script, heapsize="384K"))
    out = await micropython(JOURNAL + "print(len(journal.get('text')))", heapsize="384K")
    assert int(out) == size > 16000


CONFIG = """
from ipa import config
try:
    settings = config.load()
    print(len(settings) == len(config.DEFAULTS), settings["apn"], settings["poll_interval_s"])
except config.ConfigError as error:
    print(error)
"""


async def test_settings_are_the_defaults_with_the_file_over_them(micropython: Run, tmp_path: Path) -> None:
    assert (await micropython(CONFIG)).split() == ["True", "iot", "86400"]
    (tmp_path / "ipa.json").write_text(json.dumps({"apn": "lab", "poll_interval_s": 5}))
    assert (await micropython(CONFIG)).split() == ["True", "lab", "5"]
    (tmp_path / "ipa.json").write_text(json.dumps({"apn": ""}))
    assert (await micropython(CONFIG)).split(" ") == ["True", "", "86400\n"]
    (tmp_path / "ipa.json").write_text(json.dumps({"apn": {"plmn:26201": ""}}))
    assert (await micropython(CONFIG)).split() == ["True", "{'plmn:26201':", "''}", "86400"]


@pytest.mark.parametrize(("text", "reason"), [
    ('{"apm": "x"}', "ipa.json: there is no setting apm"),
    ('{"apn": 1}', "ipa.json: apn is 1, not text or a table"),
    ('{"apn": "a b"}', "ipa.json: apn is 'a b', allowed are letters, digits, - . _"),
    ('{"apn": {"default": 5}}', "ipa.json: apn of default is 5, not text"),
    ('{"apn": {"iccid:89": "a\\""}}', "ipa.json: apn of iccid:89 is 'a\"', allowed are letters, digits, - . _"),
    *((json.dumps({"apn": {key: "x"}}), f"ipa.json: apn has the key {key}, allowed are default,"
       " iccid:<1 to 20 digits>, plmn:<5 or 6 digits>")
      for key in ("26201", "plmn:2620", "plmn:26x01", "iccid:", "iccid:89" + 19 * "0", "imsi:26201", "Default", "")),
    ('{"poll_interval_s": "60"}', "ipa.json: poll_interval_s is '60', not int"),
    ('{"poll_interval_s": true}', "ipa.json: poll_interval_s is True, not int"),
    ('{"poll_interval_s": 0}', "ipa.json: poll_interval_s is 0, allowed are 1 to 31536000"),
    ('{"segment": 300}', "ipa.json: segment is 300, allowed are 32 to 255"),
    ('{"stop_when_idle": 1}', "ipa.json: stop_when_idle is 1, not bool"),
    ('{"block_size": 1000}', "ipa.json: block_size is 1000, allowed are 64, 128, 256, 512, 1024"),
    ('{"poll_jitter_percent": 51}', "ipa.json: poll_jitter_percent is 51, allowed are 0 to 50"),
    ('{"poll_window": "22-4"}', "ipa.json: poll_window is 22-4, not like 22:00-04:30 or any"),
    ('{"poll_window": "22:00"}', "ipa.json: poll_window is 22:00, not like 22:00-04:30 or any"),
    ('{"poll_window": "24:00-04:30"}', "ipa.json: poll_window is 24:00-04:30, not like 22:00-04:30 or any"),
    ('{"poll_window": "04:30-04:30"}', "ipa.json: poll_window is 04:30-04:30, not like 22:00-04:30 or any"),
    ('{"journal_file": ""}', "ipa.json: journal_file is empty"),
    ('["apn"]', "ipa.json is not a JSON object"),
    ('{"apn"', "ipa.json is not JSON"),
])
async def test_a_bad_setting_is_refused_by_its_name(
        micropython: Run, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "ipa.json").write_text(text)
    assert (await micropython(CONFIG)).strip() == reason


def test_the_document_lists_every_setting_with_unit_default_and_range() -> None:
    sys.path.insert(0, str(firmware()))
    try:
        from ipa import config
    finally:
        sys.path.remove(str(firmware()))
    text = (firmware() / "CONFIG.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` (\| `[^`]+` \| [^|]+) \| [^|]{10,} \|$", text, re.MULTILINE))
    units = {"block_size": " bytes", "segment": " bytes", "_s": " s", "_ms": " ms", "_percent": " %",
             "_dbm": " dBm", "_km": " km"}

    def allowed(key: str, default: object) -> str:
        unit = next((unit for end, unit in units.items() if key.endswith(end)), "")
        if key in config._CHOICES:
            return ", ".join(map(str, config._CHOICES[key])) + unit
        if key == "apn":
            return "text or table"
        if isinstance(default, bool):
            return "true, false"
        if isinstance(default, int):
            return f"{config._SMALLEST.get(key, 1)} to {config._LARGEST[key]}{unit}"
        return "text"

    assert told == {key: f"| `{json.dumps(default)}` | {allowed(key, default)}"
                    for key, default in config.DEFAULTS.items()}


async def test_settings_that_cannot_be_read_are_not_taken_for_none(micropython: Run, tmp_path: Path) -> None:
    (tmp_path / "ipa.json").mkdir()
    assert "ipa.json: [Errno 21] EISDIR" in await micropython(CONFIG)


async def test_each_number_of_the_settings_may_be_its_smallest_and_largest_and_no_other_beyond(
        micropython: Run) -> None:
    out = await micropython("""
import json
from ipa import config
def taken(key, value):
    with open("ipa.json", "w") as file:
        json.dump({key: value}, file)
    try:
        return config.load()[key] == value
    except config.ConfigError:
        return False
for key, largest in config._LARGEST.items():
    smallest = config._SMALLEST.get(key, 1)
    told = [taken(key, value) for value in (smallest - 1, smallest, largest, largest + 1)]
    if told != [False, True, True, False]:
        print(key, told)
print("all")
""")
    assert out.strip() == "all"
