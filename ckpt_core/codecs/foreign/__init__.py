"""Files of other programs and damaged ones, recognised by their first bytes and names."""
