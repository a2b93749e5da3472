"""Plans carried out into a store of objects.

Parts as they fill, a journal in the store, a seal as the commit.
"""
