# ruff: noqa: F821 (metadata, package and module are the freezer's own words)
# Freezes the assistant into a MicroPython image: FROZEN_MANIFEST=<here> make. Bytecode then runs from flash.
metadata(version="0.1.0", description="SGP.32 IoT Profile Assistant")
package("ipa", opt=2)
module("restart.py", opt=2)
module("starts.py", opt=2)
