"""Where bytes come from: listings and ranged reads, local without fsspec, everything else through it.

The only folder of core that knows fsspec.
"""
