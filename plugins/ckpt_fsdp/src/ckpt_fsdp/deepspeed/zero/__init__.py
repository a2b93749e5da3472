"""The flat partitions of ZeRO, cut at the bounds of parameters."""
