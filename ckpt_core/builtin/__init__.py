"""Core's own plugins, made as anybody's would be.

Paths, safetensors files, torch files, seals, and the generic checks.
"""
