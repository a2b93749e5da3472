"""Kinds of filesystems, as Linux mounts them.

Source: proc_pid_mountinfo(5): the third field is the device, the type comes after a dash, then the source.
"""

import os

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "afs", "orangefs", "wekafs"),
        *("glusterfs", "ocfs2", "gfs2", "sshfs", "juicefs", "cephfs", "ceph-fuse", "moosefs", "mfs", "seaweedfs"),
    }
)
"""What asks another machine for bytes that this one has not read yet, by the name of the type or of what FUSE runs."""

BUCKETS = frozenset(
    {
        *("gcsfuse", "gcsfs", "s3fs", "s3fs-fuse", "s3backer", "mountpoint-s3", "goofys", "geesefs", "yas3fs"),
        *("rclone", "blobfuse", "blobfuse2", "ossfs", "ossfs2", "cosfs", "obsfs", "tosfs", "hf-mount"),
    }
)
"""What FUSE calls mounts of buckets, whose folders are prefixes of names: their rename is absent, or one of each file
below in turn. Source: each project's own notes on semantics."""


def kind_of_mount(path: str) -> str:
    """Return the type of a path's filesystem.

    What was mounted follows behind a dot; it is empty where nothing tells.
    """
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            rows = [line.split() for line in lines]
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = [row[row.index("-") + 1 :] for row in rows if row[2] == wanted and "-" in row]
    return f"{found[-1][0]}.{os.path.basename(found[-1][1])}" if found else ""


def is_over_network(kind: str) -> bool:
    """Return True for a mount of what lies on other machines."""
    return bool((_NETWORK | BUCKETS) & set(kind.split(".")))


def kernel() -> str:
    """Return a name of the running kernel.

    Its processes share one page cache.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as name:
            return name.read().strip()
    except OSError:
        return os.uname().nodename
