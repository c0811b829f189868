"""The lab around the microipa firmware: eIM, SM-DP+, software eUICC, AT modem, radio and virtual board."""

__version__ = "0.1.0"
