"""Functions and what their docstrings say of them: `codeparrot corpus pairs`.

Read in this order: columns.py (what a pair is), choosing.py (which functions become pairs), command.py, writing.py and card.py.
"""
