"""main.py of a board that `microipa flash` has written: runs the version which ipa.version names first.

Each version lies whole in a folder of its own. Flashing writes a new one, and changes that line last.
"""

import sys

version = None
# The second name is there when the power went between the two steps in which FAT replaces a file.
for name in ("ipa.version", "ipa.version.new"):
    try:
        with open(name) as file:
            version = file.readline().strip()
    except OSError:
        pass
    if version:
        break

if version:
    sys.path.insert(0, version)
    import app  # noqa: F401 (which is firmware/main.py, and runs for ever)
else:
    print("no version of the assistant on this board: run microipa flash")
