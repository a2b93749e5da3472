"""Zip archives: the directory read strictly, records checked, and written."""
