"""The tests whose loaders fork workers run in processes of their own.

A forked process has the locks and the modules of the one that it comes from, and none of its threads: what another test
has left there (a client's threads, a module that was imported twice) is not what these tests are about.
"""

import os

OWN = "CKPT_TESTS_FORK"
FORKING = ("test_exact_resume.py", "test_keyed_data.py")

collect_ignore = [] if os.environ.get(OWN) else list(FORKING)
