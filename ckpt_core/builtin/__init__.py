"""Core's own plugins, made as anybody's would be: paths, safetensors files, torch files, the generic checks."""
