"""Files of an artifact brought in parts by several threads, each hashed as it comes."""
