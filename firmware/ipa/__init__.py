"""The IoT Profile Assistant of a device (SGP.32 IPAd), in MicroPython."""
