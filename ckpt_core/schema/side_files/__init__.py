"""Files beside the data: seals, marks and other programs' leftovers."""
