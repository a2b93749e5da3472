"""Trials of proposed content, and repairs in place.

Content is tried before it is written; repairs have a way back.
"""
