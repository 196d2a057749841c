"""The Hub as a run's ledger: a branch a run, a commit a checkpoint, pushed beside the training, which never waits.

ledger.py knows what must be pushed and what has been. commit.py turns one checkpoint into one commit. uploader.py does so in a
process of its own until everything is there. beside_training.py is all that training sees. promote.py copies a branch to main.
folders.py pushes tokenizers and corpora.
"""
