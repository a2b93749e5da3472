"""Plugins found, guarded, and their answers merged: what stands between `pm.hook` and its caller."""
