"""Steps of a save: proofs of what one process or several ranks wrote."""
