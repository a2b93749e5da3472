"""Settings for every test of the repository."""

from hypothesis import settings

# A busy machine is no failure: the suite has a time limit a test, and no example is timed.
settings.register_profile("ckpt", deadline=None)
settings.load_profile("ckpt")
