"""Files that ranks write who do not meet here.

Whoever calls carries a ticket to each, and their receipts back.
"""
