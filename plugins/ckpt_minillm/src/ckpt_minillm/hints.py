"""The hints of the search for a stage.

Each is `--hint NAME=VALUE`, and a flag of its own.
"""

from ckpt_core import FormatOption

HINTS = (
    FormatOption("stage", "the stage of training, where the ref does not name it"),
    FormatOption("path", "the file itself; no other place is looked at"),
    FormatOption("hidden_size", "in the file's name, and compared with its tensors", int),
    FormatOption("num_hidden_layers", "compared with the file's tensors", int),
    FormatOption("use_moe", "true or false: _moe in the file's name, compared with its tensors"),
    FormatOption("local_dir", "the local folder"),
    FormatOption("remote_dir", "the remote folder or URL"),
    FormatOption("prefer", "remote, local, or newest by the step that was recorded"),
    FormatOption("remote_only", "search the remote folder only", bool),
    FormatOption("fallback_stages", "stages that may stand in, in that order: a,b,c"),
    FormatOption("resume", "the file that a trainer goes on from, …_resume.pth", bool),
)
