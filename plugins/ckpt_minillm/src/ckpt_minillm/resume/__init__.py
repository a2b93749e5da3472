"""The format `minillm-resume`: minimind's resume files."""
