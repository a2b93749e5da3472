"""The plan of a resume, and the work that carries it out.

Its rows are what a person reads.
"""
