"""Cuts the flat partitions of ZeRO at parameters' bounds."""
