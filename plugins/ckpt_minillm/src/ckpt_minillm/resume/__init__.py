"""Format `minillm-resume`: what minimind's trainers go on from."""
