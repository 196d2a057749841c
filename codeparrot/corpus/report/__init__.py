"""What people read about a corpus: `codeparrot corpus report` (command.py), its page, the card and the pictures."""
