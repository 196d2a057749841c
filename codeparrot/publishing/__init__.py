"""The Hub as a run's ledger: a branch a run, a commit a checkpoint, pushed beside the training and never waited for by it.

ledger.py knows what is to be pushed and what has been, commit.py makes one checkpoint one commit, uploader.py does so in a
process of its own until all is there, beside_training.py is what training sees of it. promote.py makes a branch the main one,
folders.py sends tokenizers and corpora.
"""
